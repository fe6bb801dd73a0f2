use super::error::{check_lengths, check_table};
use super::{BinaryScores, ClassCounts, MetricError, mean};

/// How the figures of several classes or labels become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// Their plain mean.
    Macro,
    /// Their mean, each weighing as many rows as it has.
    Weighted,
    /// One figure over all decisions of all of them together.
    Micro,
}

/// The probabilities that a classifier gave, one row after the other, and the true classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassProbabilities {
    rows: Vec<Vec<f64>>,
    actual: Vec<usize>,
    classes: usize,
}

/// How far a row's sum may be from 1: that of many float32 values.
const SUM_TOLERANCE: f64 = 1e-5;

impl ClassProbabilities {
    /// Probabilities `[row][class]`, each row summing to 1 (within 1e-5), and the true class of each row.
    ///
    /// # Errors
    /// [`MetricError`] for lists of different length, no rows, rows of different length, values that are no probabilities
    /// of one whole, a class out of range.
    pub fn new(rows: Vec<Vec<f64>>, actual: Vec<usize>) -> Result<Self, MetricError> {
        let classes = check(&rows, &actual)?;
        for (row, values) in rows.iter().enumerate() {
            if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return Err(MetricError::NotProbability { row, value: *value });
            }
            let sum: f64 = values.iter().sum();
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                return Err(MetricError::Sum { row, sum });
            }
        }
        Ok(Self { rows, actual, classes })
    }

    /// The softmax of logits `[row][class]`, and the true class of each row.
    ///
    /// # Errors
    /// As [`ClassProbabilities::new`], but for the range of values.
    pub fn from_logits(mut rows: Vec<Vec<f64>>, actual: Vec<usize>) -> Result<Self, MetricError> {
        let classes = check(&rows, &actual)?;
        rows.iter_mut().for_each(|logits| softmax(logits));
        Ok(Self { rows, actual, classes })
    }

    /// The probabilities, `[row][class]`.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// The true class of each row.
    pub fn actual(&self) -> &[usize] {
        &self.actual
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The most probable class of each row, the first of equals.
    pub fn predicted(&self) -> Vec<usize> {
        self.rows.iter().map(|row| largest(row)).collect()
    }

    /// The confusion matrix of the most probable classes.
    pub fn counts(&self) -> ClassCounts {
        let counts = ClassCounts::from_indices(&self.predicted(), &self.actual, self.classes);
        counts.unwrap_or_else(|_| ClassCounts::new(self.classes))
    }

    /// The share of rows whose true class is among the `k` most probable ones. Of equal probabilities the higher class index
    /// comes first, as in scikit-learn.
    pub fn top_k_accuracy(&self, k: usize) -> f64 {
        let before = |(row, actual): (&Vec<f64>, &usize)| {
            let own = row[*actual];
            let above = |(class, value): (usize, &f64)| *value > own || (*value == own && class > *actual);
            row.iter().enumerate().filter(|(class, value)| above((*class, value))).count()
        };
        let hits = self.pairs().map(before).filter(|before| *before < k).count();
        hits as f64 / self.rows.len() as f64
    }

    /// The mean negative log-likelihood of the true class in nats; probabilities are kept 2.2e-16 away from 0 and 1.
    pub fn log_loss(&self) -> f64 {
        let likelihood = |(row, actual): (&Vec<f64>, &usize)| row[*actual].clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        mean(self.pairs().map(|pair| -likelihood(pair).ln()))
    }

    /// The mean over rows of the squared distances between probability and truth, summed over the classes (Brier, 1950), 0 to
    /// 2: for two classes twice [`BinaryScores::brier`].
    pub fn brier(&self) -> f64 {
        let distance = |(row, actual): (&Vec<f64>, &usize)| {
            let truth = |class: usize| if class == *actual { 1.0 } else { 0.0 };
            row.iter().enumerate().map(|(class, value)| (value - truth(class)).powi(2)).sum::<f64>()
        };
        mean(self.pairs().map(distance))
    }

    /// The probability of one class against whether it is the true one.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] for a class that there is not.
    pub fn one_against_rest(&self, class: usize) -> Result<BinaryScores, MetricError> {
        if class >= self.classes {
            let why = format!("there are {} classes, and no class {class}", self.classes);
            return Err(MetricError::undefined("one-against-rest score", why));
        }
        BinaryScores::new(self.column(class, |_| true), self.actual.iter().map(|actual| *actual == class).collect())
    }

    /// The ROC-AUC of each class against the rest, averaged. With two classes the macro and the weighted one equal that of
    /// class 1.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where a class has no row or all of them.
    pub fn roc_auc_ovr(&self, average: Average) -> Result<f64, MetricError> {
        self.each_against_rest("ROC-AUC", average, BinaryScores::roc_auc)
    }

    /// The average precision of each class against the rest, averaged.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where a class has no row.
    pub fn average_precision(&self, average: Average) -> Result<f64, MetricError> {
        self.each_against_rest("average precision", average, BinaryScores::average_precision)
    }

    /// The plain mean of the ROC-AUC over all pairs of classes, each in both directions: it does not depend on how frequent
    /// the classes are (Hand and Till, 2001).
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where a class has no row, or there is only one.
    pub fn roc_auc_ovo(&self) -> Result<f64, MetricError> {
        let (mut sum, mut pairs) = (0.0, 0);
        for a in 0..self.classes {
            for b in a + 1..self.classes {
                for (class, other) in [(a, b), (b, a)] {
                    let actual = self.actual.iter().filter(|actual| **actual == class || **actual == other);
                    let actual: Vec<bool> = actual.map(|actual| *actual == class).collect();
                    let scores = self.column(class, |actual| actual == class || actual == other);
                    let area = BinaryScores::new(scores, actual).and_then(|scores| scores.roc_auc());
                    sum += area.map_err(|_| self.missing("ROC-AUC"))?;
                    pairs += 1;
                }
            }
        }
        if pairs == 0 {
            return Err(self.missing("ROC-AUC"));
        }
        Ok(sum / f64::from(pairs))
    }

    /// Rows with their true class.
    pub(super) fn pairs(&self) -> impl ExactSizeIterator<Item = (&Vec<f64>, &usize)> {
        self.rows.iter().zip(&self.actual)
    }

    fn column(&self, class: usize, wanted: impl Fn(usize) -> bool) -> Vec<f64> {
        self.pairs().filter(|(_, actual)| wanted(**actual)).map(|(row, _)| row[class]).collect()
    }

    fn each_against_rest(
        &self,
        name: &'static str,
        average: Average,
        figure: impl Fn(&BinaryScores) -> Result<f64, MetricError>,
    ) -> Result<f64, MetricError> {
        if average == Average::Micro {
            let truth = self.actual.iter().flat_map(|actual| (0..self.classes).map(move |class| class == *actual));
            return figure(&BinaryScores::new(self.rows.concat(), truth.collect())?);
        }
        let (mut sum, mut total) = (0.0, 0.0);
        for class in 0..self.classes {
            let scores = self.one_against_rest(class)?;
            let weight = match average {
                Average::Weighted => self.support(class) as f64,
                _ => 1.0,
            };
            sum += weight * figure(&scores).map_err(|_| self.missing(name))?;
            total += weight;
        }
        Ok(sum / total)
    }

    fn support(&self, class: usize) -> usize {
        self.actual.iter().filter(|actual| **actual == class).count()
    }

    /// Which classes stand in the way of a figure that needs rows of each.
    fn missing(&self, figure: &'static str) -> MetricError {
        let without: Vec<String> =
            (0..self.classes).filter(|class| self.support(*class) == 0).map(|class| class.to_string()).collect();
        match without.is_empty() {
            true => MetricError::undefined(figure, "there is only one class"),
            false => MetricError::undefined(figure, format!("no row has class {}", without.join(", "))),
        }
    }
}

fn check(rows: &[Vec<f64>], actual: &[usize]) -> Result<usize, MetricError> {
    check_lengths(rows.len(), actual.len())?;
    let classes = check_table(rows)?;
    match actual.iter().position(|class| *class >= classes) {
        Some(row) => Err(MetricError::ClassOutOfRange { row, class: actual[row], classes }),
        None => Ok(classes),
    }
}

/// Logits to probabilities, in place.
pub(super) fn softmax(logits: &mut [f64]) {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|value| *value /= sum);
}

/// The index of the largest value, the first of equals.
pub(super) fn largest<T: PartialOrd + Copy>(values: &[T]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}
