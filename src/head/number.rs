use super::row_loss::{check_numbers, of_one_shape, rows_of};
use super::{Classifier, Loss, RowLoss};
use crate::backbone::InputError;
use crate::loss::{LossError, absolute_error, huber, log_cosh, pinball, squared_error};
use crate::metric::Scores;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// One or several numbers a row: a [`Classifier`] whose outputs are the numbers themselves, as Transformers' sequence
/// classifiers have it under `problem_type: regression`.
pub type Regressor = Classifier<NumberLoss>;

/// How predicted numbers `[rows, outputs]` are compared with true ones; the mean is over rows and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberLoss {
    /// [`squared_error`]: what Transformers takes.
    #[default]
    Squared,
    /// [`absolute_error`].
    Absolute,
    /// [`huber`].
    Huber {
        /// Where the square turns into a line, in the unit of the numbers; above 0.
        delta: f64,
    },
    /// [`log_cosh`].
    LogCosh,
    /// [`pinball`].
    Pinball {
        /// The quantile that is predicted, between 0 and 1.
        quantile: f64,
    },
}

impl NumberLoss {
    /// Refuses options that mean nothing.
    ///
    /// # Errors
    /// [`LossError::BadOption`].
    pub fn check_options(&self) -> Result<(), LossError> {
        let bad = |option, value: f64, mend| Err(LossError::BadOption { option, value: value.to_string(), mend });
        match *self {
            Self::Huber { delta } if !(delta.is_finite() && delta > 0.0) => bad("delta", delta, "a number above 0"),
            Self::Pinball { quantile } if !(quantile > 0.0 && quantile < 1.0) => {
                bad("quantile", quantile, "a number between 0 and 1")
            }
            _ => Ok(()),
        }
    }
}

impl RowLoss for NumberLoss {
    /// The true numbers, `[rows, outputs]`.
    type Targets = Tensor<2>;

    fn check(&self, targets: &Tensor<2>, outputs: usize) -> Result<(), InputError> {
        check_numbers(targets, outputs)
    }

    fn of(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Loss {
        of_one_shape(outputs, targets, |outputs, targets| match *self {
            Self::Squared => squared_error(outputs, targets),
            Self::Absolute => absolute_error(outputs, targets),
            Self::Huber { delta } => huber(outputs, targets, delta),
            Self::LogCosh => log_cosh(outputs, targets),
            Self::Pinball { quantile } => pinball(outputs, targets, quantile),
        })
    }

    fn score(&self, outputs: Tensor<2>, targets: Tensor<2>, scores: &mut Scores) {
        scores.add_outputs(rows_of(outputs), rows_of(targets));
    }
}

impl Classifier {
    /// The same head for numbers: its outputs are predictions in the unit of the targets.
    ///
    /// # Errors
    /// [`LossError`] for options that mean nothing.
    pub fn for_numbers(self, loss: NumberLoss) -> Result<Regressor, LossError> {
        loss.check_options()?;
        Ok(self.reading(loss))
    }
}
