use super::counts::ClassScores;
use super::error::{check_lengths, check_table};
use super::{Average, BinaryScores, MetricError, mean};

/// Scores for labels of which a row may have several or none, and the true ones.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiLabelScores {
    scores: Vec<Vec<f64>>,
    actual: Vec<Vec<bool>>,
}

/// Labels given and true ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiLabelDecisions {
    predicted: Vec<Vec<bool>>,
    actual: Vec<Vec<bool>>,
}

impl MultiLabelScores {
    /// Scores `[row][label]`, the higher the likelier, and whether each label holds.
    ///
    /// # Errors
    /// [`MetricError`] for lists of different length, no rows, a score that is not finite.
    pub fn new(scores: Vec<Vec<f64>>, actual: Vec<Vec<bool>>) -> Result<Self, MetricError> {
        check_lengths(scores.len(), actual.len())?;
        check_columns(&actual, check_table(&scores)?)?;
        Ok(Self { scores, actual })
    }

    /// Gives a row every label whose score is at least `threshold`.
    pub fn decide(&self, threshold: f64) -> MultiLabelDecisions {
        let row = |scores: &Vec<f64>| scores.iter().map(|score| *score >= threshold).collect();
        MultiLabelDecisions { predicted: self.scores.iter().map(row).collect(), actual: self.actual.clone() }
    }

    /// The scores of one label and whether it holds; `None` for a label that there is not.
    pub fn label(&self, label: usize) -> Option<BinaryScores> {
        let scores = self.scores.iter().map(|row| row.get(label).copied()).collect::<Option<_>>()?;
        let actual = self.actual.iter().map(|row| row.get(label).copied()).collect::<Option<_>>()?;
        BinaryScores::new(scores, actual).ok()
    }

    /// The ROC-AUC of the labels, averaged.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where a label holds for no row or for all.
    pub fn roc_auc(&self, average: Average) -> Result<f64, MetricError> {
        self.average("ROC-AUC", average, BinaryScores::roc_auc)
    }

    /// The average precision of the labels, averaged (mean average precision).
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where a label holds for no row.
    pub fn average_precision(&self, average: Average) -> Result<f64, MetricError> {
        self.average("average precision", average, BinaryScores::average_precision)
    }

    /// For each true label the share of true ones among the labels that score at least as high, averaged over a row's labels
    /// and then over the rows (label ranking average precision); 1 for rows where no label or every label holds.
    pub fn label_ranking_average_precision(&self) -> f64 {
        let row = |(scores, actual): (&Vec<f64>, &Vec<bool>)| {
            let labels = || scores.iter().zip(actual);
            let holds = actual.iter().filter(|holds| **holds).count();
            if holds == 0 || holds == actual.len() {
                return 1.0;
            }
            let share = |score: f64| {
                let above = labels().filter(|(other, _)| **other >= score);
                let right = above.clone().filter(|(_, holds)| **holds).count();
                right as f64 / above.count() as f64
            };
            labels().filter(|(_, holds)| **holds).map(|(score, _)| share(*score)).sum::<f64>() / holds as f64
        };
        mean(self.scores.iter().zip(&self.actual).map(row))
    }

    fn average(
        &self,
        name: &'static str,
        average: Average,
        figure: impl Fn(&BinaryScores) -> Result<f64, MetricError>,
    ) -> Result<f64, MetricError> {
        if average == Average::Micro {
            return figure(&BinaryScores::new(self.scores.concat(), self.actual.concat())?);
        }
        let (mut sum, mut total) = (0.0, 0.0);
        for (label, scores) in (0..self.scores[0].len()).filter_map(|label| Some((label, self.label(label)?))) {
            let weight = match average {
                Average::Weighted => self.actual.iter().filter(|row| row[label]).count() as f64,
                _ => 1.0,
            };
            let of_label = |error| match error {
                MetricError::Undefined { why, .. } => MetricError::undefined(name, format!("label {label}: {why}")),
                other => other,
            };
            sum += weight * figure(&scores).map_err(of_label)?;
            total += weight;
        }
        Ok(sum / total)
    }
}

/// Of some decisions: right yeses, yeses said, yeses that are true.
#[derive(Clone, Copy, Default)]
struct Tally {
    right: usize,
    predicted: usize,
    actual: usize,
}

