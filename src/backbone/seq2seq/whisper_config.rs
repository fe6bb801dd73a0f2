//! Whisper's configuration file.

use super::layer::LayerConfig;
use super::spec_augment::check_spans;
use super::{DecoderStart, EosTokens};
use crate::backbone::config::{
    check_divides, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whisper's `config.json`, in Transformers' names. Keys that are not read are kept and written again; what a file leaves out
/// is that of `openai/whisper-tiny`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WhisperConfig {
    /// `whisper`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Features of a frame of sound.
    pub num_mel_bins: usize,
    /// Width of a place's vector, an even number.
    pub d_model: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Its attention heads; divide `d_model`.
    pub encoder_attention_heads: usize,
    /// Width inside its feed-forward layers.
    pub encoder_ffn_dim: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Its attention heads; divide `d_model`.
    pub decoder_attention_heads: usize,
    /// Width inside its feed-forward layers.
    pub decoder_ffn_dim: usize,
    /// Places of the encoder: half as many as there are frames.
    pub max_source_positions: usize,
    /// Longest target in tokens.
    pub max_target_positions: usize,
    /// Between the linear maps of the feed-forward layers; after the convolutions it is always GELU.
    pub activation_function: Activation,
    /// Dropout after embeddings and sublayers while training.
    pub dropout: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Dropout after the activation while training.
    pub activation_dropout: f64,
    /// Probability of leaving out a layer of the encoder while training.
    pub encoder_layerdrop: f64,
    /// The same of the decoder.
    pub decoder_layerdrop: f64,
    /// Whether spans of frames and of mel bins become 0 while training.
    pub apply_spec_augment: bool,
    /// Share of the frames that is masked where no spans overlap.
    pub mask_time_prob: f64,
    /// Frames of a span.
    pub mask_time_length: usize,
    /// Spans of frames, at least.
    pub mask_time_min_masks: usize,
    /// Share of the mel bins that is masked where no spans overlap.
    pub mask_feature_prob: f64,
    /// Mel bins of a span.
    pub mask_feature_length: usize,
    /// Spans of mel bins, at least, where any are masked.
    pub mask_feature_min_masks: usize,
    /// Deviation of fresh weights.
    pub init_std: f64,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// Ids that end a text.
    pub eos_token_id: Option<EosTokens>,
    /// The token that the decoder's input begins with.
    pub decoder_start_token_id: Option<usize>,
    /// Whether the output projection is the decoder's token embedding.
    pub tie_word_embeddings: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for WhisperConfig {
    /// The sizes of `openai/whisper-tiny`.
    fn default() -> Self {
        Self {
            model_type: WHISPER.into(),
            vocab_size: 51865,
            num_mel_bins: 80,
            d_model: 384,
            encoder_layers: 4,
            encoder_attention_heads: 6,
            encoder_ffn_dim: 1536,
            decoder_layers: 4,
            decoder_attention_heads: 6,
            decoder_ffn_dim: 1536,
            max_source_positions: 1500,
            max_target_positions: 448,
            activation_function: Activation::Gelu,
            dropout: 0.0,
            attention_dropout: 0.0,
            activation_dropout: 0.0,
            encoder_layerdrop: 0.0,
            decoder_layerdrop: 0.0,
            apply_spec_augment: false,
            mask_time_prob: 0.05,
            mask_time_length: 10,
            mask_time_min_masks: 2,
            mask_feature_prob: 0.0,
            mask_feature_length: 10,
            mask_feature_min_masks: 0,
            init_std: 0.02,
            pad_token_id: Some(50256),
            eos_token_id: Some(EosTokens::One(50256)),
            decoder_start_token_id: Some(50257),
            tie_word_embeddings: true,
            extra: Map::new(),
        }
    }
}

const WHISPER: &str = "whisper";

impl WhisperConfig {
    /// Frames of sound that the encoder reads.
    pub fn frames(&self) -> usize {
        2 * self.max_source_positions
    }

    /// What the decoder's input begins with.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] where the file names no start or no padding token.
    pub fn decoder_start(&self) -> Result<DecoderStart, CheckpointError> {
        DecoderStart::of(self.decoder_start_token_id, self.pad_token_id)
    }

    pub(super) fn encoder_layer(&self) -> LayerConfig {
        self.layer(self.encoder_attention_heads, self.encoder_ffn_dim, self.encoder_layerdrop)
    }

    pub(super) fn decoder_layer(&self) -> LayerConfig {
        self.layer(self.decoder_attention_heads, self.decoder_ffn_dim, self.decoder_layerdrop)
    }

    fn layer(&self, heads: usize, inner: usize, layer_drop: f64) -> LayerConfig {
        LayerConfig {
            width: self.d_model,
            heads,
            inner,
            activation: self.activation_function,
            dropout: self.dropout,
            attention_dropout: self.attention_dropout,
            activation_dropout: self.activation_dropout,
            layer_drop,
            norm_first: true,
            key_bias: false,
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == WHISPER, "model_type", &self.model_type, WHISPER)?;
        self.check_sizes()?;
        check_probabilities(&[
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
            ("encoder_layerdrop", self.encoder_layerdrop),
            ("decoder_layerdrop", self.decoder_layerdrop),
        ])?;
        check_spans(self)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_token("decoder_start_token_id", self.decoder_start_token_id, self.vocab_size)?;
        check_only(
            &self.extra,
            &[
                ("is_encoder_decoder", true.into()),
                ("hidden_size", self.d_model.into()),
                ("num_hidden_layers", self.encoder_layers.into()),
                ("num_attention_heads", self.encoder_attention_heads.into()),
            ],
        )
    }

    fn check_sizes(&self) -> Result<(), CheckpointError> {
        let width = self.d_model;
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("num_mel_bins", self.num_mel_bins),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
            ("max_source_positions", self.max_source_positions),
            ("max_target_positions", self.max_target_positions),
        ])?;
        let has_sinusoids = width >= 4 && width.is_multiple_of(2);
        ensure(
            has_sinusoids,
            "d_model",
            width,
            "an even number from 4 on, for half of the positions' values are sines",
        )?;
        check_total(&[
            &[2, self.vocab_size, width],
            &[3, self.num_mel_bins, width],
            &[3, width, width],
            &[self.max_source_positions, width],
            &[self.max_target_positions, width],
            &[self.encoder_layers, 4, width, width],
            &[self.encoder_layers, 2, width, self.encoder_ffn_dim],
            &[self.decoder_layers, 8, width, width],
            &[self.decoder_layers, 2, width, self.decoder_ffn_dim],
        ])?;
        check_divides("encoder_attention_heads", self.encoder_attention_heads, "d_model", width)?;
        check_divides("decoder_attention_heads", self.decoder_attention_heads, "d_model", width)
    }
}
