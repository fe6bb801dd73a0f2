//! Losses as functions on tensors: what heads are made of.
//!
//! Each gives a [`Loss`], the sum and what it is divided by, so that a step of many micro-batches is divided once. How a
//! classifier weighs, smooths and focuses is a [`ClassLoss`], chosen on the head.

mod balance;
mod binary;
mod class_loss;
mod divergence;
mod pairs;
mod regression;
mod soft;

pub use balance::balanced_weights;
pub use binary::{binary_cross_entropy, sigmoid_focal};
pub use class_loss::{ClassLoss, Focal, LossError};
pub use divergence::{distillation, jensen_shannon, kl_divergence};
pub use pairs::{
    cosent, cosine_error, cosine_similarity, in_batch_negatives, normalise, sigmoid_contrastive, symmetric_contrastive,
};
pub use regression::{absolute_error, gaussian_nll, huber, log_cosh, pinball, smooth_l1, squared_error};
pub use soft::{mixup, soft_cross_entropy};

#[cfg(feature = "flex")]
use burn::tensor::DType;
use burn::tensor::{Int, Tensor, TensorData, activation};

/// The sum of a loss over what it counts (rows, masked tokens), `[1]`, and how much that is: the mean is `sum / weight`.
///
/// Gradient accumulation adds both, so that a step of many micro-batches divides by the weight of the whole step.
#[derive(Clone, Debug)]
pub struct Loss {
    /// `[1]`.
    pub sum: Tensor<1>,
    /// What the mean divides by.
    pub weight: f64,
}

impl Loss {
    /// The mean, `[1]`; NaN where nothing counts.
    pub fn mean(self) -> Tensor<1> {
        self.sum / self.weight
    }
}

/// Summed cross-entropy of logits `[rows, classes]` against class indices `[rows]`.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Loss {
    let [rows] = labels.dims();
    #[cfg(feature = "flex")]
    if crate::kernel::covers(&logits) && matches!(labels.dtype(), DType::I32 | DType::I64) {
        return Loss { sum: crate::kernel::cross_entropy(logits, labels), weight: rows as f64 };
    }
    let log_probabilities = activation::log_softmax(logits, 1);
    Loss { sum: -log_probabilities.gather(1, labels.reshape([rows, 1])).sum(), weight: rows as f64 }
}

/// Host values as a constant `[rows, columns]` beside `like`, in its number format.
fn constant(values: Vec<f32>, shape: [usize; 2], like: &Tensor<2>) -> Tensor<2> {
    Tensor::<2>::from_data(TensorData::new(values, shape), &like.device().inner()).cast(like.dtype())
}
