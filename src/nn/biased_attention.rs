use super::attention::softmax;
use super::{Dropout, merge_heads, split_heads};
use burn::tensor::{Bool, Tensor};

/// [`multi_head_attention`](super::multi_head_attention) with `bias`, broadcast to `[batch, heads, query, key]`, added to the
/// scores after they are scaled: a relative position bias ([Shaw et al., 2018](https://arxiv.org/abs/1803.02155)).
pub fn biased_attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    heads: usize,
    bias: Tensor<4>,
    visible: Option<Tensor<2, Bool>>,
    dropout: &Dropout,
) -> Tensor<3> {
    let [query, key, value] = [query, key, value].map(|input| split_heads(input, heads));
    let width = query.dims()[3];
    let mut scores = query.matmul(key.swap_dims(2, 3)) / (width as f64).sqrt() + bias;
    if let Some(visible) = visible {
        let shape = scores.dims();
        // Finite, so that a row without any true is uniform.
        scores = scores.mask_fill(visible.bool_not().unsqueeze_dims::<4>(&[1, 2]).expand(shape), -1e30);
    }
    merge_heads(dropout.forward(softmax(scores)).matmul(value))
}
