//! ESM's configuration file.

use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// ESM's `config.json`, in Transformers' names and with its defaults. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EsmConfig {
    /// `esm`.
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
    /// Dropout after sublayers while training; none where `None`.
    pub hidden_dropout_prob: Option<f64>,
    /// Dropout on attention probabilities while training; none where `None`.
    pub attention_probs_dropout_prob: Option<f64>,
    /// How places are told apart.
    pub position_embedding_type: EsmPositions,
    /// Entries of the table of absolute positions, and the length that texts are cut to.
    pub max_position_embeddings: usize,
    /// The base of rotary frequencies.
    pub rope_theta: f64,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Whether embeddings are normalised before the first layer.
    pub emb_layer_norm_before: Option<bool>,
    /// Whether embeddings of masked tokens are zeroed and the others scaled up for it.
    pub token_dropout: Option<bool>,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// Id of the mask token.
    pub mask_token_id: Option<usize>,
    /// Dropout before the classifier; `hidden_dropout_prob` where `None`, as Transformers has it always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier_dropout: Option<f64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How ESM tells places apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EsmPositions {
    /// A table of positions that are counted past the padding id, as ESM-1b has it.
    #[default]
    Absolute,
    /// Queries and keys are turned by their place, as ESM-2 does it.
    Rotary,
}

impl Default for EsmConfig {
    /// Transformers' defaults, on ESM-2's vocabulary.
    fn default() -> Self {
        Self {
            model_type: "esm".into(),
            vocab_size: 33,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_dropout_prob: Some(0.1),
            attention_probs_dropout_prob: Some(0.1),
            position_embedding_type: EsmPositions::Absolute,
            max_position_embeddings: 1026,
            rope_theta: 10_000.0,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            emb_layer_norm_before: None,
            token_dropout: Some(false),
            pad_token_id: Some(1),
            mask_token_id: Some(32),
            classifier_dropout: None,
            extra: Map::new(),
        }
    }
}

impl EsmConfig {
    /// Dropout before a classification head, as Transformers takes it.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout.or(self.hidden_dropout_prob).unwrap_or(0.0)
    }

    /// Longest input in tokens that texts are cut to. Rotary positions have no limit of their own.
    pub fn max_length(&self) -> usize {
        match self.position_embedding_type {
            EsmPositions::Absolute => self.max_position_embeddings.saturating_sub(self.padding() + 1),
            EsmPositions::Rotary => self.max_position_embeddings,
        }
    }

    pub(super) fn padding(&self) -> usize {
        self.pad_token_id.unwrap_or(1)
    }

    /// The id whose embedding is zeroed, if any is.
    pub(super) fn dropped_token(&self) -> Option<usize> {
        self.mask_token_id.filter(|_| self.token_dropout == Some(true))
    }

    /// Width of an attention head.
    pub(super) fn head_width(&self) -> usize {
        self.hidden_size / self.num_attention_heads.max(1)
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "esm", "model_type", &self.model_type, "esm")?;
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
        ])?;
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        check_total(&[
            &[self.vocab_size, hidden],
            &[self.max_position_embeddings, hidden],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, self.intermediate_size],
        ])?;
        check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob.unwrap_or(0.0)),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob.unwrap_or(0.0)),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        self.check_positions()?;
        self.check_tokens()?;
        check_only(
            &self.extra,
            &[
                ("head_dim", self.head_width().into()),
                ("is_decoder", false.into()),
                ("add_cross_attention", false.into()),
                ("is_folding_model", false.into()),
            ],
        )
    }

    fn check_positions(&self) -> Result<(), CheckpointError> {
        let positions = self.max_position_embeddings;
        let supported = "more than pad_token_id + 1 for absolute positions, which are counted from there";
        ensure(self.max_length() > 0, "max_position_embeddings", positions, supported)?;
        if self.position_embedding_type == EsmPositions::Absolute {
            return Ok(());
        }
        let (heads, theta) = (self.num_attention_heads, self.rope_theta);
        let supported = "heads of an even width, for rotary positions turn values in pairs";
        ensure(self.head_width().is_multiple_of(2), "num_attention_heads", heads, supported)?;
        ensure(theta > 0.0 && theta.is_finite(), "rope_theta", theta, "a number above 0")
    }

    fn check_tokens(&self) -> Result<(), CheckpointError> {
        ensure(self.pad_token_id.is_some(), "pad_token_id", "null", "an id of the vocabulary")?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        let masks = self.token_dropout != Some(true) || self.mask_token_id.is_some();
        ensure(masks, "mask_token_id", "null", "an id, for `token_dropout` zeroes its embedding")
    }
}
