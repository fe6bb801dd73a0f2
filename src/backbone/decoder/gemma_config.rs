//! The configuration files of Gemma 2 and Gemma 3.

use super::config::{LayerKind, check_layer_types, decoder_config, whole_where_it_is};
use crate::backbone::config::{check_divides, check_epsilon, ensure};
use crate::backbone::rope::object;
use crate::checkpoint::CheckpointError;
use crate::nn::{Activation, Reach, Rotary};
use serde_json::{Map, Value};

decoder_config! {
    /// Gemma 2's `config.json`.
    Gemma2Config, "gemma2" {
        vocab_size: 256_000,
        hidden_size: 2304,
        intermediate_size: 9216,
        num_hidden_layers: 26,
        num_attention_heads: 8,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 8192,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: true,
        pad_token_id: Some(0),
    }
    /// What the gate of the feed-forward layer goes through.
    hidden_activation: Activation = Activation::GeluPytorchTanh,
    /// Whether the linear maps of attention have biases.
    attention_bias: bool = false,
    /// Scores are divided by the root of this.
    #[serde(serialize_with = "whole_where_it_is")]
    query_pre_attn_scalar: f64 = 256.0,
    /// In layers with a window, a token sees so many, itself included.
    sliding_window: Option<usize> = Some(4096),
    /// Which layers have the window; every other one, from the first on, where `None`.
    layer_types: Option<Vec<LayerKind>> = None,
    /// The logits of the next token are kept within this.
    final_logit_softcapping: Option<f64> = Some(30.0),
    /// Attention scores are kept within this.
    attn_logit_softcapping: Option<f64> = Some(50.0),
    /// Whether tokens see those after them; not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    use_bidirectional_attention: Option<bool> = None,
}

decoder_config! {
    /// The `config.json` of Gemma 3's text network.
    Gemma3Config, "gemma3_text" {
        vocab_size: 262_208,
        hidden_size: 2304,
        intermediate_size: 9216,
        num_hidden_layers: 26,
        num_attention_heads: 8,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: true,
        pad_token_id: Some(0),
    }
    /// What the gate of the feed-forward layer goes through.
    hidden_activation: Activation = Activation::GeluPytorchTanh,
    /// Whether the linear maps of attention have biases.
    attention_bias: bool = false,
    /// Scores are divided by the root of this.
    #[serde(serialize_with = "whole_where_it_is")]
    query_pre_attn_scalar: f64 = 256.0,
    /// In layers with a window, a token sees so many, itself included.
    sliding_window: Option<usize> = Some(4096),
    /// Which layers have the window; all but every sixth where `None`, or as `sliding_window_pattern` says.
    layer_types: Option<Vec<LayerKind>> = None,
    /// The logits of the next token are kept within this.
    final_logit_softcapping: Option<f64> = None,
    /// Whether tokens see those after them too, as in an encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    use_bidirectional_attention: Option<bool> = None,
}

/// A cap, where there is one, is above 0.
fn check_cap(field: &str, cap: Option<f64>) -> Result<(), CheckpointError> {
    ensure(cap.is_none_or(|cap| cap > 0.0), field, cap.unwrap_or_default(), "a number above 0, or null")
}

/// The kinds of layers of which every `period`-th sees everything.
fn alternating(layers: usize, period: usize) -> Vec<LayerKind> {
    let kind = |layer: usize| match (layer + 1).is_multiple_of(period) {
        true => LayerKind::FullAttention,
        false => LayerKind::SlidingAttention,
    };
    (0..layers).map(kind).collect()
}

impl Gemma2Config {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let sizes = self.sizes();
        sizes.check("gemma2")?;
        ensure(self.head_dim.is_some(), "head_dim", "null", "a number")?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)?;
        check_epsilon("query_pre_attn_scalar", self.query_pre_attn_scalar)?;
        check_cap("final_logit_softcapping", self.final_logit_softcapping)?;
        check_cap("attn_logit_softcapping", self.attn_logit_softcapping)?;
        ensure(self.use_bidirectional_attention != Some(true), "use_bidirectional_attention", true, "false or null")?;
        check_layer_types(&self.kinds(), self.num_hidden_layers, self.sliding_window)?;
        sizes.rope().shared().map(drop)
    }

    /// The kind of each layer.
    pub(super) fn kinds(&self) -> Vec<LayerKind> {
        self.layer_types.clone().unwrap_or_else(|| alternating(self.num_hidden_layers, 2))
    }

    /// Which keys a layer's queries see.
    pub(super) fn reach(&self, layer: usize) -> Reach {
        match (self.kinds().get(layer), self.sliding_window) {
            (Some(LayerKind::SlidingAttention), Some(window)) => Reach::BackWithin(window),
            _ => Reach::Back,
        }
    }
}

impl Gemma3Config {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        self.sizes().check("gemma3_text")?;
        ensure(self.head_dim.is_some(), "head_dim", "null", "a number")?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)?;
        check_epsilon("query_pre_attn_scalar", self.query_pre_attn_scalar)?;
        check_cap("final_logit_softcapping", self.final_logit_softcapping)?;
        let pattern = self.extra.get("sliding_window_pattern").filter(|pattern| !pattern.is_null());
        let fits = pattern.is_none_or(|pattern| pattern.as_u64().is_some_and(|period| period > 0));
        ensure(fits, "sliding_window_pattern", pattern.unwrap_or(&Value::Null), "a number above 0")?;
        check_layer_types(&self.kinds(), self.num_hidden_layers, self.sliding_window)?;
        [LayerKind::FullAttention, LayerKind::SlidingAttention].iter().try_for_each(|kind| self.rotary(*kind).map(drop))
    }

    /// The kind of each layer.
    pub(super) fn kinds(&self) -> Vec<LayerKind> {
        let period = self.extra.get("sliding_window_pattern").and_then(Value::as_u64).unwrap_or(6);
        self.layer_types.clone().unwrap_or_else(|| alternating(self.num_hidden_layers, period as usize))
    }

    /// Which keys the queries of a layer of this kind see.
    pub(super) fn reach(&self, kind: LayerKind) -> Reach {
        let window = self.sliding_window.filter(|_| kind == LayerKind::SlidingAttention);
        match (self.use_bidirectional_attention == Some(true), window) {
            (false, None) => Reach::Back,
            (false, Some(window)) => Reach::BackWithin(window),
            (true, None) => Reach::Everywhere,
            // Of a window over both sides, half is before a token and half behind it.
            (true, Some(window)) => Reach::Within(window / 2),
        }
    }

    /// The rotary positions of layers of this kind: each has a base of its own, and `rope_scaling`, as files were before
    /// 2025, is that of layers that see everything.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the key.
    pub(super) fn rotary(&self, kind: LayerKind) -> Result<Rotary, CheckpointError> {
        let (name, theta) = match kind {
            LayerKind::FullAttention => ("full_attention", ("rope_theta", 1e6)),
            LayerKind::SlidingAttention => ("sliding_attention", ("rope_local_base_freq", 1e4)),
        };
        let empty = Map::new();
        let all = object(&self.extra, "rope_parameters")?.unwrap_or(&empty);
        let by_kind =
            all.is_empty() || ["full_attention", "sliding_attention"].iter().any(|name| all.contains_key(*name));
        ensure(by_kind, "rope_parameters", "one set for all layers", "`full_attention` and `sliding_attention`")?;
        let mut own = object(all, name)?.cloned().unwrap_or_default();
        if kind == LayerKind::FullAttention {
            own.extend(object(&self.extra, "rope_scaling")?.cloned().unwrap_or_default());
        }
        self.sizes().rope().with_theta(theta).of(&own)
    }
}
