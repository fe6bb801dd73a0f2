//! MPNet's configuration file.

use super::embeddings::EmbeddingsConfig;
use super::layer::LayerConfig;
use crate::backbone::config::{check_divides, check_epsilon, check_probabilities, check_sizes, check_total, ensure};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The id of padding, which Transformers takes whatever `pad_token_id` says: positions are counted past it.
pub(super) const PADDING: usize = 1;
/// Entries of the table of attention biases that Transformers reads whatever its size is.
pub(super) const BUCKETS: usize = 32;

/// MPNet's `config.json`, in Transformers' names and with its defaults. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MpNetConfig {
    /// `mpnet`.
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
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    pub attention_probs_dropout_prob: f64,
    /// Entries of the position table: two more than the longest input has tokens.
    pub max_position_embeddings: usize,
    /// Entries of the table of attention biases, of which 32 are read.
    pub relative_attention_num_buckets: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout before the classifier; `hidden_dropout_prob` where `None`, as Transformers has it always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier_dropout: Option<f64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for MpNetConfig {
    /// The sizes of `microsoft/mpnet-base`.
    fn default() -> Self {
        Self {
            model_type: "mpnet".into(),
            vocab_size: 30527,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            relative_attention_num_buckets: 32,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            classifier_dropout: None,
            extra: Map::new(),
        }
    }
}

impl MpNetConfig {
    /// Dropout before a classification head, as Transformers takes it.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// Longest input in tokens: the position table without the places of padding and before.
    pub fn max_length(&self) -> usize {
        self.max_position_embeddings.saturating_sub(PADDING + 1)
    }

    pub(super) fn embeddings(&self) -> EmbeddingsConfig {
        EmbeddingsConfig {
            width: self.hidden_size,
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            types: 0,
            padding: Some(PADDING),
            padding_position: Some(PADDING),
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
        ensure(self.model_type == "mpnet", "model_type", &self.model_type, "mpnet")?;
        check_sizes(&[("hidden_size", self.hidden_size), ("intermediate_size", self.intermediate_size)])?;
        let (hidden, buckets) = (self.hidden_size, self.relative_attention_num_buckets);
        check_total(&[
            &[self.vocab_size, hidden],
            &[self.max_position_embeddings, hidden],
            &[buckets, self.num_attention_heads],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, self.intermediate_size],
        ])?;
        ensure(self.vocab_size > PADDING, "vocab_size", self.vocab_size, "more than 1, which is the padding's id")?;
        let positions = self.max_position_embeddings;
        ensure(
            self.max_length() > 0,
            "max_position_embeddings",
            positions,
            "more than 2, for they are counted from 2",
        )?;
        ensure(buckets >= BUCKETS, "relative_attention_num_buckets", buckets, "32 or more, for 32 are read")?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)
    }
}
