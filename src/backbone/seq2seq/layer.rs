//! Layers of BART, Marian and Whisper, as Transformers' `models/bart/modeling_bart.py` runs them. Fields have its names.

use super::Memory;
use crate::nn::{
    Activation, Dropout, Init, LayerDrop, LayerNorm, Linear, Reach, Scoring, attend, linear, merge_heads,
    multi_head_attention, split_heads,
};
use burn::module::Module;
use burn::tensor::{Bool, Tensor};

/// PyTorch's default, which these architectures do not configure.
pub(super) const EPSILON: f64 = 1e-5;

/// What the layers of one side are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerConfig {
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Width inside the feed-forward layer.
    pub(super) inner: usize,
    pub(super) activation: Activation,
    pub(super) dropout: f64,
    pub(super) attention_dropout: f64,
    pub(super) activation_dropout: f64,
    /// Probability of leaving out a layer.
    pub(super) layer_drop: f64,
    /// Whether norms stand before the sublayers, inside the residual, instead of after the sum.
    pub(super) norm_first: bool,
    pub(super) key_bias: bool,
}

impl LayerConfig {
    fn norm(&self, init: &Init) -> LayerNorm {
        LayerNorm::new(self.width, EPSILON, init.device())
    }
}

#[derive(Module, Debug)]
pub(super) struct EncoderLayer {
    self_attn: Attention,
    self_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
    residual: Residual,
    inner: Inner,
    layer_drop: LayerDrop,
}

impl EncoderLayer {
    pub(super) fn new(config: &LayerConfig, init: &mut Init) -> Self {
        Self {
            self_attn: Attention::new(config, init),
            self_attn_layer_norm: config.norm(init),
            fc1: init.linear(config.width, config.inner),
            fc2: init.linear(config.inner, config.width),
            final_layer_norm: config.norm(init),
            residual: Residual::new(config),
            inner: Inner::new(config),
            layer_drop: LayerDrop::new(config.layer_drop),
        }
    }

    /// `[batch, source, hidden]`, of which `mask` says the real places.
    pub(super) fn forward(&self, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        self.layer_drop.forward(hidden, |hidden| self.whole(hidden, mask))
    }

    fn whole(&self, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let Self { self_attn, fc1, fc2, residual, inner, .. } = self;
        let look = |hidden: Tensor<3>| self_attn.forward(hidden.clone(), hidden, mask);
        let hidden = residual.around(&self.self_attn_layer_norm, hidden, look);
        residual.around(&self.final_layer_norm, hidden, |hidden| inner.forward(fc1, fc2, hidden))
    }
}

#[derive(Module, Debug)]
pub(super) struct DecoderLayer {
    self_attn: Attention,
    self_attn_layer_norm: LayerNorm,
    encoder_attn: Attention,
    encoder_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
    residual: Residual,
    inner: Inner,
    layer_drop: LayerDrop,
}

impl DecoderLayer {
    pub(super) fn new(config: &LayerConfig, init: &mut Init) -> Self {
        Self {
            self_attn: Attention::new(config, init),
            self_attn_layer_norm: config.norm(init),
            encoder_attn: Attention::new(config, init),
            encoder_attn_layer_norm: config.norm(init),
            fc1: init.linear(config.width, config.inner),
            fc2: init.linear(config.inner, config.width),
            final_layer_norm: config.norm(init),
            residual: Residual::new(config),
            inner: Inner::new(config),
            layer_drop: LayerDrop::new(config.layer_drop),
        }
    }

    /// `[batch, target, hidden]`, of which `mask` says the real tokens.
    pub(super) fn forward(&self, hidden: Tensor<3>, mask: &Tensor<2, Bool>, memory: &Memory) -> Tensor<3> {
        self.layer_drop.forward(hidden, |hidden| self.whole(hidden, mask, memory))
    }

    fn whole(&self, hidden: Tensor<3>, mask: &Tensor<2, Bool>, memory: &Memory) -> Tensor<3> {
        let Self { self_attn, encoder_attn, fc1, fc2, residual, inner, .. } = self;
        let look_back = |hidden| self_attn.forward_causal(hidden, mask);
        let hidden = residual.around(&self.self_attn_layer_norm, hidden, look_back);
        let look_across = |hidden| encoder_attn.forward(hidden, memory.hidden.clone(), &memory.mask);
        let hidden = residual.around(&self.encoder_attn_layer_norm, hidden, look_across);
        residual.around(&self.final_layer_norm, hidden, |hidden| inner.forward(fc1, fc2, hidden))
    }
}

/// How a sublayer is joined to what it read.
#[derive(Module, Debug)]
struct Residual {
    dropout: Dropout,
    norm_first: bool,
}

impl Residual {
    fn new(config: &LayerConfig) -> Self {
        Self { dropout: Dropout::new(config.dropout), norm_first: config.norm_first }
    }

    fn around(&self, norm: &LayerNorm, hidden: Tensor<3>, sublayer: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        match self.norm_first {
            true => hidden.clone() + self.dropout.forward(sublayer(norm.forward(hidden))),
            false => norm.forward_residual(sublayer(hidden.clone()), hidden, &self.dropout),
        }
    }
}

/// What happens between the two linear maps of the feed-forward layer.
#[derive(Module, Debug)]
struct Inner {
    #[module(skip)]
    activation: Activation,
    dropout: Dropout,
}

impl Inner {
    fn new(config: &LayerConfig) -> Self {
        Self { activation: config.activation, dropout: Dropout::new(config.activation_dropout) }
    }

    fn forward(&self, fc1: &Linear, fc2: &Linear, hidden: Tensor<3>) -> Tensor<3> {
        linear(fc2, self.dropout.forward(self.activation.after(fc1, hidden)))
    }
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    probability_dropout: Dropout,
    heads: usize,
}

impl Attention {
    fn new(config: &LayerConfig, init: &mut Init) -> Self {
        let width = config.width;
        let key = init.linear(width, width);
        Self {
            q_proj: init.linear(width, width),
            k_proj: Linear { bias: key.bias.filter(|_| config.key_bias), ..key },
            v_proj: init.linear(width, width),
            out_proj: init.linear(width, width),
            probability_dropout: Dropout::new(config.attention_dropout),
            heads: config.heads,
        }
    }

    /// The places of `asking` look at those of `hidden` that `mask` says are real.
    fn forward(&self, asking: Tensor<3>, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let query = linear(&self.q_proj, asking);
        let [key, value] = [&self.k_proj, &self.v_proj].map(|layer| linear(layer, hidden.clone()));
        let dropout = &self.probability_dropout;
        linear(&self.out_proj, multi_head_attention(query, key, value, self.heads, Some(mask.clone()), dropout))
    }

    /// Each place looks at itself and at the real ones before it.
    fn forward_causal(&self, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let [query, key, value] = projections.map(|layer| split_heads(linear(layer, hidden.clone()), self.heads));
        let scoring = Scoring::of_width(query.dims()[3], Reach::Back);
        let mixed = attend(query, key, value, scoring, Some(mask.clone()), &self.probability_dropout);
        linear(&self.out_proj, merge_heads(mixed))
    }
}
