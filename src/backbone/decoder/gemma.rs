//! Gemma 2 ([Gemma Team, 2024](https://arxiv.org/abs/2408.00118)) and the text network of Gemma 3 ([Gemma Team,
//! 2025](https://arxiv.org/abs/2503.19786)), as Transformers' `models/gemma2/modeling_gemma2.py` and
//! `models/gemma3/modeling_gemma3.py` run them: norms around both parts of a layer, scaled embeddings, windows in turn.

use super::attention::{AttentionPlan, RotaryAttention};
use super::body::{RotaryConfig, rotary_decoder};
use super::config::{LayerKind, Sizes};
use super::layer::DecoderLayer;
use super::{Gemma2Config, Gemma3Config};
use crate::nn::{Activation, GatedMlp, Init, RmsNorm, Scoring, Visible};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// Gemma's layer: norms before and after attention and the gated feed-forward layer.
#[derive(Module, Debug)]
pub(super) struct GemmaLayer {
    input_layernorm: RmsNorm,
    self_attn: RotaryAttention,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: GatedMlp,
    post_feedforward_layernorm: RmsNorm,
}

impl GemmaLayer {
    fn new(sizes: &Sizes<'_>, attention: &AttentionPlan, activation: Activation, init: &mut Init) -> Self {
        let Sizes { hidden_size, intermediate_size, rms_norm_eps, .. } = *sizes;
        let norm = |init: &Init| RmsNorm::from_one(hidden_size, rms_norm_eps, init.device());
        Self {
            input_layernorm: norm(init),
            self_attn: RotaryAttention::new(attention, init),
            post_attention_layernorm: norm(init),
            pre_feedforward_layernorm: norm(init),
            mlp: GatedMlp::new(hidden_size, intermediate_size, false, activation, init),
            post_feedforward_layernorm: norm(init),
        }
    }
}

impl DecoderLayer for GemmaLayer {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.self_attn.forward(self.input_layernorm.forward(hidden.clone()), visible);
        let hidden = hidden + self.post_attention_layernorm.forward(mixed);
        let inner = self.mlp.forward(self.pre_feedforward_layernorm.forward(hidden.clone()));
        hidden + self.post_feedforward_layernorm.forward(inner)
    }

    fn attention_width(&self) -> usize {
        self.self_attn.width()
    }
}

impl RotaryConfig for Gemma2Config {
    type Layer = GemmaLayer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, index: usize, init: &mut Init) -> GemmaLayer {
        let sizes = self.sizes();
        let scale = 1.0 / self.query_pre_attn_scalar.sqrt();
        let scoring = Scoring { scale, soft_cap: self.attn_logit_softcapping, reach: self.reach(index) };
        let attention = AttentionPlan::new(&sizes, scoring, sizes.rotary());
        let attention = attention.with_bias(self.attention_bias, self.attention_bias);
        GemmaLayer::new(&sizes, &attention, self.hidden_activation, init)
    }

    fn norm(&self, device: &Device) -> RmsNorm {
        RmsNorm::from_one(self.hidden_size, self.rms_norm_eps, device)
    }

    fn embedding_scale(&self) -> Option<f64> {
        Some((self.hidden_size as f64).sqrt())
    }

    fn logit_cap(&self) -> Option<f64> {
        self.final_logit_softcapping
    }
}

impl RotaryConfig for Gemma3Config {
    type Layer = GemmaLayer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, index: usize, init: &mut Init) -> GemmaLayer {
        let sizes = self.sizes();
        let kind = self.kinds().get(index).copied().unwrap_or(LayerKind::FullAttention);
        let scale = 1.0 / self.query_pre_attn_scalar.sqrt();
        let scoring = Scoring { scale, soft_cap: None, reach: self.reach(kind) };
        let rotary = self.rotary(kind).unwrap_or_else(|_| sizes.rotary());
        let attention = AttentionPlan::new(&sizes, scoring, rotary);
        let attention = attention.with_bias(self.attention_bias, self.attention_bias);
        let mut layer = GemmaLayer::new(&sizes, &attention, self.hidden_activation, init);
        let norm = || RmsNorm::from_one(sizes.head_dim, sizes.rms_norm_eps, init.device());
        layer.self_attn = layer.self_attn.with_head_norms(norm);
        layer
    }

    fn norm(&self, device: &Device) -> RmsNorm {
        RmsNorm::from_one(self.hidden_size, self.rms_norm_eps, device)
    }

    fn embedding_scale(&self) -> Option<f64> {
        Some((self.hidden_size as f64).sqrt())
    }

    fn logit_cap(&self) -> Option<f64> {
        self.final_logit_softcapping
    }
}

rotary_decoder! {
    /// The Gemma 2 decoder. Parameters are called as in Transformers' files, but that `model` is the backbone.
    Gemma2, Gemma2Config, GemmaLayer, "gemma2", "Gemma2"
}

rotary_decoder! {
    /// Gemma 3's text decoder. Parameters are called as in Transformers' files, but that `model` is the backbone.
    Gemma3, Gemma3Config, GemmaLayer, "gemma3_text", "Gemma3Text"
}
