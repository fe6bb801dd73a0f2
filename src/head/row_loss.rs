use super::Loss;
use crate::backbone::InputError;
use crate::loss::ClassLoss;
use crate::metric::Scores;
use burn::tensor::{Int, Tensor};
use std::fmt::Debug;

/// What the outputs of a row mean: how [`Classifier`](super::Classifier) compares them with its targets.
///
/// [`ClassLoss`] reads one class a row, [`NumberLoss`](super::NumberLoss) numbers, [`LabelLoss`](super::LabelLoss) labels
/// of which several may hold: the three values of Transformers' `problem_type`.
pub trait RowLoss: Clone + Debug + Send + Sync + 'static {
    /// What it compares with.
    type Targets: Clone + Debug + Send + 'static;

    /// Says whether targets can be compared with rows of `outputs` values.
    ///
    /// # Errors
    /// [`InputError`], such as a class that there is not.
    fn check(&self, targets: &Self::Targets, outputs: usize) -> Result<(), InputError>;

    /// The loss of outputs `[rows, outputs]`.
    fn of(&self, outputs: Tensor<2>, targets: Self::Targets) -> Loss;

    /// The loss of two passes over the same rows, with `alpha` times how far apart they are; `None` where that is not
    /// defined.
    fn r_drop(&self, _first: Tensor<2>, _second: Tensor<2>, _targets: Self::Targets, _alpha: f64) -> Option<Loss> {
        None
    }

    /// What a run must not change.
    fn settings(&self) -> String {
        format!("{self:?}")
    }

    /// Adds outputs `[rows, outputs]` and targets to `scores`, without the loss.
    fn score(&self, outputs: Tensor<2>, targets: Self::Targets, scores: &mut Scores);
}

impl RowLoss for ClassLoss {
    /// Class indices, `[rows]`.
    type Targets = Tensor<1, Int>;

    fn check(&self, targets: &Tensor<1, Int>, outputs: usize) -> Result<(), InputError> {
        InputError::check_classes_except(targets, outputs, self.ignore_index)
    }

    fn of(&self, outputs: Tensor<2>, targets: Tensor<1, Int>) -> Loss {
        ClassLoss::of(self, outputs, targets)
    }

    fn r_drop(&self, first: Tensor<2>, second: Tensor<2>, targets: Tensor<1, Int>, alpha: f64) -> Option<Loss> {
        Some(ClassLoss::r_drop(self, first, second, targets, alpha))
    }

    /// Adds logits and classes of the rows that are not ignored.
    fn score(&self, outputs: Tensor<2>, targets: Tensor<1, Int>, scores: &mut Scores) {
        let classes = outputs.dims()[1];
        let values: Vec<f32> = outputs.into_data().iter::<f32>().collect();
        let labels: Vec<i64> = targets.into_data().iter::<i64>().collect();
        let rows = values.chunks_exact(classes.max(1)).zip(&labels);
        let rows = rows.filter(|(_, label)| Some(**label) != self.ignore_index);
        let (values, labels): (Vec<&[f32]>, Vec<usize>) = rows.map(|(row, label)| (row, *label as usize)).unzip();
        scores.add_logits(&values.concat(), classes, &labels);
    }
}

/// Numbers `[rows, columns]` on the host, a row after the other.
pub(super) fn rows_of(values: Tensor<2>) -> Vec<Vec<f32>> {
    let columns = values.dims()[1].max(1);
    let values: Vec<f32> = values.into_data().iter::<f32>().collect();
    values.chunks_exact(columns).map(<[f32]>::to_vec).collect()
}

/// Checks that targets `[rows, columns]` are `outputs` finite numbers a row.
pub(super) fn check_numbers(targets: &Tensor<2>, outputs: usize) -> Result<(), InputError> {
    let [_, found] = targets.dims();
    if found != outputs {
        return Err(InputError::TargetWidth { found, outputs });
    }
    let bad = targets.to_data().iter::<f32>().position(|value| !value.is_finite());
    bad.map_or(Ok(()), |at| {
        Err(InputError::BadTarget { row: at / found, output: at % found, wanted: "a finite number" })
    })
}

/// The loss of outputs and targets of one shape; NaN of others.
pub(super) fn of_one_shape(
    outputs: Tensor<2>,
    targets: Tensor<2>,
    loss: impl FnOnce(Tensor<2>, Tensor<2>) -> Loss,
) -> Loss {
    match outputs.dims() == targets.dims() {
        true => loss(outputs, targets),
        false => Loss { sum: outputs.sum() * f64::NAN, weight: 1.0 },
    }
}
