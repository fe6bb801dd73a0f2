use super::Dropout;
#[cfg(feature = "flex")]
use crate::kernel;
use burn::tensor::{Bool, Tensor};

/// Scaled dot-product attention ([Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)), `[batch, heads, seq, width]`.
///
/// `mask`, broadcast to `[batch, heads, query, key]`, is true where a query may look. A query that may look nowhere gets
/// the mean of all values, as in Transformers' eager attention, not a NaN. Dropout acts on the attention probabilities.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    dropout: &Dropout,
) -> Tensor<4> {
    let width = query.dims()[3];
    let mut scores = query.matmul(key.swap_dims(2, 3)) / (width as f64).sqrt();
    if let Some(mask) = mask {
        let shape = scores.dims();
        // Finite, so that a row without any true is uniform.
        scores = scores.mask_fill(mask.bool_not().expand(shape), -1e30);
    }
    dropout.forward(softmax(scores)).matmul(value)
}

/// [`attention`] over `[batch, seq, hidden]`, split into `heads`. `visible`, `[batch, keys]`, is true where a key may be
/// looked at; everywhere if `None`. `heads` divides `hidden`.
pub fn multi_head_attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    heads: usize,
    visible: Option<Tensor<2, Bool>>,
    dropout: &Dropout,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if heads > 0
        && query.dims()[2].is_multiple_of(heads)
        && kernel::covers(&query)
        && kernel::covers(&key)
        && kernel::covers(&value)
    {
        let [batch, keys, _] = key.dims();
        let visible = visible.unwrap_or_else(|| Tensor::full([batch, keys], true, &query.device().inner()));
        return kernel::attention(query, key, value, visible, heads, dropout.draw());
    }
    let mask = visible.map(|visible| visible.unsqueeze_dims(&[1, 2]));
    let [query, key, value] = [query, key, value].map(|input| split_heads(input, heads));
    merge_heads(attention(query, key, value, mask, dropout))
}

/// Softmax over the last axis. Burn 0.22's own differs in the last bits between plain Flex and autodiff.
pub(crate) fn softmax(scores: Tensor<4>) -> Tensor<4> {
    let exponents = (scores.clone() - scores.detach().max_dim(3)).exp();
    let sum = exponents.clone().sum_dim(3);
    exponents / sum
}

/// `[batch, seq, heads * width]` to `[batch, heads, seq, width]`.
pub fn split_heads(input: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, seq, hidden] = input.dims();
    input.reshape([batch, seq, heads, hidden / heads]).swap_dims(1, 2)
}

/// `[batch, heads, seq, width]` to `[batch, seq, heads * width]`.
pub fn merge_heads(input: Tensor<4>) -> Tensor<3> {
    let [batch, heads, seq, width] = input.dims();
    input.swap_dims(1, 2).reshape([batch, seq, heads * width])
}
