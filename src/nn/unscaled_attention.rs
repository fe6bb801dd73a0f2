use super::Dropout;
use super::attention::{masked, softmax};
use burn::tensor::{Bool, Tensor};

/// [`attention`](super::attention()) whose scores are the products of queries and keys as they are, plus a `bias` that is broadcast to
/// `[batch, heads, query, key]`, as T5's relative positions.
pub fn unscaled_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    dropout: &Dropout,
) -> Tensor<4> {
    let scores = query.matmul(key.swap_dims(2, 3)) + bias;
    dropout.forward(softmax(masked(scores, mask))).matmul(value)
}
