//! Phi-3 ([Abdin et al., 2024](https://arxiv.org/abs/2404.14219)), as Transformers' `models/phi3/modeling_phi3.py` runs it:
//! LLaMA's layer with one map to queries, keys and values and one to gate and values, and dropout on what a layer adds.

use super::attention::{AttentionPlan, Rotated};
use super::body::{RotaryConfig, rotary_decoder};
use super::config::{Sizes, causal, check_window, decoder_config};
use super::layer::DecoderLayer;
use crate::backbone::config::check_probabilities;
use crate::backbone::rope::RopeFields;
use crate::checkpoint::CheckpointError;
use crate::nn::{Activation, Dropout, Init, Linear, RmsNorm, Rotary, Scoring, Visible, linear, split_heads};
use burn::module::Module;
use burn::tensor::Tensor;

decoder_config! {
    /// Phi-3's `config.json`.
    Phi3Config, "phi3" {
        vocab_size: 32_064,
        hidden_size: 3072,
        intermediate_size: 8192,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: None,
        head_dim: None,
        max_position_embeddings: 4096,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        pad_token_id: Some(32_000),
    }
    /// What the gate of the feed-forward layer goes through.
    hidden_act: Activation = Activation::Silu,
    /// Dropout on what each part of a layer adds, while training.
    resid_pdrop: f64 = 0.0,
    /// A token sees so many, itself included; all before it where `None`.
    sliding_window: Option<usize> = None,
    /// Length in tokens that the rotary positions were trained for.
    original_max_position_embeddings: usize = 4096,
}

impl Phi3Config {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        self.sizes().check("phi3")?;
        check_window(self.sliding_window)?;
        check_probabilities(&[("resid_pdrop", self.resid_pdrop)])?;
        self.rotary().map(drop)
    }

    fn rotary(&self) -> Result<Rotary, CheckpointError> {
        let rope = RopeFields {
            partial: Some(("partial_rotary_factor", 1.0)),
            // What the first files called it.
            longrope: &["longrope", "su", "yarn"],
            trained: Some(self.original_max_position_embeddings),
            ..self.sizes().rope()
        };
        rope.shared()
    }
}

impl RotaryConfig for Phi3Config {
    type Layer = Phi3Layer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, _: usize, init: &mut Init) -> Phi3Layer {
        let sizes = self.sizes();
        let scoring = Scoring::of_width(sizes.head_dim, causal(self.sliding_window));
        let rotary = self.rotary().unwrap_or_else(|_| sizes.rotary());
        Phi3Layer::new(self, &AttentionPlan::new(&sizes, scoring, rotary), init)
    }
}

/// Phi-3's layer.
#[derive(Module, Debug)]
pub(super) struct Phi3Layer {
    input_layernorm: RmsNorm,
    self_attn: FusedAttention,
    post_attention_layernorm: RmsNorm,
    mlp: FusedMlp,
    dropout: Dropout,
}

impl Phi3Layer {
    fn new(config: &Phi3Config, attention: &AttentionPlan, init: &mut Init) -> Self {
        let Phi3Config { hidden_size, intermediate_size, rms_norm_eps, .. } = *config;
        Self {
            input_layernorm: RmsNorm::new(hidden_size, rms_norm_eps, init.device()),
            self_attn: FusedAttention::new(attention, init),
            post_attention_layernorm: RmsNorm::new(hidden_size, rms_norm_eps, init.device()),
            mlp: FusedMlp {
                gate_up_proj: init.linear_with(hidden_size, 2 * intermediate_size, false),
                down_proj: init.linear_with(intermediate_size, hidden_size, false),
                activation: config.hidden_act,
            },
            dropout: Dropout::new(config.resid_pdrop),
        }
    }
}

impl DecoderLayer for Phi3Layer {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.self_attn.forward(self.input_layernorm.forward(hidden.clone()), visible);
        let [hidden, normal] = self.post_attention_layernorm.forward_residual(mixed, hidden, Some(&self.dropout));
        let inner = self.mlp.forward(normal);
        hidden + self.dropout.forward(inner)
    }

    fn attention_width(&self) -> usize {
        self.self_attn.rotated.width()
    }
}

/// Attention whose queries, keys and values, in this order, are the result of one map.
#[derive(Module, Debug)]
struct FusedAttention {
    qkv_proj: Linear,
    o_proj: Linear,
    dropout: Dropout,
    #[module(skip)]
    rotated: Rotated,
}

impl FusedAttention {
    fn new(plan: &AttentionPlan, init: &mut Init) -> Self {
        let AttentionPlan { hidden, heads, groups, head_dim, dropout, .. } = *plan;
        Self {
            qkv_proj: init.linear_with(hidden, (heads + 2 * groups) * head_dim, false),
            o_proj: init.linear_with(heads * head_dim, hidden, false),
            dropout: Dropout::new(dropout),
            rotated: Rotated::new(plan),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let Rotated { heads, groups, .. } = self.rotated;
        let all = split_heads(linear(&self.qkv_proj, hidden), heads + 2 * groups);
        let query = all.clone().narrow(1, 0, heads);
        let key = all.clone().narrow(1, heads, groups);
        let value = all.narrow(1, heads + groups, groups);
        linear(&self.o_proj, self.rotated.mix(query, key, value, visible, &self.dropout))
    }
}

/// A gated feed-forward layer whose gate and values, in this order, are the result of one map.
#[derive(Module, Debug)]
struct FusedMlp {
    gate_up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl FusedMlp {
    fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        linear(&self.down_proj, self.activation.gate_halves(linear(&self.gate_up_proj, hidden)))
    }
}

rotary_decoder! {
    /// The Phi-3 decoder. Parameters are called as in Transformers' files, but that `model` is the backbone.
    Phi3, Phi3Config, Phi3Layer, "phi3", "Phi3"
}
