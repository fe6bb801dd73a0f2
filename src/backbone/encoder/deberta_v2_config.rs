//! DeBERTa v2's configuration file.

use super::deberta_v2_layer::Distances;
use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `config.json` of DeBERTa v2 and v3, in Transformers' names and with its defaults. Keys that are not read are kept and
/// written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DebertaV2Config {
    /// `deberta-v2`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of the embeddings, which a linear map lifts to `hidden_size` where the two differ; `hidden_size` where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Between the linear maps of the feed-forward layer.
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    pub attention_probs_dropout_prob: f64,
    /// Entries of the table of absolute positions, and the length that texts are cut to. Distances go on beyond it.
    pub max_position_embeddings: usize,
    /// Segment ids.
    pub type_vocab_size: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Whether attention looks at distances.
    pub relative_attention: bool,
    /// The farthest distance with an entry of its own, or where buckets end; `max_position_embeddings` below 1.
    pub max_relative_positions: i64,
    /// Buckets of distances; every distance has an entry of its own below 1.
    pub position_buckets: i64,
    /// What is scored against distances: content against positions (`c2p`), positions against content (`p2c`), or both.
    pub pos_att_type: Option<Kinds>,
    /// Whether distances are projected as content is.
    pub share_att_key: bool,
    /// How embeddings of distances are normalised: `layer_norm`, or not at all.
    pub norm_rel_ebd: String,
    /// Whether absolute positions are added to the embeddings.
    pub position_biased_input: bool,
    /// Places under the convolution beside the first layer, an odd number; none where it is below 1.
    pub conv_kernel_size: i64,
    /// Groups of its channels.
    pub conv_groups: usize,
    /// After it.
    pub conv_act: Activation,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// After the dense layer of the heads of whole texts.
    pub pooler_hidden_act: Activation,
    /// Dropout before the last map of those heads; `hidden_dropout_prob` where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cls_dropout: Option<f64>,
    /// Which of its two forms the masked-LM head has.
    pub legacy: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Kinds of scores, as files list them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kinds {
    /// Separated by `|`.
    Joined(String),
    /// One by one.
    Listed(Vec<String>),
}

impl Kinds {
    fn names(&self) -> Vec<String> {
        match self {
            Self::Joined(names) => names.to_lowercase().split('|').map(|name| name.trim().to_string()).collect(),
            Self::Listed(names) => names.clone(),
        }
    }
}

impl Default for DebertaV2Config {
    /// The sizes of `microsoft/deberta-v2-xlarge`, the options of Transformers.
    fn default() -> Self {
        Self {
            model_type: "deberta-v2".into(),
            vocab_size: 128_100,
            embedding_size: None,
            hidden_size: 1536,
            num_hidden_layers: 24,
            num_attention_heads: 24,
            intermediate_size: 6144,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 0,
            initializer_range: 0.02,
            layer_norm_eps: 1e-7,
            relative_attention: false,
            max_relative_positions: -1,
            position_buckets: -1,
            pos_att_type: None,
            share_att_key: false,
            norm_rel_ebd: "none".into(),
            position_biased_input: true,
            conv_kernel_size: 0,
            conv_groups: 1,
            conv_act: Activation::Tanh,
            pad_token_id: Some(0),
            pooler_hidden_act: Activation::Gelu,
            cls_dropout: None,
            legacy: true,
            extra: Map::new(),
        }
    }
}

impl DebertaV2Config {
    /// Dropout before a classification head, as Transformers takes it.
    pub fn head_dropout(&self) -> f64 {
        self.cls_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// The length in tokens that texts are cut to.
    pub fn max_length(&self) -> usize {
        self.max_position_embeddings
    }

    /// Width of the embeddings.
    pub fn embedding_size(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    /// Whether this kind of score is among [`pos_att_type`](Self::pos_att_type).
    pub(super) fn scores(&self, kind: &str) -> bool {
        self.pos_att_type.as_ref().is_some_and(|kinds| kinds.names().iter().any(|name| name == kind))
    }

    /// Whether embeddings of distances are normalised.
    pub(super) fn norms_distances(&self) -> bool {
        self.norm_rel_ebd.to_lowercase().split('|').any(|name| name.trim() == "layer_norm")
    }

    pub(super) fn distances(&self) -> Distances {
        let above_zero = |number: i64| usize::try_from(number).ok().filter(|number| *number > 0);
        let farthest = above_zero(self.max_relative_positions).unwrap_or(self.max_position_embeddings);
        let buckets = above_zero(self.position_buckets);
        Distances { half: buckets.unwrap_or(farthest), buckets, farthest }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "deberta-v2", "model_type", &self.model_type, "deberta-v2")?;
        let (hidden, heads, width) = (self.hidden_size, self.num_attention_heads, self.embedding_size());
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("embedding_size", width),
            ("hidden_size", hidden),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("cls_dropout", self.cls_dropout.unwrap_or(0.0)),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        self.check_distances()?;
        self.check_convolution()?;
        check_total(&[
            &[self.vocab_size, width],
            &[self.max_position_embeddings, width],
            &[self.type_vocab_size, width],
            &[self.distances().half, 2, hidden],
            &[self.num_hidden_layers, 6, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, self.intermediate_size],
            &[self.conv_kernel_size.max(0) as usize, hidden, hidden],
        ])?;
        let joins = self.legacy || width == hidden;
        ensure(joins, "legacy", self.legacy, "true where embedding_size is not hidden_size")?;
        let pooler_dropout = self.extra.get("pooler_dropout").and_then(Value::as_f64).unwrap_or(0.0);
        ensure(pooler_dropout == 0.0, "pooler_dropout", pooler_dropout, "0")?;
        check_only(
            &self.extra,
            &[
                ("attention_head_size", (hidden / heads).into()),
                ("pooler_hidden_size", hidden.into()),
                ("z_steps", 0.into()),
            ],
        )
    }

    fn check_distances(&self) -> Result<(), CheckpointError> {
        let kinds = self.pos_att_type.as_ref().map(Kinds::names).unwrap_or_default();
        let unknown = kinds.iter().find(|name| !["c2p", "p2c"].contains(&name.as_str()));
        ensure(unknown.is_none(), "pos_att_type", unknown.map_or("", String::as_str), "c2p and p2c")?;
        if !self.relative_attention {
            return Ok(());
        }
        ensure(!kinds.is_empty(), "pos_att_type", "none", "c2p, p2c or both where relative_attention is true")?;
        let norm = &self.norm_rel_ebd;
        let supported = self.norms_distances() || norm.trim().eq_ignore_ascii_case("none") || norm.is_empty();
        ensure(supported, "norm_rel_ebd", norm, "none or layer_norm")?;
        let Distances { farthest, buckets, .. } = self.distances();
        let Some(buckets) = buckets else { return Ok(()) };
        ensure(buckets > 1, "position_buckets", buckets, "2 or more, or none (-1)")?;
        let supported = "more than half of position_buckets and one, where the buckets end";
        ensure(farthest > buckets / 2 + 1, "max_relative_positions", farthest, supported)
    }

    fn check_convolution(&self) -> Result<(), CheckpointError> {
        let size = self.conv_kernel_size;
        if size < 1 {
            return Ok(());
        }
        ensure(size % 2 == 1, "conv_kernel_size", size, "an odd number, or 0 for no convolution")?;
        check_divides("conv_groups", self.conv_groups, "hidden_size", self.hidden_size)
    }
}
