//! ELECTRA's configuration file.

use super::embeddings::EmbeddingsConfig;
use super::layer::LayerConfig;
use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// ELECTRA's `config.json`, in Transformers' names and with its defaults. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ElectraConfig {
    /// `electra`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of the embeddings; a linear map lifts them to `hidden_size` where the two differ.
    pub embedding_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Between the linear maps of the feed-forward layer, and in the discriminator's head.
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    pub attention_probs_dropout_prob: f64,
    /// Longest input in tokens.
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
    /// After the dense layer of a multiple-choice head; nothing where `None`.
    pub summary_activation: Option<Activation>,
    /// Dropout after that.
    pub summary_last_dropout: f64,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for ElectraConfig {
    /// The sizes of `google/electra-small-discriminator`.
    fn default() -> Self {
        Self {
            model_type: "electra".into(),
            vocab_size: 30522,
            embedding_size: 128,
            hidden_size: 256,
            num_hidden_layers: 12,
            num_attention_heads: 4,
            intermediate_size: 1024,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            classifier_dropout: None,
            summary_activation: Some(Activation::Gelu),
            summary_last_dropout: 0.1,
            extra: Map::new(),
        }
    }
}

impl ElectraConfig {
    /// Dropout before a classification head, as Transformers takes it.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    pub(super) fn embeddings(&self) -> EmbeddingsConfig {
        EmbeddingsConfig {
            width: self.embedding_size,
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            types: self.type_vocab_size,
            padding: self.pad_token_id,
            padding_position: None,
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
        ensure(self.model_type == "electra", "model_type", &self.model_type, "electra")?;
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ])?;
        let (width, hidden) = (self.embedding_size, self.hidden_size);
        check_total(&[
            &[self.vocab_size, width],
            &[self.max_position_embeddings, width],
            &[self.type_vocab_size, width],
            &[width, hidden],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, self.intermediate_size],
        ])?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
            ("summary_last_dropout", self.summary_last_dropout),
        ])?;
        let first = self.extra.get("summary_first_dropout").and_then(Value::as_f64).unwrap_or(0.0);
        ensure(first == 0.0, "summary_first_dropout", first, "0")?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_only(
            &self.extra,
            &[
                ("position_embedding_type", "absolute".into()),
                ("is_decoder", false.into()),
                ("add_cross_attention", false.into()),
                ("summary_type", "first".into()),
                ("summary_use_proj", true.into()),
                ("summary_proj_to_labels", false.into()),
            ],
        )
    }
}
