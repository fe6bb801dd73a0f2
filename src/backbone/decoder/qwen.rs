//! Qwen 2 ([Yang et al., 2024](https://arxiv.org/abs/2407.10671)) and Qwen 3 ([Yang et al.,
//! 2025](https://arxiv.org/abs/2505.09388)), as Transformers' `models/qwen2/modeling_qwen2.py` and `models/qwen3` run them:
//! LLaMA's layers, with biases on queries, keys and values, or with norms over their heads.

use super::attention::AttentionPlan;
use super::body::{RotaryConfig, rotary_decoder, with_spans};
use super::config::{LayerKind, Sizes, causal, check_layer_types, decoder_config};
use super::layer::{MlpPlan, PreNormLayer};
use crate::backbone::config::ensure;
use crate::checkpoint::{CheckpointError, KeyMap};
use crate::nn::{Activation, Init, Scoring};

decoder_config! {
    /// Qwen 2's `config.json`.
    Qwen2Config, "qwen2" {
        vocab_size: 151_936,
        hidden_size: 4096,
        intermediate_size: 22_016,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: Some(32),
        head_dim: None,
        max_position_embeddings: 32_768,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        pad_token_id: None,
    }
    /// What the gate of the feed-forward layer goes through.
    hidden_act: Activation = Activation::Silu,
    /// Whether `sliding_window` counts.
    use_sliding_window: bool = false,
    /// In layers with a window, a token sees so many, itself included.
    sliding_window: Option<usize> = Some(4096),
    /// Layers from this one on have the window, unless `layer_types` says which.
    max_window_layers: usize = 28,
    /// Which layers have the window.
    layer_types: Option<Vec<LayerKind>> = None,
}

decoder_config! {
    /// Qwen 3's `config.json`.
    Qwen3Config, "qwen3" {
        vocab_size: 151_936,
        hidden_size: 4096,
        intermediate_size: 22_016,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: Some(32),
        head_dim: Some(128),
        max_position_embeddings: 32_768,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        pad_token_id: None,
    }
    /// What the gate of the feed-forward layer goes through.
    hidden_act: Activation = Activation::Silu,
    /// Whether the linear maps of attention have biases.
    attention_bias: bool = false,
    /// Whether `sliding_window` counts.
    use_sliding_window: bool = false,
    /// In layers with a window, a token sees so many, itself included.
    sliding_window: Option<usize> = Some(4096),
    /// Layers from this one on have the window, unless `layer_types` says which.
    max_window_layers: usize = 28,
    /// Which layers have the window.
    layer_types: Option<Vec<LayerKind>> = None,
}

/// The windows of a Qwen.
struct Windows<'a> {
    window: Option<usize>,
    from_layer: usize,
    kinds: Option<&'a [LayerKind]>,
}

impl Windows<'_> {
    fn check(&self, layers: usize) -> Result<(), CheckpointError> {
        check_layer_types(&self.kinds(layers), layers, self.window)
    }

    fn kinds(&self, layers: usize) -> Vec<LayerKind> {
        let kind = |layer| match self.window {
            Some(_) if layer >= self.from_layer => LayerKind::SlidingAttention,
            _ => LayerKind::FullAttention,
        };
        self.kinds.map_or_else(|| (0..layers).map(kind).collect(), <[LayerKind]>::to_vec)
    }

    fn scoring(&self, sizes: &Sizes<'_>, layer: usize) -> Scoring {
        let kind = self.kinds(sizes.num_hidden_layers).get(layer).copied();
        let window = self.window.filter(|_| kind == Some(LayerKind::SlidingAttention));
        Scoring::of_width(sizes.head_dim, causal(window))
    }
}

impl Qwen2Config {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let sizes = self.sizes();
        sizes.check("qwen2")?;
        self.windows().check(sizes.num_hidden_layers)?;
        sizes.rope().shared().map(drop)
    }

    fn windows(&self) -> Windows<'_> {
        Windows {
            window: self.sliding_window.filter(|_| self.use_sliding_window),
            from_layer: self.max_window_layers,
            kinds: self.layer_types.as_deref(),
        }
    }
}

impl RotaryConfig for Qwen2Config {
    type Layer = PreNormLayer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, index: usize, init: &mut Init) -> PreNormLayer {
        let sizes = self.sizes();
        let attention = AttentionPlan::new(&sizes, self.windows().scoring(&sizes, index), sizes.rotary());
        let mlp = MlpPlan { activation: self.hidden_act, bias: false };
        PreNormLayer::new(&sizes, &attention.with_bias(true, false), mlp, init)
    }

    fn with_own_heads(&self, map: KeyMap) -> KeyMap {
        with_spans(map)
    }
}

impl Qwen3Config {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let sizes = self.sizes();
        sizes.check("qwen3")?;
        ensure(self.head_dim.is_some(), "head_dim", "null", "a number")?;
        self.windows().check(sizes.num_hidden_layers)?;
        sizes.rope().shared().map(drop)
    }

    fn windows(&self) -> Windows<'_> {
        Windows {
            window: self.sliding_window.filter(|_| self.use_sliding_window),
            from_layer: self.max_window_layers,
            kinds: self.layer_types.as_deref(),
        }
    }
}

impl RotaryConfig for Qwen3Config {
    type Layer = PreNormLayer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, index: usize, init: &mut Init) -> PreNormLayer {
        let sizes = self.sizes();
        let attention = AttentionPlan::new(&sizes, self.windows().scoring(&sizes, index), sizes.rotary());
        let attention = attention.with_bias(self.attention_bias, self.attention_bias);
        let mlp = MlpPlan { activation: self.hidden_act, bias: false };
        PreNormLayer::new(&sizes, &attention, mlp, init).with_head_norms(&sizes, init)
    }

    fn with_own_heads(&self, map: KeyMap) -> KeyMap {
        with_spans(map)
    }
}

rotary_decoder! {
    /// The Qwen 2 decoder. Parameters are called as in Transformers' files, but that `model` is the backbone.
    Qwen2, Qwen2Config, PreNormLayer, "qwen2", "Qwen2"
}

rotary_decoder! {
    /// The Qwen 3 decoder. Parameters are called as in Transformers' files, but that `model` is the backbone.
    Qwen3, Qwen3Config, PreNormLayer, "qwen3", "Qwen3"
}
