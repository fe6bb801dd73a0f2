//! EuroBERT's configuration file.

use crate::backbone::Pooling;
use crate::backbone::config::{
    check_divides, check_epsilon, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::backbone::rope::RopeFields;
use crate::checkpoint::CheckpointError;
use crate::nn::{Activation, Rotary};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// EuroBERT's `config.json`, in Transformers' names and with its defaults. Keys that are not read here, and those of the
/// rotary embeddings (`rope_parameters`, or `rope_theta` and `rope_scaling` of older files), are kept in `extra` and written
/// again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EuroBertConfig {
    /// `eurobert`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width inside the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of queries; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Heads of keys and values, each for several heads of queries; as many as those where `None`.
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; `hidden_size / num_attention_heads` where `None`.
    pub head_dim: Option<usize>,
    /// Of the gate in the feed-forward layer.
    pub hidden_act: Activation,
    /// The length that texts are cut to. Rotary positions go on beyond it.
    pub max_position_embeddings: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the mean square in norms.
    pub rms_norm_eps: f64,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// Whether the maps of attention have biases.
    pub attention_bias: bool,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Whether the maps of the feed-forward layer, and the masked-LM head, have biases.
    pub mlp_bias: bool,
    /// Whether the masked-LM head's projection is the token embedding.
    pub tie_word_embeddings: bool,
    /// How sequences are pooled for classification: `bos`, `mean`, or `late`, the mean of what the head's dense layer makes of
    /// each token.
    pub classifier_pooling: String,
    /// Dropout before the classifier; none where `None`, as Transformers has it always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier_dropout: Option<f64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for EuroBertConfig {
    /// The sizes of `EuroBERT/EuroBERT-210m`.
    fn default() -> Self {
        Self {
            model_type: "eurobert".into(),
            vocab_size: 128_256,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: Activation::Silu,
            max_position_embeddings: 8192,
            initializer_range: 0.02,
            rms_norm_eps: 1e-5,
            pad_token_id: Some(128_001),
            attention_bias: false,
            attention_dropout: 0.0,
            mlp_bias: false,
            tie_word_embeddings: false,
            classifier_pooling: "late".into(),
            classifier_dropout: None,
            extra: Map::new(),
        }
    }
}

impl EuroBertConfig {
    /// Heads of queries, heads of keys and values, and their width.
    pub(super) fn heads(&self) -> [usize; 3] {
        let heads = self.num_attention_heads;
        let width = self.head_dim.unwrap_or(self.hidden_size / heads.max(1));
        [heads, self.num_key_value_heads.unwrap_or(heads), width]
    }

    pub(super) fn pooling(&self) -> Pooling {
        if self.classifier_pooling == "bos" { Pooling::Cls } else { Pooling::Mean }
    }

    /// Whether the classifier pools what its dense layer makes.
    pub(super) fn pools_late(&self) -> bool {
        self.classifier_pooling == "late"
    }

    pub(super) fn rotary(&self) -> Result<Rotary, CheckpointError> {
        let [.., width] = self.heads();
        RopeFields::new(&self.extra, width, self.max_position_embeddings).shared()
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "eurobert", "model_type", &self.model_type, "eurobert")?;
        let ([heads, groups, width], hidden) = (self.heads(), self.hidden_size);
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", hidden),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("head_dim", width),
        ])?;
        check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        check_divides("num_key_value_heads", groups, "num_attention_heads", heads)?;
        check_total(&[
            &[self.vocab_size, 2, hidden],
            &[self.num_hidden_layers, 4, hidden, heads, width],
            &[self.num_hidden_layers, 3, hidden, self.intermediate_size],
        ])?;
        let supported = "an even width, for rotary positions turn values in pairs";
        ensure(width.is_multiple_of(2), "head_dim", width, supported)?;
        check_probabilities(&[
            ("attention_dropout", self.attention_dropout),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        check_epsilon("rms_norm_eps", self.rms_norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        let pools = ["bos", "mean", "late"].contains(&self.classifier_pooling.as_str());
        ensure(pools, "classifier_pooling", &self.classifier_pooling, "bos, mean or late")?;
        self.rotary().map(drop)
    }
}
