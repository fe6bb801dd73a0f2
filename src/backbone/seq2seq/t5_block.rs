//! T5's blocks, as Transformers' `models/t5/modeling_t5.py` runs them: norms first, no biases, scores not divided by the root
//! of the width.

use super::{Memory, T5Config};
use crate::nn::{
    Activation, Dropout, Init, Linear, Reach, RmsNorm, Scoring, attend, causal_mask, linear, merge_heads, split_heads,
    unscaled_attention,
};
use burn::module::Module;
use burn::tensor::{Bool, Tensor};

#[derive(Module, Debug)]
pub(super) struct EncoderBlock {
    attention: Attention,
    attention_norm: RmsNorm,
    feed_forward: FeedForward,
    feed_forward_norm: RmsNorm,
    dropout: Dropout,
}

impl EncoderBlock {
    pub(super) fn new(config: &T5Config, init: &mut Init) -> Self {
        Self {
            attention: Attention::new(config, init),
            attention_norm: norm(config, init),
            feed_forward: FeedForward::new(config, init),
            feed_forward_norm: norm(config, init),
            dropout: Dropout::new(config.dropout_rate),
        }
    }

    /// `[batch, source, hidden]`, of which `mask` says the real places; `bias` is `[1, heads, source, source]`.
    pub(super) fn forward(&self, hidden: Tensor<3>, mask: &Tensor<2, Bool>, bias: Tensor<4>) -> Tensor<3> {
        let normal = self.attention_norm.forward(hidden.clone());
        let mixed = self.attention.forward(normal, bias, keys(mask));
        let [hidden, normal] = self.feed_forward_norm.forward_residual(mixed, hidden, Some(&self.dropout));
        let inner = self.feed_forward.forward(normal);
        hidden + self.dropout.forward(inner)
    }
}

impl EncoderBlock {
    /// The width of all heads together.
    pub(super) fn inner_width(&self) -> usize {
        self.attention.q.weight.dims()[1]
    }
}

#[derive(Module, Debug)]
pub(super) struct DecoderBlock {
    attention: Attention,
    attention_norm: RmsNorm,
    cross_attention: Attention,
    cross_attention_norm: RmsNorm,
    feed_forward: FeedForward,
    feed_forward_norm: RmsNorm,
    dropout: Dropout,
}

impl DecoderBlock {
    pub(super) fn new(config: &T5Config, init: &mut Init) -> Self {
        Self {
            attention: Attention::new(config, init),
            attention_norm: norm(config, init),
            cross_attention: Attention::new(config, init),
            cross_attention_norm: norm(config, init),
            feed_forward: FeedForward::new(config, init),
            feed_forward_norm: norm(config, init),
            dropout: Dropout::new(config.dropout_rate),
        }
    }

    /// `[batch, target, hidden]`, of which `mask` says the real tokens; `bias` is `[1, heads, target, target]`.
    pub(super) fn forward(
        &self,
        hidden: Tensor<3>,
        mask: &Tensor<2, Bool>,
        memory: &Memory,
        bias: Tensor<4>,
    ) -> Tensor<3> {
        let normal = self.attention_norm.forward(hidden.clone());
        let mixed = self.attention.forward(normal, bias, causal_mask(mask));
        let [hidden, normal] = self.cross_attention_norm.forward_residual(mixed, hidden, Some(&self.dropout));
        let mixed = self.cross_attention.forward_across(normal, memory);
        let [hidden, normal] = self.feed_forward_norm.forward_residual(mixed, hidden, Some(&self.dropout));
        let inner = self.feed_forward.forward(normal);
        hidden + self.dropout.forward(inner)
    }
}

pub(super) fn norm(config: &T5Config, init: &Init) -> RmsNorm {
    RmsNorm::new(config.d_model, config.layer_norm_epsilon, init.device())
}

/// `[batch, keys]` to `[batch, 1, 1, keys]`.
fn keys(mask: &Tensor<2, Bool>) -> Tensor<4, Bool> {
    mask.clone().unsqueeze_dims(&[1, 2])
}

#[derive(Module, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    dropout: Dropout,
    heads: usize,
}

impl Attention {
    fn new(config: &T5Config, init: &mut Init) -> Self {
        let (width, inner, factor) = (config.d_model, config.num_heads * config.d_kv, config.initializer_factor);
        let root = |size: usize| factor * (size as f64).powf(-0.5);
        let mut map = |input, output, deviation| init.deviating(deviation).linear_with(input, output, false);
        Self {
            q: map(width, inner, root(width * config.d_kv)),
            k: map(width, inner, root(width)),
            v: map(width, inner, root(width)),
            o: map(inner, width, root(inner)),
            dropout: Dropout::new(config.dropout_rate),
            heads: config.num_heads,
        }
    }

    /// The places of `hidden` look at one another where `mask` allows.
    fn forward(&self, hidden: Tensor<3>, bias: Tensor<4>, mask: Tensor<4, Bool>) -> Tensor<3> {
        let projections = [&self.q, &self.k, &self.v];
        let [query, key, value] = projections.map(|layer| split_heads(linear(layer, hidden.clone()), self.heads));
        linear(&self.o, merge_heads(unscaled_attention(query, key, value, bias, Some(mask), &self.dropout)))
    }

    /// The places of `asking` look at those of the memory, without a bias.
    fn forward_across(&self, asking: Tensor<3>, memory: &Memory) -> Tensor<3> {
        let split = |layer: &Linear, input: Tensor<3>| split_heads(linear(layer, input), self.heads);
        let query = split(&self.q, asking);
        let [key, value] = [&self.k, &self.v].map(|layer| split(layer, memory.hidden.clone()));
        let scoring = Scoring { scale: 1.0, soft_cap: None, reach: Reach::Everywhere };
        linear(&self.o, merge_heads(attend(query, key, value, scoring, Some(memory.mask.clone()), &self.dropout)))
    }
}

#[derive(Module, Debug)]
struct FeedForward {
    /// Before the activation.
    wi: Linear,
    /// What the activation is multiplied by.
    gate: Option<Linear>,
    wo: Linear,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl FeedForward {
    fn new(config: &T5Config, init: &mut Init) -> Self {
        let (width, inner, factor) = (config.d_model, config.d_ff, config.initializer_factor);
        let root = |size: usize| factor * (size as f64).powf(-0.5);
        let mut map = |input, output| init.deviating(root(input)).linear_with(input, output, false);
        Self {
            wi: map(width, inner),
            gate: config.is_gated().then(|| map(width, inner)),
            wo: map(inner, width),
            dropout: Dropout::new(config.dropout_rate),
            activation: config.activation().unwrap_or_default(),
        }
    }

    fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let inner = match &self.gate {
            Some(gate) => self.activation.gate(linear(&self.wi, hidden.clone()), linear(gate, hidden)),
            None => self.activation.after(&self.wi, hidden),
        };
        linear(&self.wo, self.dropout.forward(inner))
    }
}
