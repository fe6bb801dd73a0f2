//! BERT's configuration file.

use super::embeddings::EmbeddingsConfig;
use super::layer::LayerConfig;
use crate::backbone::config::{
    check_deviation, check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token,
    check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// BERT's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// `bert`, also where the file does not say, as those of 2019; Transformers wants it.
    #[serde(default = "bert")]
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Between the linear maps of the feed-forward layer.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    #[serde(default = "tenth")]
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    #[serde(default = "tenth")]
    pub attention_probs_dropout_prob: f64,
    /// Longest input in tokens.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Segment ids.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Deviation of fresh weights.
    #[serde(default = "default_deviation")]
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// Id of the padding token (0 where the file does not say); its embedding gets no gradient from look-ups.
    #[serde(default = "zero_id")]
    pub pad_token_id: Option<usize>,
    /// Dropout before the classifier; `hidden_dropout_prob` where `None`.
    #[serde(default)]
    pub classifier_dropout: Option<f64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for BertConfig {
    /// The sizes of `bert-base-uncased`.
    fn default() -> Self {
        Self {
            model_type: bert(),
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: tenth(),
            attention_probs_dropout_prob: tenth(),
            max_position_embeddings: default_positions(),
            type_vocab_size: two(),
            initializer_range: default_deviation(),
            layer_norm_eps: default_epsilon(),
            pad_token_id: zero_id(),
            classifier_dropout: None,
            extra: Map::new(),
        }
    }
}

fn bert() -> String {
    "bert".into()
}
fn tenth() -> f64 {
    0.1
}
fn two() -> usize {
    2
}
fn zero_id() -> Option<usize> {
    Some(0)
}
fn default_positions() -> usize {
    512
}
fn default_deviation() -> f64 {
    0.02
}
fn default_epsilon() -> f64 {
    1e-12
}

impl BertConfig {
    /// Dropout before a classification head, as Transformers takes it: `classifier_dropout`, or else
    /// `hidden_dropout_prob`.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// A look-up of `padding_position`, if any, adds nothing to the gradient.
    pub(super) fn embeddings(&self, padding_position: Option<usize>) -> EmbeddingsConfig {
        EmbeddingsConfig {
            width: self.hidden_size,
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            types: self.type_vocab_size,
            padding: self.pad_token_id,
            padding_position,
            epsilon: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
        }
    }

    pub(super) fn layer(&self) -> LayerConfig {
        LayerConfig {
            hidden: self.hidden_size,
            heads: self.num_attention_heads,
            inner: self.intermediate_size,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
            probability_dropout: self.attention_probs_dropout_prob,
            attention_dropout: self.hidden_dropout_prob,
            output_dropout: self.hidden_dropout_prob,
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == bert(), "model_type", &self.model_type, "bert")?;
        self.check_fields()
    }

    /// All but the kind of model.
    pub(super) fn check_fields(&self) -> Result<(), CheckpointError> {
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ])?;
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        check_total(&[
            &[self.vocab_size, hidden],
            &[self.max_position_embeddings, hidden],
            &[self.type_vocab_size, hidden],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, inner],
        ])?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_deviation("initializer_range", self.initializer_range)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_only(
            &self.extra,
            &[
                ("position_embedding_type", "absolute".into()),
                ("is_decoder", false.into()),
                ("add_cross_attention", false.into()),
            ],
        )
    }
}
