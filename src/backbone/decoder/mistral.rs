//! Mistral ([Jiang et al., 2023](https://arxiv.org/abs/2310.06825)), as Transformers' `models/mistral/modeling_mistral.py`
//! runs it: LLaMA's layers over a sliding window.

use super::attention::AttentionPlan;
use super::body::{RotaryConfig, rotary_decoder};
use super::config::{Sizes, causal, check_window, decoder_config};
use super::layer::{MlpPlan, PreNormLayer};
use crate::checkpoint::CheckpointError;
use crate::nn::{Activation, Init, Scoring};

decoder_config! {
    /// Mistral's `config.json`.
    MistralConfig, "mistral" {
        vocab_size: 32_000,
        hidden_size: 4096,
        intermediate_size: 14_336,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: Some(8),
        head_dim: None,
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        pad_token_id: None,
    }
    /// What the gate of the feed-forward layer goes through.
    hidden_act: Activation = Activation::Silu,
    /// A token sees so many, itself included; all before it where `None`.
    sliding_window: Option<usize> = Some(4096),
}

impl MistralConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let sizes = self.sizes();
        sizes.check("mistral")?;
        check_window(self.sliding_window)?;
        sizes.rope().shared().map(drop)
    }
}

impl RotaryConfig for MistralConfig {
    type Layer = PreNormLayer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, _: usize, init: &mut Init) -> PreNormLayer {
        let sizes = self.sizes();
        let scoring = Scoring::of_width(sizes.head_dim, causal(self.sliding_window));
        let attention = AttentionPlan::new(&sizes, scoring, sizes.rotary());
        PreNormLayer::new(&sizes, &attention, MlpPlan { activation: self.hidden_act, bias: false }, init)
    }
}

rotary_decoder! {
    /// The Mistral decoder. Parameters are called as in Transformers' files, but that `model` is the backbone.
    Mistral, MistralConfig, PreNormLayer, "mistral", "Mistral"
}
