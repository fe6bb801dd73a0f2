use super::Loss;
use burn::tensor::{Tensor, activation};

/// Kullback-Leibler divergence of `softmax(other)` from `softmax(logits)`, both `[rows, classes]`:
/// `sum p (log p - log q)` with `p` from `logits`; its weight is the number of rows.
pub fn kl_divergence(logits: Tensor<2>, other: Tensor<2>) -> Loss {
    let weight = logits.dims()[0] as f64;
    Loss { sum: row_kl(logits, other).sum(), weight }
}

/// Jensen-Shannon divergence of `softmax(logits)` and `softmax(other)`, both `[rows, classes]`: the mean divergence of
/// each from the mean of both. Between 0 and ln 2 a row; its weight is the number of rows.
pub fn jensen_shannon(logits: Tensor<2>, other: Tensor<2>) -> Loss {
    let weight = logits.dims()[0] as f64;
    let [p, q] = [logits, other].map(|logits| activation::log_softmax(logits, 1));
    // The mean's logarithm from the larger of the two: both may be too small for a float.
    let larger = p.clone().max_pair(q.clone()).detach();
    let mean = ((p.clone() - larger.clone()).exp() + (q.clone() - larger.clone()).exp()) / 2.0;
    let mean = mean.log() + larger;
    let part = |log: Tensor<2>| log.clone().exp() * (log - mean.clone());
    Loss { sum: (part(p) + part(q)).sum() / 2.0, weight }
}

/// Distillation ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)): `temperature^2 * KL(softmax(teacher /
/// temperature) || softmax(logits / temperature))`, both `[rows, classes]`; its weight is the number of rows.
pub fn distillation(logits: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> Loss {
    let weight = logits.dims()[0] as f64;
    Loss { sum: row_distillation(logits, teacher, temperature).sum(), weight }
}

/// [`distillation`] of each row, `[rows, 1]`.
pub(super) fn row_distillation(logits: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> Tensor<2> {
    row_kl(teacher / temperature, logits / temperature) * (temperature * temperature)
}

/// `(KL(p || q) + KL(q || p)) / 2` of each row, `[rows, 1]`: half of `sum (p - q) (log p - log q)`.
pub(super) fn row_symmetric_kl(first: Tensor<2>, second: Tensor<2>) -> Tensor<2> {
    let [p, q] = [first, second].map(|logits| activation::log_softmax(logits, 1));
    ((p.clone().exp() - q.clone().exp()) * (p - q)).sum_dim(1) / 2.0
}

/// `KL(p || q)` of each row, `[rows, 1]`.
fn row_kl(p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
    let [p, q] = [p, q].map(|logits| activation::log_softmax(logits, 1));
    (p.clone().exp() * (p - q)).sum_dim(1)
}
