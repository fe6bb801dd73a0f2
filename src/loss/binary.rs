use super::Loss;
use crate::nn;
use burn::tensor::{Tensor, TensorData, activation};

/// Binary cross-entropy of logits `[rows, labels]` against targets of 0 to 1, `[rows, labels]`; its weight is the number
/// of entries. `positive_weights`, one a label, multiply the part of the targets that are 1, as `pos_weight` of PyTorch's
/// `binary_cross_entropy_with_logits`; a list of another length gives NaN.
pub fn binary_cross_entropy(logits: Tensor<2>, targets: Tensor<2>, positive_weights: Option<&[f64]>) -> Loss {
    let [rows, labels] = logits.dims();
    let mut entries = Entries::of(logits, targets);
    if let Some(weights) = positive_weights {
        let weights: Vec<f64> = if weights.len() == labels { weights.to_vec() } else { vec![f64::NAN; labels] };
        let device = entries.positive.device().inner();
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [labels]), &device);
        entries.positive = entries.positive * weights.cast(entries.negative.dtype()).unsqueeze();
    }
    Loss { sum: (entries.positive + entries.negative).sum(), weight: (rows * labels) as f64 }
}

/// Focal loss of single decisions ([Lin et al., 2017](https://arxiv.org/abs/1708.02002)): logits `[rows, labels]` against
/// targets of 0 or 1, `[rows, labels]`. Each entry's binary cross-entropy is multiplied by `(1 - p)^gamma`, where `p` is
/// the probability of its target, and by `alpha` for a target of 1 or `1 - alpha` for one of 0. Its weight is the number of
/// entries, as in torchvision's `sigmoid_focal_loss`.
pub fn sigmoid_focal(logits: Tensor<2>, targets: Tensor<2>, alpha: f64, gamma: f64) -> Loss {
    let [rows, labels] = logits.dims();
    let (yes, no) = (activation::sigmoid(logits.clone()), activation::sigmoid(-logits.clone()));
    let wrong = targets.clone() * no + complement(targets.clone()) * yes;
    let balance = targets.clone() * (2.0 * alpha - 1.0) + (1.0 - alpha);
    let entries = Entries::of(logits, targets);
    let losses = (entries.positive + entries.negative) * balance * power(wrong, gamma);
    Loss { sum: losses.sum(), weight: (rows * labels) as f64 }
}

/// A number of 0 to 1 to a power of 0 or more; below 1, its slope stays finite where the number is 0.
pub(super) fn power<const D: usize>(base: Tensor<D>, exponent: f64) -> Tensor<D> {
    nn::power(base.clamp_min(1e-30), exponent)
}

/// What targets of 1 and of 0 cost.
struct Entries {
    positive: Tensor<2>,
    negative: Tensor<2>,
}

impl Entries {
    fn of(logits: Tensor<2>, targets: Tensor<2>) -> Self {
        Self {
            positive: -(targets.clone() * activation::log_sigmoid(logits.clone())),
            negative: -(complement(targets) * activation::log_sigmoid(-logits)),
        }
    }
}

/// `1 - targets`.
fn complement(targets: Tensor<2>) -> Tensor<2> {
    -targets + 1.0
}
