use super::{Classifier, Loss, TaskHead};
use crate::backbone::{InputError, Pooled};
use crate::loss::LossError;
use crate::metric::Scores;
use burn::module::Module;
use burn::tensor::{Int, Tensor};

/// A classifier that learns from a teacher's logits beside the labels ([Hinton et al.,
/// 2015](https://arxiv.org/abs/1503.02531)): see [`ClassLoss::distilled`](crate::loss::ClassLoss::distilled).
/// [`Distillation`](crate::objective::Distillation) makes its targets.
#[derive(Module, Debug)]
pub struct DistilledClassifier {
    /// What stays when the teacher is gone.
    pub classifier: Classifier,
    temperature: f64,
    alpha: f64,
}

/// Labels and what a teacher says.
#[derive(Clone, Debug)]
pub struct DistilledTargets {
    /// Class indices, `[batch]`.
    pub labels: Tensor<1, Int>,
    /// The teacher's logits, `[batch, num_labels]`, its classes in the student's order.
    pub teacher: Tensor<2>,
}

impl DistilledClassifier {
    /// Both softmaxes are taken of logits divided by `temperature`; `alpha` is the teacher's share of the loss.
    ///
    /// # Errors
    /// [`LossError::BadOption`] for a temperature that is not above 0 or a share outside 0 to 1.
    pub fn new(classifier: Classifier, temperature: f64, alpha: f64) -> Result<Self, LossError> {
        let bad = |option, value: f64, mend| Err(LossError::BadOption { option, value: value.to_string(), mend });
        if !(temperature.is_finite() && temperature > 0.0) {
            return bad("temperature", temperature, "a number above 0, such as 2");
        }
        if !(0.0..=1.0).contains(&alpha) {
            return bad("alpha", alpha, "a share from 0 to 1");
        }
        Ok(Self { classifier, temperature, alpha })
    }

    fn distilled(&self, logits: Tensor<2>, DistilledTargets { labels, teacher }: DistilledTargets) -> Loss {
        self.classifier.class_loss().distilled(logits, teacher, labels, self.temperature, self.alpha)
    }
}

impl<F: Pooled> TaskHead<F> for DistilledClassifier {
    /// Logits, `[batch, num_labels]`.
    type Output = Tensor<2>;
    type Targets = DistilledTargets;
    const POOLED_ONLY: bool = true;

    fn check(&self, targets: &DistilledTargets) -> Result<(), InputError> {
        TaskHead::<F>::check(&self.classifier, &targets.labels)?;
        let ([rows], classes) = (targets.labels.dims(), self.classifier.num_labels());
        let teacher = targets.teacher.dims();
        match teacher == [rows, classes] {
            true => Ok(()),
            false => Err(InputError::TeacherMismatch { teacher: teacher.to_vec(), rows, classes }),
        }
    }

    fn forward(&self, features: F) -> Tensor<2> {
        self.classifier.forward(features)
    }

    fn loss(&self, features: F, targets: DistilledTargets) -> Loss {
        self.distilled(self.classifier.forward(features), targets)
    }

    fn settings(&self) -> String {
        let classifier = TaskHead::<F>::settings(&self.classifier);
        format!("{classifier}, distilled at temperature {} with alpha {}", self.temperature, self.alpha)
    }

    fn score(&self, features: F, targets: DistilledTargets, scores: &mut Scores) {
        let logits = self.classifier.forward(features);
        let loss = self.distilled(logits.clone(), targets.clone());
        self.classifier.add_scores(loss, logits, targets.labels, scores);
    }
}
