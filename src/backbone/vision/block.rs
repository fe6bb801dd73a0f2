//! The parts that transformers over patches share.

use crate::nn::{
    Activation, Dropout, Init, LayerNorm, Linear, attention, linear, merge_heads, multi_head_attention, split_heads,
};
use burn::module::Module;
use burn::tensor::{Bool, Tensor};

/// Who may look at whom.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// Every token at every other.
    All,
    /// Every token at those that are true, `[batch, tokens]`.
    Real(Tensor<2, Bool>),
    /// Each token at itself and those before it that are true, `[batch, tokens]`.
    Causal(Tensor<2, Bool>),
}

/// Sizes and settings of an attention layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionSizes {
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    /// Whether queries, keys and values have biases.
    pub(crate) bias: bool,
    /// On attention probabilities.
    pub(crate) dropout: f64,
}

#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    pub(crate) fn new(sizes: AttentionSizes, init: &mut Init) -> Self {
        let AttentionSizes { hidden, heads, bias, dropout } = sizes;
        let [query, key, value] = [(); 3].map(|()| init.linear_with(hidden, hidden, bias));
        Self { query, key, value, output: init.linear(hidden, hidden), dropout: Dropout::new(dropout), heads }
    }

    /// What the places `asking`, `[batch, places, hidden]`, take from `hidden`, `[batch, tokens, hidden]`.
    pub(crate) fn forward(&self, asking: Tensor<3>, hidden: Tensor<3>, sight: &Sight) -> Tensor<3> {
        let query = linear(&self.query, asking);
        let [key, value] = [&self.key, &self.value].map(|layer| linear(layer, hidden.clone()));
        let mixed = match sight {
            Sight::All => multi_head_attention(query, key, value, self.heads, None, &self.dropout),
            Sight::Real(real) => multi_head_attention(query, key, value, self.heads, Some(real.clone()), &self.dropout),
            Sight::Causal(real) => {
                let [query, key, value] = [query, key, value].map(|input| split_heads(input, self.heads));
                merge_heads(attention(query, key, value, Some(causal(real)), &self.dropout))
            }
        };
        linear(&self.output, mixed)
    }

    /// Parameters of the products that run once for each asking place.
    fn values_of_asking(&self) -> usize {
        [&self.query, &self.output].map(|layer| layer.weight.shape().num_elements()).iter().sum()
    }

    /// Width of a token.
    fn hidden(&self) -> usize {
        self.query.weight.dims()[0]
    }

    /// See [`Backbone::mixing_operations`](crate::backbone::Backbone::mixing_operations).
    pub(crate) fn mixing_operations(&self, tokens: usize) -> f64 {
        // Queries with keys, probabilities with values: two operations for each pair of tokens and each feature.
        4.0 * (tokens * tokens * self.hidden()) as f64
    }
}

/// `[batch, tokens]` to `[batch, 1, tokens, tokens]`: a query sees real keys that do not come after it.
fn causal(real: &Tensor<2, Bool>) -> Tensor<4, Bool> {
    let [batch, tokens] = real.dims();
    let earlier = Tensor::<2, Bool>::tril_mask([tokens, tokens], 0, &real.device()).bool_not();
    let shape = [batch, 1, tokens, tokens];
    let real = real.clone().unsqueeze_dims::<4>(&[1, 2]).expand(shape);
    real.bool_and(earlier.unsqueeze::<4>().expand(shape))
}

/// Two linear maps with an activation between them.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    up: Linear,
    down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(hidden: usize, inner: usize, activation: Activation, init: &mut Init) -> Self {
        Self { up: init.linear(hidden, inner), down: init.linear(inner, hidden), activation }
    }

    pub(crate) fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        linear(&self.down, self.activation.after(&self.up, input))
    }

    fn values(&self) -> usize {
        [&self.up, &self.down].map(|layer| layer.weight.shape().num_elements()).iter().sum()
    }
}

/// Sizes and settings of a [`Block`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSizes {
    pub(crate) attention: AttentionSizes,
    pub(crate) inner: usize,
    pub(crate) activation: Activation,
    pub(crate) epsilon: f64,
    /// After either sublayer.
    pub(crate) dropout: f64,
}

/// Attention and feed-forward layer, each on the norm of what it is added to.
#[derive(Module, Debug)]
pub(crate) struct Block {
    attention_norm: LayerNorm,
    attention: SelfAttention,
    mlp_norm: LayerNorm,
    mlp: Mlp,
    dropout: Dropout,
}

impl Block {
    pub(crate) fn new(sizes: BlockSizes, init: &mut Init) -> Self {
        let hidden = sizes.attention.hidden;
        Self {
            attention_norm: LayerNorm::new(hidden, sizes.epsilon, init.device()),
            attention: SelfAttention::new(sizes.attention, init),
            mlp_norm: LayerNorm::new(hidden, sizes.epsilon, init.device()),
            mlp: Mlp::new(hidden, sizes.inner, sizes.activation, init),
            dropout: Dropout::new(sizes.dropout),
        }
    }

    /// `[batch, tokens, hidden]`, unchanged.
    pub(crate) fn forward(&self, hidden: Tensor<3>, sight: &Sight) -> Tensor<3> {
        let normed = self.attention_norm.forward(hidden.clone());
        let mixed = self.attention.forward(normed.clone(), normed, sight);
        self.feed_forward(self.dropout.forward(mixed) + hidden)
    }

    /// The block at the first token alone: `[batch, tokens, hidden]` to `[batch, 1, hidden]`.
    pub(crate) fn forward_first(&self, hidden: Tensor<3>) -> Tensor<3> {
        let normed = self.attention_norm.forward(hidden.clone());
        let mixed = self.attention.forward(normed.clone().narrow(1, 0, 1), normed, &Sight::All);
        self.feed_forward(self.dropout.forward(mixed) + hidden.narrow(1, 0, 1))
    }

    fn feed_forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let inner = self.mlp.forward(self.mlp_norm.forward(hidden.clone()));
        self.dropout.forward(inner) + hidden
    }

    /// See [`Backbone::mixing_operations`](crate::backbone::Backbone::mixing_operations).
    pub(crate) fn mixing_operations(&self, tokens: usize) -> f64 {
        self.attention.mixing_operations(tokens)
    }

    /// What [`forward_first`](Self::forward_first) leaves out.
    pub(crate) fn operations_spared(&self, tokens: usize) -> f64 {
        let values = self.attention.values_of_asking() + self.mlp.values();
        (tokens.saturating_sub(1) * (2 * values + 4 * tokens * self.attention.hidden())) as f64
    }
}
