use super::probabilities::largest;
use super::{ClassCounts, ClassProbabilities, ClassificationReport, MetricError, MultiLabelScores, RegressionScores};
use serde::{Deserialize, Serialize};

/// What an evaluation saw: heads add to it batch by batch, and the figures are taken over the whole set.
///
/// Where a head gives one class for every example, rows are in the order of the examples, whatever the batches were; where
/// it leaves some out (ignored labels), in that of the batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    loss_sum: f64,
    weight: f64,
    right: usize,
    counted: usize,
    predicted: Vec<usize>,
    actual: Vec<usize>,
    /// Rows of logits, as long as `predicted` if the head gives them.
    logits: Vec<Vec<f32>>,
    /// Outputs and targets of each row, for heads whose targets are numbers.
    outputs: Vec<(Vec<f32>, Vec<f32>)>,
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

    /// Adds a batch's logits, `classes` values a row one row after the other, and the true classes. The largest logit's class
    /// is the predicted one, the first of equals. Kept whole: 4 bytes a value.
    pub fn add_logits(&mut self, logits: &[f32], classes: usize, actual: &[usize]) {
        let rows = logits.chunks_exact(classes.max(1));
        self.add_classes(&rows.clone().map(largest).collect::<Vec<_>>(), actual);
        self.logits.extend(rows.take(actual.len()).map(<[f32]>::to_vec));
    }

    /// Adds a batch's outputs and targets, one list a row: numbers, or a logit and whether it holds (0 or 1) for each label.
    pub fn add_outputs(&mut self, outputs: Vec<Vec<f32>>, targets: Vec<Vec<f32>>) {
        self.outputs.extend(outputs.into_iter().zip(targets));
    }

    /// Puts rows that were added in the order of `indices` into that of the examples; leaves scores alone that are not one a
    /// row.
    pub(crate) fn sort_by(&mut self, indices: &[usize]) {
        let mut order: Vec<usize> = (0..indices.len()).collect();
        order.sort_by_key(|position| indices[*position]);
        if self.outputs.len() == order.len() {
            self.outputs = order.iter().map(|position| std::mem::take(&mut self.outputs[*position])).collect();
        }
        if self.actual.len() != order.len() {
            return;
        }
        self.predicted = order.iter().map(|position| self.predicted[*position]).collect();
        self.actual = order.iter().map(|position| self.actual[*position]).collect();
        if self.logits.len() == order.len() {
            self.logits = order.iter().map(|position| std::mem::take(&mut self.logits[*position])).collect();
        }
    }

    /// The confusion matrix over `classes` classes, with all that follows from it.
    ///
    /// # Errors
    /// [`MetricError::ClassOutOfRange`] for a class that is not below `classes`.
    pub fn class_counts(&self, classes: usize) -> Result<ClassCounts, MetricError> {
        ClassCounts::from_indices(&self.predicted, &self.actual, classes)
    }

    /// Precision, recall and F1 of every class, by its name in the label map's order; prints as a table.
    ///
    /// # Errors
    /// [`MetricError::Empty`] for a head without classes, [`MetricError::ClassOutOfRange`] for a class without a name.
    pub fn classification_report(&self, names: &[String]) -> Result<ClassificationReport, MetricError> {
        self.class_counts(names.len())?.report(names)
    }

    /// The probabilities of every row, with all that follows from them.
    ///
    /// # Errors
    /// [`MetricError::NoLogits`] for a head that gives none; as [`ClassProbabilities::from_logits`].
    pub fn probabilities(&self) -> Result<ClassProbabilities, MetricError> {
        ClassProbabilities::from_logits(self.logits()?, self.actual.clone())
    }

    /// The logits of every row, `[row][class]`: what [`fit_temperature`](super::fit_temperature) takes.
    ///
    /// # Errors
    /// [`MetricError::NoLogits`] for a head that gives none; [`MetricError::Lengths`] for one that gives them for some rows.
    pub fn logits(&self) -> Result<Vec<Vec<f64>>, MetricError> {
        if self.logits.is_empty() {
            return Err(MetricError::NoLogits);
        }
        if self.logits.len() != self.actual.len() {
            return Err(MetricError::Lengths { predicted: self.logits.len(), actual: self.actual.len() });
        }
        Ok(self.logits.iter().map(|row| row.iter().map(|logit| f64::from(*logit)).collect()).collect())
    }

    /// The predicted and true numbers of one output, for a head whose targets are numbers.
    ///
    /// # Errors
    /// [`MetricError::Empty`] for a head without numbers or without that output; as [`RegressionScores::new`].
    pub fn regression(&self, output: usize) -> Result<RegressionScores, MetricError> {
        let column = |row: &Vec<f32>| row.get(output).map(|value| f64::from(*value));
        let pairs = self.outputs.iter().filter_map(|(found, actual)| Some((column(found)?, column(actual)?)));
        let (predicted, actual) = pairs.unzip();
        RegressionScores::new(predicted, actual)
    }

    /// The probability of every label, and whether it holds (a target of 0.5 or more), for a head of several labels a row.
    ///
    /// # Errors
    /// [`MetricError::Empty`] for another head; as [`MultiLabelScores::new`].
    pub fn multi_label(&self) -> Result<MultiLabelScores, MetricError> {
        let probability = |logit: &f32| 1.0 / (1.0 + (-f64::from(*logit)).exp());
        let row = |(logits, targets): &(Vec<f32>, Vec<f32>)| {
            let holds = targets.iter().map(|target| *target >= 0.5).collect();
            (logits.iter().map(probability).collect(), holds)
        };
        let (scores, actual) = self.outputs.iter().map(row).unzip();
        MultiLabelScores::new(scores, actual)
    }

    /// The predicted class of every row so far.
    pub fn predicted(&self) -> &[usize] {
        &self.predicted
    }

    /// The true class of every row so far.
    pub fn actual(&self) -> &[usize] {
        &self.actual
    }

    /// Whether each row was predicted right: what [`mcnemar`](super::mcnemar) takes.
    pub fn right(&self) -> Vec<bool> {
        self.predicted.iter().zip(&self.actual).map(|(predicted, actual)| predicted == actual).collect()
    }

    /// The figures over everything added.
    pub fn summary(&self) -> Summary {
        Summary {
            loss: self.loss_sum / self.weight,
            accuracy: (self.counted > 0).then(|| self.right as f64 / self.counted as f64),
            macro_f1: self.all_counts().map(|counts| counts.macro_average().f1),
        }
    }

    /// Counts over the classes that occur; `None` for heads without classes.
    pub(crate) fn all_counts(&self) -> Option<ClassCounts> {
        let classes = self.predicted.iter().chain(&self.actual).max()? + 1;
        self.class_counts(classes).ok()
    }
}

/// Figures over a whole set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Mean loss per unit of weight (row, masked token).
    pub loss: f64,
    /// Share of right predictions; `None` for heads without classes.
    pub accuracy: Option<f64>,
    /// Unweighted mean of the classes' F1; `None` for heads without classes.
    pub macro_f1: Option<f64>,
}

impl Summary {
    /// The exponential of the loss: the perplexity, where the loss is a mean over tokens.
    pub fn perplexity(&self) -> f64 {
        super::perplexity(self.loss)
    }
}
