use super::attention::{masked, softmax};
use super::{Dropout, Reach, Visible, merge_heads, split_heads};
use burn::tensor::Tensor;

/// [`multi_head_attention`](super::multi_head_attention) with `bias`, broadcast to `[batch, heads, query, key]`, added to the
/// scores after they are scaled: a relative position bias ([Shaw et al., 2018](https://arxiv.org/abs/1803.02155)).
pub fn biased_attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    heads: usize,
    bias: Tensor<4>,
    visible: impl Into<Visible>,
    dropout: &Dropout,
) -> Tensor<3> {
    let ([batch, queries, _], [_, keys, _]) = (query.dims(), key.dims());
    let mask = visible.into().mask(Reach::Everywhere, [batch, queries, keys], &query.device().inner());
    let [query, key, value] = [query, key, value].map(|input| split_heads(input, heads));
    let width = query.dims()[3];
    let scores = query.matmul(key.swap_dims(2, 3)) / (width as f64).sqrt() + bias;
    let scores = masked(scores, mask);
    merge_heads(dropout.forward(softmax(scores)).matmul(value))
}
