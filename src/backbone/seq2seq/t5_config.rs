//! T5's configuration file.

use super::{DecoderStart, EosTokens};
use crate::backbone::config::{
    check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// T5's `config.json`, in Transformers' names. Keys that are not read are kept and written again; what a file leaves out is
/// that of `t5-small`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// `t5`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub d_model: usize,
    /// Width of an attention head.
    pub d_kv: usize,
    /// Width inside the feed-forward layers.
    pub d_ff: usize,
    /// Layers of the encoder.
    pub num_layers: usize,
    /// Layers of the decoder; as many as the encoder's where `None`.
    pub num_decoder_layers: Option<usize>,
    /// Attention heads.
    pub num_heads: usize,
    /// Entries of the tables of relative positions.
    pub relative_attention_num_buckets: usize,
    /// From this distance on, all distances are one.
    pub relative_attention_max_distance: usize,
    /// Dropout everywhere while training.
    pub dropout_rate: f64,
    /// Dropout before a classification head's layers.
    pub classifier_dropout: f64,
    /// Added to the mean square in norms.
    pub layer_norm_epsilon: f64,
    /// Multiplies the deviations of fresh weights.
    pub initializer_factor: f64,
    /// The activation of the feed-forward layers, `gated-` before it where half of them is a gate.
    pub feed_forward_proj: String,
    /// The activation, in place of the one that `feed_forward_proj` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense_act_fn: Option<Activation>,
    /// Whether there is a gate, in place of what `feed_forward_proj` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_gated_act: Option<bool>,
    /// Id of the padding token.
    pub pad_token_id: Option<usize>,
    /// Ids that end a text.
    pub eos_token_id: Option<EosTokens>,
    /// The token that the decoder's input begins with.
    pub decoder_start_token_id: Option<usize>,
    /// Whether hidden states are multiplied by `d_model^-0.5` before the output projection; as `tie_word_embeddings` where
    /// `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_decoder_outputs: Option<bool>,
    /// Where false, the outputs are not scaled (T5 1.1). A projection of the head's own is there where the file has one.
    pub tie_word_embeddings: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for T5Config {
    /// The sizes of `t5-small`.
    fn default() -> Self {
        Self {
            model_type: T5.into(),
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            classifier_dropout: 0.0,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward_proj: "relu".into(),
            dense_act_fn: None,
            is_gated_act: None,
            pad_token_id: Some(0),
            eos_token_id: Some(EosTokens::One(1)),
            decoder_start_token_id: None,
            scale_decoder_outputs: None,
            tie_word_embeddings: true,
            extra: Map::new(),
        }
    }
}

const T5: &str = "t5";

impl T5Config {
    /// Layers of the decoder.
    pub fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// The one token that ends a text; `None` where there is none or where there are several.
    pub fn eos(&self) -> Option<usize> {
        self.eos_token_id.as_ref().and_then(EosTokens::one)
    }

    /// Whether half of the feed-forward layer is a gate.
    pub fn is_gated(&self) -> bool {
        self.is_gated_act.unwrap_or(self.feed_forward_proj.starts_with("gated-"))
    }

    /// What a hidden state is multiplied by before the output projection.
    pub fn output_scale(&self) -> f64 {
        match self.scale_decoder_outputs.unwrap_or(self.tie_word_embeddings) {
            true => (self.d_model as f64).powf(-0.5),
            false => 1.0,
        }
    }

    /// The activation of the feed-forward layers; `None` for a name that is not known.
    pub(super) fn activation(&self) -> Option<Activation> {
        let name = match self.feed_forward_proj.as_str() {
            "gated-gelu" => "gelu_new",
            other => other.strip_prefix("gated-").unwrap_or(other),
        };
        self.dense_act_fn.or_else(|| serde_json::from_value(name.into()).ok())
    }

    /// What the decoder's input begins with.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] where the file names no start or no padding token.
    pub fn decoder_start(&self) -> Result<DecoderStart, CheckpointError> {
        DecoderStart::of(self.decoder_start_token_id, self.pad_token_id)
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == T5, "model_type", &self.model_type, T5)?;
        self.check_sizes()?;
        check_probabilities(&[("dropout_rate", self.dropout_rate), ("classifier_dropout", self.classifier_dropout)])?;
        check_epsilon("layer_norm_epsilon", self.layer_norm_epsilon)?;
        let supported = "an activation, perhaps after `gated-`";
        ensure(self.activation().is_some(), "feed_forward_proj", &self.feed_forward_proj, supported)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_token("decoder_start_token_id", self.decoder_start_token_id, self.vocab_size)?;
        check_only(
            &self.extra,
            &[
                ("is_decoder", false.into()),
                ("hidden_size", self.d_model.into()),
                ("head_dim", self.d_kv.into()),
                ("num_hidden_layers", self.num_layers.into()),
                ("num_attention_heads", self.num_heads.into()),
            ],
        )
    }

    fn check_sizes(&self) -> Result<(), CheckpointError> {
        let (width, inner) = (self.d_model, self.num_heads.saturating_mul(self.d_kv));
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("d_model", width),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_heads", self.num_heads),
            ("num_layers", self.num_layers),
            ("num_decoder_layers", self.decoder_layers()),
        ])?;
        check_total(&[
            &[2, self.vocab_size, width],
            &[2, self.relative_attention_num_buckets, self.num_heads],
            &[self.num_layers, 4, width, inner],
            &[self.num_layers, 3, width, self.d_ff],
            &[self.decoder_layers(), 8, width, inner],
            &[self.decoder_layers(), 3, width, self.d_ff],
        ])?;
        let (buckets, distance) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        ensure(
            buckets >= 4,
            "relative_attention_num_buckets",
            buckets,
            "4 or more: a quarter of them counts single places",
        )?;
        let supported = format!("more than half of relative_attention_num_buckets ({buckets})");
        ensure(distance > buckets / 2, "relative_attention_max_distance", distance, &supported)
    }
}
