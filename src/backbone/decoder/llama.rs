//! LLaMA ([Touvron et al., 2023](https://arxiv.org/abs/2302.13971)), as Transformers' `models/llama/modeling_llama.py` runs
//! it.

use super::attention::AttentionPlan;
use super::body::{RotaryConfig, rotary_decoder, with_spans};
use super::config::{Sizes, decoder_config};
use super::layer::{MlpPlan, PreNormLayer};
use crate::backbone::config::check_divides;
use crate::checkpoint::{CheckpointError, KeyMap};
use crate::nn::{Activation, Init, Reach, Scoring};

decoder_config! {
    /// LLaMA's `config.json`.
    LlamaConfig, "llama" {
        vocab_size: 32_000,
        hidden_size: 4096,
        intermediate_size: 11_008,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: None,
        head_dim: None,
        max_position_embeddings: 2048,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        pad_token_id: None,
    }
    /// What the gate of the feed-forward layer goes through.
    hidden_act: Activation = Activation::Silu,
    /// Whether the linear maps of attention have biases.
    attention_bias: bool = false,
    /// Whether those of the feed-forward layer have.
    mlp_bias: bool = false,
}

impl LlamaConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let sizes = self.sizes();
        sizes.check("llama")?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)?;
        sizes.rope().shared().map(drop)
    }
}

impl RotaryConfig for LlamaConfig {
    type Layer = PreNormLayer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, _: usize, init: &mut Init) -> PreNormLayer {
        let sizes = self.sizes();
        let scoring = Scoring::of_width(sizes.head_dim, Reach::Back);
        let attention = AttentionPlan::new(&sizes, scoring, sizes.rotary());
        let attention = attention.with_bias(self.attention_bias, self.attention_bias);
        PreNormLayer::new(&sizes, &attention, MlpPlan { activation: self.hidden_act, bias: self.mlp_bias }, init)
    }

    fn with_own_heads(&self, map: KeyMap) -> KeyMap {
        with_spans(map)
    }
}

rotary_decoder! {
    /// The LLaMA decoder. Parameters are called as in Transformers' files, but that `model` is the backbone.
    Llama, LlamaConfig, PreNormLayer, "llama", "Llama"
}
