use super::{ClassCounts, MetricError};
use serde::{Deserialize, Serialize};

/// What an evaluation saw so far: heads add to it batch by batch, and the figures are taken over the whole set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    loss_sum: f64,
    weight: f64,
    right: usize,
    counted: usize,
    predicted: Vec<usize>,
    actual: Vec<usize>,
}

impl Scores {
    /// Adds a summed loss and what it counts.
    pub fn add_loss(&mut self, sum: f64, weight: f64) {
        self.loss_sum += sum;
        self.weight += weight;
    }

    /// Adds how many of `total` predictions are right, for heads with too many classes to tell apart (tokens).
    pub fn add_hits(&mut self, right: usize, total: usize) {
        self.right += right;
        self.counted += total;
    }

    /// Adds predicted classes and the true ones, in the same order.
    pub fn add_classes(&mut self, predicted: &[usize], actual: &[usize]) {
        let pairs = || predicted.iter().copied().zip(actual.iter().copied());
        self.add_hits(pairs().filter(|(predicted, actual)| predicted == actual).count(), pairs().count());
        let (predicted, actual): (Vec<_>, Vec<_>) = pairs().unzip();
        self.predicted.extend(predicted);
        self.actual.extend(actual);
    }

    /// The confusion matrix over `classes` classes, with all that follows from it.
    ///
    /// # Errors
    /// [`MetricError::ClassOutOfRange`] for a class that is not below `classes`.
    pub fn class_counts(&self, classes: usize) -> Result<ClassCounts, MetricError> {
        ClassCounts::from_indices(&self.predicted, &self.actual, classes)
    }

    /// The predicted class of every row so far.
    pub fn predicted(&self) -> &[usize] {
        &self.predicted
    }

    /// The true class of every row so far.
    pub fn actual(&self) -> &[usize] {
        &self.actual
    }

    /// The figures over everything added.
    pub fn summary(&self) -> Summary {
        let classes = self.predicted.iter().chain(&self.actual).max().map(|class| class + 1);
        let counts = classes.and_then(|classes| self.class_counts(classes).ok());
        Summary {
            loss: self.loss_sum / self.weight,
            accuracy: (self.counted > 0).then(|| self.right as f64 / self.counted as f64),
            macro_f1: counts.map(|counts| counts.macro_average().f1),
        }
    }
}

/// Figures over a whole set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean loss per unit of weight (row, masked token).
    pub loss: f64,
    /// Share of right predictions; `None` for heads without classes.
    pub accuracy: Option<f64>,
    /// Unweighted mean of the classes' F1; `None` for heads without classes.
    pub macro_f1: Option<f64>,
}