impl Tally {
    fn of<'a>(decisions: impl Iterator<Item = (&'a bool, &'a bool)>) -> Self {
        decisions.fold(Self::default(), |tally, (predicted, actual)| Self {
            right: tally.right + usize::from(*predicted && *actual),
            predicted: tally.predicted + usize::from(*predicted),
            actual: tally.actual + usize::from(*actual),
        })
    }

    fn scores(self) -> ClassScores {
        let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        ClassScores {
            precision: ratio(self.right, self.predicted),
            recall: ratio(self.right, self.actual),
            f1: ratio(2 * self.right, self.predicted + self.actual),
        }
    }
}

impl MultiLabelDecisions {
    /// Labels given `[row][label]` and whether each holds.
    ///
    /// # Errors
    /// [`MetricError`] for lists of different length, no rows, rows of different length.
    pub fn new(predicted: Vec<Vec<bool>>, actual: Vec<Vec<bool>>) -> Result<Self, MetricError> {
        check_lengths(predicted.len(), actual.len())?;
        let labels = predicted[0].len().max(1);
        check_columns(&predicted, labels)?;
        check_columns(&actual, labels)?;
        Ok(Self { predicted, actual })
    }

    /// The scores of each label.
    pub fn per_label(&self) -> Vec<ClassScores> {
        self.labels().map(|label| self.tally(label).scores()).collect()
    }

    /// How many rows each label holds for.
    pub fn support(&self) -> Vec<usize> {
        self.labels().map(|label| self.tally(label).actual).collect()
    }

    /// The labels' scores as one.
    pub fn scores(&self, average: Average) -> ClassScores {
        if average == Average::Micro {
            return Tally::of(self.predicted.iter().flatten().zip(self.actual.iter().flatten())).scores();
        }
        let tallies = self.labels().map(|label| self.tally(label));
        let weight = |tally: Tally| if average == Average::Weighted { tally.actual as f64 } else { 1.0 };
        ClassScores::weighted_mean(tallies.map(|tally| (tally.scores(), weight(tally))))
    }

    /// The scores of each row's label set, averaged over the rows; 0 for rows without a label on either side, as in
    /// scikit-learn.
    pub fn scores_by_row(&self) -> ClassScores {
        ClassScores::weighted_mean(self.rows().map(|tally| (tally.scores(), 1.0)))
    }

    /// The share of rows whose labels are all right.
    pub fn subset_accuracy(&self) -> f64 {
        mean(
            self.predicted.iter().zip(&self.actual).map(|(predicted, actual)| f64::from(u8::from(predicted == actual))),
        )
    }

    /// The share of wrong decisions.
    pub fn hamming_loss(&self) -> f64 {
        let wrong = self.predicted.iter().flatten().zip(self.actual.iter().flatten()).filter(|(a, b)| a != b).count();
        wrong as f64 / (self.actual.len() * self.actual[0].len()) as f64
    }

    /// Right labels over labels given or true, averaged over the rows; 0 for rows without a label on either side, as in
    /// scikit-learn.
    pub fn jaccard_by_row(&self) -> f64 {
        let share = |tally: Tally| match tally.predicted + tally.actual - tally.right {
            0 => 0.0,
            either => tally.right as f64 / either as f64,
        };
        mean(self.rows().map(share))
    }

    fn labels(&self) -> std::ops::Range<usize> {
        0..self.actual[0].len()
    }

    fn tally(&self, label: usize) -> Tally {
        Tally::of(
            self.predicted.iter().zip(&self.actual).map(|(predicted, actual)| (&predicted[label], &actual[label])),
        )
    }

    fn rows(&self) -> impl ExactSizeIterator<Item = Tally> {
        self.predicted.iter().zip(&self.actual).map(|(predicted, actual)| Tally::of(predicted.iter().zip(actual)))
    }
}

fn check_columns(rows: &[Vec<bool>], expected: usize) -> Result<(), MetricError> {
    match rows.iter().position(|row| row.len() != expected) {
        Some(row) => Err(MetricError::Columns { row, found: rows[row].len(), expected }),
        None => Ok(()),
    }
}
