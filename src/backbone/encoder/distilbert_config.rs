//! DistilBERT's configuration file.

use super::embeddings::EmbeddingsConfig;
use super::layer::LayerConfig;
use crate::backbone::config::{check_divides, check_probabilities, check_sizes, check_token, check_total, ensure};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// DistilBERT's `config.json`, in Transformers' names and with its defaults; `hidden_size`, `num_hidden_layers` and
/// `num_attention_heads` are read as it reads them. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DistilBertConfig {
    /// `distilbert`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    #[serde(alias = "hidden_size")]
    pub dim: usize,
    /// Number of layers.
    #[serde(alias = "num_hidden_layers")]
    pub n_layers: usize,
    /// Attention heads; divides `dim`.
    #[serde(alias = "num_attention_heads")]
    pub n_heads: usize,
    /// Width inside the feed-forward layer.
    pub hidden_dim: usize,
    /// Between the linear maps of the feed-forward layer.
    pub activation: Activation,
    /// Dropout after embeddings and feed-forward layers while training, and before a token classifier.
    pub dropout: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Dropout before a question-answering head.
    pub qa_dropout: f64,
    /// Dropout before the classifier of whole texts.
    pub seq_classif_dropout: f64,
    /// Longest input in tokens.
    pub max_position_embeddings: usize,
    /// Whether the positions of a fresh network are sinusoids; those of a file are what they are.
    pub sinusoidal_pos_embds: bool,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for DistilBertConfig {
    /// The sizes of `distilbert-base-uncased`.
    fn default() -> Self {
        Self {
            model_type: "distilbert".into(),
            vocab_size: 30522,
            dim: 768,
            n_layers: 6,
            n_heads: 12,
            hidden_dim: 3072,
            activation: Activation::Gelu,
            dropout: 0.1,
            attention_dropout: 0.1,
            qa_dropout: 0.1,
            seq_classif_dropout: 0.2,
            max_position_embeddings: 512,
            sinusoidal_pos_embds: false,
            initializer_range: 0.02,
            pad_token_id: Some(0),
            extra: Map::new(),
        }
    }
}

/// Added to the variance in all its layer norms; its configuration has no field for it.
pub(super) const EPSILON: f64 = 1e-12;

impl DistilBertConfig {
    pub(super) fn embeddings(&self) -> EmbeddingsConfig {
        EmbeddingsConfig {
            width: self.dim,
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            types: 0,
            padding: self.pad_token_id,
            padding_position: None,
            epsilon: EPSILON,
            dropout: self.dropout,
        }
    }

    pub(super) fn layer(&self) -> LayerConfig {
        LayerConfig {
            hidden: self.dim,
            heads: self.n_heads,
            inner: self.hidden_dim,
            activation: self.activation,
            epsilon: EPSILON,
            probability_dropout: self.attention_dropout,
            attention_dropout: 0.0,
            output_dropout: self.dropout,
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "distilbert", "model_type", &self.model_type, "distilbert")?;
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("dim", self.dim),
            ("hidden_dim", self.hidden_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        check_total(&[
            &[self.vocab_size, self.dim],
            &[self.max_position_embeddings, self.dim],
            &[self.n_layers, 4, self.dim, self.dim],
            &[self.n_layers, 2, self.dim, self.hidden_dim],
        ])?;
        check_divides("n_heads", self.n_heads, "dim", self.dim)?;
        check_probabilities(&[
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("qa_dropout", self.qa_dropout),
            ("seq_classif_dropout", self.seq_classif_dropout),
        ])?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)
    }
}
