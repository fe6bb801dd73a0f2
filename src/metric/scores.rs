use super::ClassCounts;
use serde::{Deserialize, Serialize};

/// What an evaluation saw so far: heads add to it batch by batch, and the figures are taken over the whole set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    loss_sum: f64,
    weight: f64,
    predicted: Vec<usize>,
    actual: Vec<usize>,
}

impl Scores {
    /// Adds a summed loss and what it counts.
    pub fn add_loss(&mut self, sum: f64, weight: f64) {
        self.loss_sum += sum;
        self.weight += weight;
    }

    /// Adds predicted classes and the true ones, in the same order.
    pub fn add_classes(&mut self, predicted: &[usize], actual: &[usize]) {
        self.predicted.extend_from_slice(predicted);
        self.actual.extend_from_slice(actual);
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
        let counts = (!self.actual.is_empty()).then(|| ClassCounts::new(&self.predicted, &self.actual));
        Summary {
            loss: self.loss_sum / self.weight,
            accuracy: counts.as_ref().map(ClassCounts::accuracy),
            macro_f1: counts.as_ref().map(ClassCounts::macro_f1),
        }
    }
}

/// Figures over a whole set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean loss per unit of weight (row, masked token).
    pub loss: f64,
    /// Share of right classes; `None` for heads without classes.
    pub accuracy: Option<f64>,
    /// Unweighted mean of the classes' F1; `None` for heads without classes.
    pub macro_f1: Option<f64>,
}
