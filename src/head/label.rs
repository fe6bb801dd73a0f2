use super::row_loss::{check_numbers, of_one_shape, rows_of};
use super::{Classifier, Loss, RowLoss};
use crate::backbone::InputError;
use crate::loss::{LossError, binary_cross_entropy};
use crate::metric::Scores;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Labels of which a row may have several or none: a [`Classifier`] that decides about each by itself, as Transformers'
/// sequence classifiers do under `problem_type: multi_label_classification`.
pub type MultiLabel = Classifier<LabelLoss>;

/// Binary cross-entropy of every row and label, whose mean is over both (PyTorch's `BCEWithLogitsLoss`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelLoss {
    /// A factor for each label on the loss of rows that have it (`pos_weight`): above 1 finds more of them.
    pub positive_weights: Option<Vec<f64>>,
}

impl LabelLoss {
    /// Refuses options that mean nothing for `labels` labels.
    ///
    /// # Errors
    /// [`LossError`] names the option.
    pub fn check_options(&self, labels: usize) -> Result<(), LossError> {
        let (option, mend) = ("positive_weights", "finite numbers of 0 or more");
        let Some(weights) = &self.positive_weights else { return Ok(()) };
        if weights.len() != labels {
            return Err(LossError::WrongCount { option, found: weights.len(), classes: labels });
        }
        match weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            Some(weight) => Err(LossError::BadOption { option, value: weight.to_string(), mend }),
            None => Ok(()),
        }
    }
}

impl RowLoss for LabelLoss {
    /// 1 for the labels of a row and 0 for the others, or a probability of each, `[rows, labels]`.
    type Targets = Tensor<2>;

    fn check(&self, targets: &Tensor<2>, outputs: usize) -> Result<(), InputError> {
        check_numbers(targets, outputs)?;
        let outside = targets.to_data().iter::<f32>().position(|value| !(0.0..=1.0).contains(&value));
        let wanted = "a number from 0 to 1";
        outside.map_or(Ok(()), |at| Err(InputError::BadTarget { row: at / outputs, output: at % outputs, wanted }))
    }

    fn of(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Loss {
        of_one_shape(outputs, targets, |outputs, targets| {
            binary_cross_entropy(outputs, targets, self.positive_weights.as_deref())
        })
    }

    /// Logits and targets of every row; a decision is right where a logit of 0 or more meets a target of 0.5 or more, and
    /// the accuracy is the share of right decisions.
    fn score(&self, outputs: Tensor<2>, targets: Tensor<2>, scores: &mut Scores) {
        let (outputs, targets) = (rows_of(outputs), rows_of(targets));
        let pairs = outputs.iter().flatten().zip(targets.iter().flatten());
        let right = pairs.clone().filter(|(logit, target)| (**logit >= 0.0) == (**target >= 0.5)).count();
        scores.add_hits(right, pairs.count());
        scores.add_outputs(outputs, targets);
    }
}

impl Classifier {
    /// The same head for labels of which several may hold.
    ///
    /// # Errors
    /// [`LossError`] for options that mean nothing for this number of labels.
    pub fn for_labels(self, loss: LabelLoss) -> Result<MultiLabel, LossError> {
        loss.check_options(self.num_labels())?;
        Ok(self.reading(loss))
    }
}
