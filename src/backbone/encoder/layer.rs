//! The layer of BERT and its kin: attention and a feed-forward layer, each added to its input and then normalised.

use crate::backbone::first_token;
use crate::nn::{
    Activation, Dropout, Init, LayerNorm, Linear, Visible, biased_attention, linear, multi_head_attention,
};
use burn::module::Module;
use burn::tensor::Tensor;

/// What a [`Layer`] is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerConfig {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f64,
    /// Dropout on attention probabilities.
    pub(super) probability_dropout: f64,
    /// Dropout on what attention gives, before it is added to its input.
    pub(super) attention_dropout: f64,
    /// Dropout on what the feed-forward layer gives, before it is added to its input.
    pub(super) output_dropout: f64,
}

#[derive(Module, Debug)]
pub(super) struct Layer {
    attention: SelfAttention,
    intermediate: Linear,
    output: Linear,
    norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Layer {
    pub(super) fn new(config: &LayerConfig, init: &mut Init) -> Self {
        Self {
            attention: SelfAttention::new(config, init),
            intermediate: init.linear(config.hidden, config.inner),
            output: init.linear(config.inner, config.hidden),
            norm: LayerNorm::new(config.hidden, config.epsilon, init.device()),
            dropout: Dropout::new(config.output_dropout),
            activation: config.activation,
        }
    }

    /// The layer at the places `asking`, `[batch, places, hidden]`, of a sequence `hidden`, `[batch, seq, hidden]`. `bias`,
    /// `[1, heads, places, seq]`, is added to the attention scores.
    pub(super) fn forward(
        &self,
        asking: Tensor<3>,
        hidden: Tensor<3>,
        visible: &Visible,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let hidden = self.attention.forward(asking, hidden, visible, bias);
        let inner = self.activation.after(&self.intermediate, hidden.clone());
        self.norm.forward_residual(linear(&self.output, inner), hidden, &self.dropout)
    }

    /// Operations that mix the positions of a row of `seq`.
    pub(super) fn mixing_operations(&self, seq: usize) -> f64 {
        // Queries with keys, probabilities with values: two operations for each pair of positions and each feature.
        4.0 * (seq * seq * self.hidden_size()) as f64
    }

    /// Operations that a row of `seq` takes less where one place asks.
    pub(super) fn operations_spared(&self, seq: usize) -> f64 {
        let Self { attention, intermediate, output, .. } = self;
        let products = [&attention.query, &attention.output, intermediate, output];
        let values: usize = products.iter().map(|linear| linear.weight.shape().num_elements()).sum();
        (seq.saturating_sub(1) * (2 * values + 4 * seq * self.hidden_size())) as f64
    }

    fn hidden_size(&self) -> usize {
        self.attention.query.weight.dims()[0]
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm: LayerNorm,
    probability_dropout: Dropout,
    dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    fn new(config: &LayerConfig, init: &mut Init) -> Self {
        let hidden = config.hidden;
        Self {
            query: init.linear(hidden, hidden),
            key: init.linear(hidden, hidden),
            value: init.linear(hidden, hidden),
            output: init.linear(hidden, hidden),
            norm: LayerNorm::new(hidden, config.epsilon, init.device()),
            probability_dropout: Dropout::new(config.probability_dropout),
            dropout: Dropout::new(config.attention_dropout),
            heads: config.heads,
        }
    }

    fn forward(&self, asking: Tensor<3>, hidden: Tensor<3>, visible: &Visible, bias: Option<Tensor<4>>) -> Tensor<3> {
        let query = linear(&self.query, asking.clone());
        let [key, value] = [&self.key, &self.value].map(|layer| linear(layer, hidden.clone()));
        let (dropout, visible) = (&self.probability_dropout, visible.clone());
        let mixed = match bias {
            Some(bias) => biased_attention(query, key, value, self.heads, bias, visible, dropout),
            None => multi_head_attention(query, key, value, self.heads, visible, dropout),
        };
        self.norm.forward_residual(linear(&self.output, mixed), asking, &self.dropout)
    }
}

/// The first token through a dense layer and tanh.
#[derive(Module, Debug)]
pub(super) struct Pooler {
    dense: Linear,
}

impl Pooler {
    pub(super) fn new(hidden_size: usize, init: &mut Init) -> Self {
        Self { dense: init.linear(hidden_size, hidden_size) }
    }

    /// `[batch, seq, hidden]` to `[batch, hidden]`.
    pub(super) fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        linear(&self.dense, first_token(hidden)).tanh()
    }
}
