use super::Dropout;
use super::attention::{masked, softmax};
use burn::tensor::{Bool, Tensor};

/// The rest of attention after the scores, `[batch, heads, query, key]`: a softmax over the keys that `mask`, broadcast to
/// them, is true for, dropout on the probabilities, and the mean of `value`, `[batch, heads, key, width]`.
///
/// A query that may look nowhere gets the mean of all values, as in [`attention`](super::attention()).
pub fn attention_by_scores(
    scores: Tensor<4>,
    value: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    dropout: &Dropout,
) -> Tensor<4> {
    dropout.forward(softmax(masked(scores, mask))).matmul(value)
}
