use super::{Loss, cross_entropy};
use burn::tensor::{Int, Tensor, activation};

/// Cross-entropy of logits `[rows, classes]` against probabilities `[rows, classes]`; its weight is the number of rows.
pub fn soft_cross_entropy(logits: Tensor<2>, probabilities: Tensor<2>) -> Loss {
    let weight = logits.dims()[0] as f64;
    Loss { sum: weighted_cross_entropy(logits, probabilities), weight }
}

/// The loss of inputs that were mixed ([Zhang et al., 2018](https://arxiv.org/abs/1710.09412)): a share of `lambda` counts
/// against the classes `first`, the rest against `second`, each `[rows]`. The caller mixes the inputs (or embeddings) by
/// the same share.
pub fn mixup(logits: Tensor<2>, first: Tensor<1, Int>, second: Tensor<1, Int>, lambda: f64) -> Loss {
    let (a, b) = (cross_entropy(logits.clone(), first), cross_entropy(logits, second));
    Loss { sum: a.sum * lambda + b.sum * (1.0 - lambda), weight: a.weight }
}

/// `-sum targets * log softmax(logits)`, `[1]`.
pub(super) fn weighted_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    -(targets * activation::log_softmax(logits, 1)).sum()
}
