use super::Dropout;
use super::attention::softmax;
use burn::tensor::{Bool, Tensor};

/// The score of a place that may not be looked at. Finite, so that a row without any true is uniform.
const HIDDEN: f64 = -1e30;

/// The rest of attention after the scores, `[batch, heads, query, key]`: a softmax over the keys that `mask`, broadcast to
/// them, is true for, dropout on the probabilities, and the mean of `value`, `[batch, heads, key, width]`.
///
/// A query that may look nowhere gets the mean of all values. Its scores are replaced, not added to as in
/// [`attention`](super::attention()), so that they get no gradient, as in DeBERTa.
pub fn attention_by_scores(scores: Tensor<4>, value: Tensor<4>, mask: Tensor<4, Bool>, dropout: &Dropout) -> Tensor<4> {
    let shape = scores.dims();
    let scores = scores.mask_fill(mask.bool_not().expand(shape), HIDDEN);
    dropout.forward(softmax(scores)).matmul(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_looks_nowhere_gets_the_mean_and_passes_no_gradient() {
        let device = crate::nn::test_device().autodiff();
        let scores = Tensor::<4>::from_data([[[[3.0, -1.0], [3.0, -1.0]]]], &device).require_grad();
        let value = Tensor::from_data([[[[1.0], [5.0]]]], &device);
        let mask = Tensor::from_data([[[[false, true], [false, false]]]], &device);
        let output = attention_by_scores(scores.clone(), value, mask, &Dropout::new(0.0));
        assert_eq!(output.to_data().iter::<f32>().collect::<Vec<_>>(), [5.0, 3.0]);
        let gradient = scores.grad(&(output.clone() * output).sum().backward()).expect("a gradient");
        assert_eq!(gradient.into_data().iter::<f32>().collect::<Vec<_>>(), [0.0; 4]);
    }
}
