//! NomicBERT's configuration file.

use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::backbone::rope::RopeFields;
use crate::checkpoint::CheckpointError;
use crate::nn::{Activation, Rotary};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// NomicBERT's `config.json`, in Transformers' names and with its defaults. Keys that are not read here, and those of the
/// rotary embeddings (`rope_parameters`), are kept in `extra` and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NomicBertConfig {
    /// `nomic_bert`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` where `None`.
    pub head_dim: Option<usize>,
    /// Width inside the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Of the gate in the feed-forward layer, and in the masked-LM head.
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    pub attention_probs_dropout_prob: f64,
    /// The length that texts are cut to. Rotary positions go on beyond it.
    pub max_position_embeddings: usize,
    /// Segment ids.
    pub type_vocab_size: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// Dropout before the classifier; `hidden_dropout_prob` where `None`.
    pub classifier_dropout: Option<f64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for NomicBertConfig {
    /// The sizes of `nomic-ai/nomic-embed-text-v1.5`.
    fn default() -> Self {
        Self {
            model_type: "nomic_bert".into(),
            vocab_size: 30_528,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            head_dim: None,
            intermediate_size: 3072,
            hidden_act: Activation::Silu,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            max_position_embeddings: 2048,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            classifier_dropout: None,
            extra: Map::new(),
        }
    }
}

/// The keys of files for Nomic's own modelling code, which name another layout of the same sizes.
const OTHER_LAYOUT: [&str; 3] = ["n_embd", "n_layer", "n_head"];

impl NomicBertConfig {
    /// Width of an attention head.
    pub(super) fn head_width(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    pub(super) fn rotary(&self) -> Result<Rotary, CheckpointError> {
        let fields = RopeFields::new(&self.extra, self.head_width(), self.max_position_embeddings);
        fields.with_theta(("rope_theta", 1000.0)).shared()
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "nomic_bert", "model_type", &self.model_type, "nomic_bert")?;
        let other = OTHER_LAYOUT.into_iter().find(|key| self.extra.contains_key(*key));
        let supported = "Transformers' own names, such as hidden_size";
        ensure(other.is_none(), other.unwrap_or_default(), "given", supported)?;
        let (hidden, heads, width) = (self.hidden_size, self.num_attention_heads, self.head_width());
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", hidden),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
            ("num_attention_heads", heads),
            ("head_dim", width),
        ])?;
        if self.head_dim.is_none() {
            check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        }
        check_total(&[
            &[self.vocab_size, hidden],
            &[self.type_vocab_size, hidden],
            &[self.num_hidden_layers, 4, hidden, heads, width],
            &[self.num_hidden_layers, 3, hidden, self.intermediate_size],
        ])?;
        let supported = "an even width, for rotary positions turn values in pairs";
        ensure(width.is_multiple_of(2), "head_dim", width, supported)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_only(&self.extra, &[("tie_word_embeddings", true.into())])?;
        self.rotary().map(drop)
    }
}
