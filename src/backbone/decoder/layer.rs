use super::attention::{AttentionPlan, RotaryAttention};
use super::config::Sizes;
use crate::nn::{Activation, GatedMlp, Init, RmsNorm, Visible};
use burn::module::Module;
use burn::tensor::Tensor;

/// One layer of a decoder.
pub(super) trait DecoderLayer {
    /// `[batch, seq, hidden]` to `[batch, seq, hidden]`; `visible` says what places may look at.
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3>;

    /// Width of all attention heads together.
    fn attention_width(&self) -> usize;
}

/// LLaMA's layer, which Mistral and Qwen share: a norm before attention and one before the gated feed-forward layer.
#[derive(Module, Debug)]
pub(super) struct PreNormLayer {
    input_layernorm: RmsNorm,
    self_attn: RotaryAttention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

/// The feed-forward layer of a [`PreNormLayer`].
#[derive(Clone, Copy, Debug)]
pub(super) struct MlpPlan {
    pub(super) activation: Activation,
    pub(super) bias: bool,
}

impl PreNormLayer {
    pub(super) fn new(sizes: &Sizes<'_>, attention: &AttentionPlan, mlp: MlpPlan, init: &mut Init) -> Self {
        let Sizes { hidden_size, intermediate_size, rms_norm_eps, .. } = *sizes;
        Self {
            input_layernorm: RmsNorm::new(hidden_size, rms_norm_eps, init.device()),
            self_attn: RotaryAttention::new(attention, init),
            post_attention_layernorm: RmsNorm::new(hidden_size, rms_norm_eps, init.device()),
            mlp: GatedMlp::new(hidden_size, intermediate_size, mlp.bias, mlp.activation, init),
        }
    }

    /// The same with norms over each head of queries and keys, as in Qwen 3.
    pub(super) fn with_head_norms(mut self, sizes: &Sizes<'_>, init: &Init) -> Self {
        let norm = || RmsNorm::new(sizes.head_dim, sizes.rms_norm_eps, init.device());
        self.self_attn = self.self_attn.with_head_norms(norm);
        self
    }
}

impl DecoderLayer for PreNormLayer {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.self_attn.forward(self.input_layernorm.forward(hidden.clone()), visible);
        let [hidden, normal] = self.post_attention_layernorm.forward_residual(mixed, hidden, None);
        hidden + self.mlp.forward(normal)
    }

    fn attention_width(&self) -> usize {
        self.self_attn.width()
    }
}
