use super::{Loss, TaskHead, indices};
use crate::backbone::{InputError, Tokens};
use crate::loss::cross_entropy;
use crate::metric::Scores;
use crate::nn::{Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// DeiT's pair of classifiers, one on the class token and one on the distillation token, which learns what a teacher says
/// ([Touvron et al., 2021](https://arxiv.org/abs/2012.12877); `DeiTForImageClassificationWithTeacher`).
///
/// It reads the first two tokens, so it belongs on a DeiT backbone.
#[derive(Module, Debug)]
pub struct TwoClassifiers {
    cls: Linear,
    distillation: Linear,
}

/// Logits of both classifiers, each `[batch, num_labels]`.
#[derive(Clone, Debug)]
pub struct TwoLogits {
    /// From the class token.
    pub cls: Tensor<2>,
    /// From the distillation token.
    pub distillation: Tensor<2>,
}

impl TwoLogits {
    /// What the network answers: the mean of both, `[batch, num_labels]`.
    pub fn mean(&self) -> Tensor<2> {
        (self.cls.clone() + self.distillation.clone()) / 2.0
    }
}

/// Classes that the data says and classes that a teacher says, each `[batch]`.
#[derive(Clone, Debug)]
pub struct TwoTargets {
    /// For the class token.
    pub labels: Tensor<1, Int>,
    /// The teacher's most probable class, for the distillation token.
    pub teacher: Tensor<1, Int>,
}

impl TwoClassifiers {
    /// Fresh classifiers of `num_labels` classes on tokens of width `hidden_size`.
    pub fn new(hidden_size: usize, num_labels: usize, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed ^ 0xC1A5_51F2, 0.02, device);
        let [cls, distillation] = [(); 2].map(|()| init.uniform_linear(hidden_size, num_labels));
        Self { cls, distillation }
    }

    /// The number of classes.
    pub fn num_labels(&self) -> usize {
        self.cls.weight.dims()[1]
    }
}

impl<F: Tokens> TaskHead<F> for TwoClassifiers {
    type Output = TwoLogits;
    type Targets = TwoTargets;

    fn check(&self, targets: &TwoTargets) -> Result<(), InputError> {
        let check = |labels| InputError::check_classes(labels, self.num_labels());
        check(&targets.labels).and_then(|()| check(&targets.teacher))
    }

    fn forward(&self, features: F) -> TwoLogits {
        let hidden = features.hidden();
        let [batch, tokens, width] = hidden.dims();
        let at = |token: usize| hidden.clone().narrow(1, token.min(tokens - 1), 1).reshape([batch, width]);
        TwoLogits { cls: linear(&self.cls, at(0)), distillation: linear(&self.distillation, at(1)) }
    }

    /// Half the cross-entropy of either classifier: hard distillation.
    fn loss(&self, features: F, targets: TwoTargets) -> Loss {
        let TwoLogits { cls, distillation } = self.forward(features);
        let (labels, teacher) = (cross_entropy(cls, targets.labels), cross_entropy(distillation, targets.teacher));
        Loss { sum: (labels.sum + teacher.sum) / 2.0, weight: labels.weight }
    }

    fn score(&self, features: F, targets: TwoTargets, scores: &mut Scores) {
        let logits = self.forward(features);
        let labels = indices(targets.labels.clone());
        let (first, second) = (logits.cls.clone(), logits.distillation.clone());
        let loss = cross_entropy(first, targets.labels).sum + cross_entropy(second, targets.teacher).sum;
        scores.add_loss(f64::from(loss.into_scalar::<f32>()) / 2.0, labels.len() as f64);
        let values: Vec<f32> = logits.mean().into_data().iter::<f32>().collect();
        scores.add_logits(&values, self.num_labels(), &labels);
    }
}
