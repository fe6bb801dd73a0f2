use super::MetricError;
use serde::Serialize;

/// Precision, recall and their harmonic mean, each in 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ClassScores {
    /// The share of predictions of a class that are right; 0 without predictions.
    pub precision: f64,
    /// The share of a class's rows that are found; 0 without rows.
    pub recall: f64,
    /// The harmonic mean of the two; 0 where both are.
    pub f1: f64,
}

/// How often each class was predicted for each class: a confusion matrix and what follows from it, in float64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassCounts {
    /// Row after row: the actual class is the row, the predicted class the column.
    cells: Vec<u64>,
    classes: usize,
}

impl ClassCounts {
    /// Counts of zero for `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { cells: vec![0; classes * classes], classes }
    }

    /// Counts predicted against actual class indices.
    ///
    /// # Errors
    /// As [`ClassCounts::add`].
    pub fn from_indices(predicted: &[usize], actual: &[usize], classes: usize) -> Result<Self, MetricError> {
        let mut counts = Self::new(classes);
        counts.add(predicted, actual)?;
        Ok(counts)
    }

    /// Adds a batch of predicted against actual class indices; on an error nothing is counted.
    ///
    /// # Errors
    /// [`MetricError::Lengths`] for lists of different length, [`MetricError::ClassOutOfRange`] for an index that is not
    /// below the number of classes.
    pub fn add(&mut self, predicted: &[usize], actual: &[usize]) -> Result<(), MetricError> {
        if predicted.len() != actual.len() {
            return Err(MetricError::Lengths { predicted: predicted.len(), actual: actual.len() });
        }
        for (row, class) in predicted.iter().zip(actual).map(|(predicted, actual)| *predicted.max(actual)).enumerate() {
            if class >= self.classes {
                return Err(MetricError::ClassOutOfRange { row, class, classes: self.classes });
            }
        }
        for (predicted, actual) in predicted.iter().zip(actual) {
            self.cells[actual * self.classes + predicted] += 1;
        }
        Ok(())
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many rows were counted.
    pub fn total(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// The confusion matrix, `[actual][predicted]`.
    pub fn confusion(&self) -> Vec<Vec<u64>> {
        (0..self.classes)
            .map(|actual| (0..self.classes).map(|predicted| self.cell(actual, predicted)).collect())
            .collect()
    }

    /// The share of rows that were predicted right; 0 without rows.
    pub fn accuracy(&self) -> f64 {
        ratio(self.right(), self.total())
    }

    /// How many rows each class has.
    pub fn support(&self) -> Vec<u64> {
        (0..self.classes).map(|class| self.actual(class)).collect()
    }

    /// The scores of each class.
    pub fn per_class(&self) -> Vec<ClassScores> {
        (0..self.classes).map(|class| self.class(class)).collect()
    }

    /// The plain mean of the class scores, over the classes that occur among predictions or references.
    ///
    /// This is scikit-learn's `average="macro"` with `zero_division=0`.
    pub fn macro_average(&self) -> ClassScores {
        self.average(self.seen().map(|class| (class, 1)))
    }

    /// The mean of the class scores, each class weighing as many as it has rows (`average="weighted"`).
    pub fn weighted_average(&self) -> ClassScores {
        self.average((0..self.classes).map(|class| (class, self.actual(class))))
    }

    /// The scores of all decisions together (`average="micro"`): with one class a row each equals the accuracy.
    pub fn micro_average(&self) -> ClassScores {
        let accuracy = self.accuracy();
        ClassScores { precision: accuracy, recall: accuracy, f1: accuracy }
    }

    /// Matthews' correlation coefficient for any number of classes (Gorodkin, 2004), in -1..=1; 0 where undefined.
    pub fn mcc(&self) -> f64 {
        let total = self.total() as f64;
        let sum = |term: &dyn Fn(usize) -> f64| (0..self.classes).map(term).sum::<f64>();
        let (actual, predicted) = (|class| self.actual(class) as f64, |class| self.predicted(class) as f64);
        let both = self.right() as f64 * total - sum(&|class| actual(class) * predicted(class));
        let of_actual = total * total - sum(&|class| actual(class).powi(2));
        let of_predicted = total * total - sum(&|class| predicted(class).powi(2));
        let spread = of_actual * of_predicted;
        if spread > 0.0 { both / spread.sqrt() } else { 0.0 }
    }

    /// The mean recall of the classes that have rows (Brodersen and others, 2010).
    pub fn balanced_accuracy(&self) -> f64 {
        let with_rows: Vec<usize> = (0..self.classes).filter(|class| self.actual(*class) > 0).collect();
        let sum: f64 = with_rows.iter().map(|class| self.class(*class).recall).sum();
        sum / with_rows.len().max(1) as f64
    }

    /// How far the accuracy exceeds that of guessing with the same class frequencies (Cohen, 1960), at most 1; 0 where
    /// undefined.
    pub fn cohen_kappa(&self) -> f64 {
        let total = self.total() as f64;
        let chance = |class| self.actual(class) as f64 * self.predicted(class) as f64;
        let by_chance = (0..self.classes).map(chance).sum::<f64>();
        let most = total * total - by_chance;
        if most > 0.0 { (self.right() as f64 * total - by_chance) / most } else { 0.0 }
    }

    /// The plain mean of the classes' F-beta, over the classes that occur: recall weighs `beta` times as much as precision.
    pub fn macro_f_beta(&self, beta: f64) -> f64 {
        let (mut sum, mut seen) = (0.0, 0);
        for class in self.seen() {
            let (right, recall_weight) = (self.cell(class, class) as f64, beta * beta);
            let all = recall_weight * self.actual(class) as f64 + self.predicted(class) as f64;
            sum += if all > 0.0 { (1.0 + recall_weight) * right / all } else { 0.0 };
            seen += 1;
        }
        sum / f64::from(seen.max(1))
    }

    /// The classes that occur among predictions or references.
    pub(super) fn seen(&self) -> impl Iterator<Item = usize> {
        (0..self.classes).filter(|class| self.actual(*class) + self.predicted(*class) > 0)
    }

    pub(super) fn cell(&self, actual: usize, predicted: usize) -> u64 {
        self.cells[actual * self.classes + predicted]
    }

    pub(super) fn actual(&self, class: usize) -> u64 {
        (0..self.classes).map(|predicted| self.cell(class, predicted)).sum()
    }

    pub(super) fn predicted(&self, class: usize) -> u64 {
        (0..self.classes).map(|actual| self.cell(actual, class)).sum()
    }

    fn right(&self) -> u64 {
        (0..self.classes).map(|class| self.cell(class, class)).sum()
    }

    fn class(&self, class: usize) -> ClassScores {
        let (right, actual, predicted) = (self.cell(class, class), self.actual(class), self.predicted(class));
        ClassScores {
            precision: ratio(right, predicted),
            recall: ratio(right, actual),
            f1: ratio(2 * right, actual + predicted),
        }
    }

    fn average(&self, weights: impl Iterator<Item = (usize, u64)>) -> ClassScores {
        ClassScores::weighted_mean(weights.map(|(class, weight)| (self.class(class), weight as f64)))
    }
}

impl ClassScores {
    /// Each score's mean; 0 where nothing weighs anything.
    pub(super) fn weighted_mean(scores: impl Iterator<Item = (Self, f64)>) -> Self {
        let (mut sum, mut total) = (Self::default(), 0.0);
        for (scores, weight) in scores {
            sum.precision += weight * scores.precision;
            sum.recall += weight * scores.recall;
            sum.f1 += weight * scores.f1;
            total += weight;
        }
        if total > 0.0 {
            sum = Self { precision: sum.precision / total, recall: sum.recall / total, f1: sum.f1 / total };
        }
        sum
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_never_occur_do_not_lower_the_macro_average() {
        let counts = ClassCounts::from_indices(&[0, 1, 0], &[0, 1, 1], 5).unwrap();
        let scores = counts.macro_average();
        assert!((scores.precision - 0.75).abs() < 1e-12 && (scores.recall - 0.75).abs() < 1e-12);
        assert!((scores.f1 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(counts.support(), [1, 2, 0, 0, 0]);
    }

    #[test]
    fn counts_add_up_over_batches() {
        let whole = ClassCounts::from_indices(&[0, 1, 2, 1], &[0, 2, 2, 1], 3).unwrap();
        let mut parts = ClassCounts::new(3);
        parts.add(&[0, 1], &[0, 2]).unwrap();
        parts.add(&[2, 1], &[2, 1]).unwrap();
        assert_eq!(parts, whole);
        assert_eq!(whole.total(), 4);
    }

    #[test]
    fn nothing_counted_scores_zero() {
        for counts in [ClassCounts::new(0), ClassCounts::new(3)] {
            assert_eq!((counts.accuracy(), counts.mcc(), counts.macro_average()), (0.0, 0.0, ClassScores::default()));
            assert_eq!(counts.weighted_average(), ClassScores::default());
        }
        assert_eq!(ClassCounts::from_indices(&[1, 1], &[1, 1], 2).unwrap().mcc(), 0.0);
    }

    #[test]
    fn wrong_input_is_an_error_and_counts_nothing() {
        let mut counts = ClassCounts::new(2);
        assert!(matches!(counts.add(&[0], &[0, 1]), Err(MetricError::Lengths { predicted: 1, actual: 2 })));
        let error = counts.add(&[0, 2], &[0, 1]);
        assert!(matches!(error, Err(MetricError::ClassOutOfRange { row: 1, class: 2, classes: 2 })));
        assert_eq!(counts.total(), 0);
    }
}
