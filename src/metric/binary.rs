use super::error::{check_finite, check_lengths};
use super::{ClassCounts, MetricError, mean};

/// Scores for yes-or-no questions and the answers: the higher the score, the likelier a yes.
///
/// Only the order of the scores matters, but for [`log_loss`](Self::log_loss) and [`brier`](Self::brier). Equal scores are
/// one threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryScores {
    scores: Vec<f64>,
    actual: Vec<bool>,
}

/// A threshold and what calling everything at or above it a yes gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// The score; infinite for the first point, which calls nothing a yes.
    pub threshold: f64,
    /// The share of noes that are called a yes.
    pub false_positive_rate: f64,
    /// The share of yeses that are called a yes.
    pub true_positive_rate: f64,
}

/// A threshold and what calling everything at or above it a yes gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecallPoint {
    /// The score; infinite for the last point, which calls nothing a yes.
    pub threshold: f64,
    /// The share of what is called a yes that is one; 1 where nothing is called so.
    pub precision: f64,
    /// The share of yeses that are called so.
    pub recall: f64,
}

/// How many are at or above a score.
struct Step {
    threshold: f64,
    yes: usize,
    no: usize,
}

impl BinaryScores {
    /// One score and one answer a row.
    ///
    /// # Errors
    /// [`MetricError`] for lists of different length, no rows, a score that is not finite.
    pub fn new(scores: Vec<f64>, actual: Vec<bool>) -> Result<Self, MetricError> {
        check_lengths(scores.len(), actual.len())?;
        check_finite(&scores)?;
        Ok(Self { scores, actual })
    }

    /// The probability that a random yes has a higher score than a random no, ties counting half: the area under the ROC
    /// curve.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] without a yes or without a no.
    pub fn roc_auc(&self) -> Result<f64, MetricError> {
        let (yes, no) = self.both("ROC-AUC")?;
        let (mut twice, mut before) = (0.0, Step { threshold: f64::INFINITY, yes: 0, no: 0 });
        for step in self.steps() {
            // Whole numbers: nothing is rounded before the division.
            twice += (step.no - before.no) as f64 * (step.yes + before.yes) as f64;
            before = step;
        }
        Ok(twice / (2.0 * yes as f64 * no as f64))
    }

    /// The ROC curve, from the highest threshold to the lowest: every threshold has a point.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] without a yes or without a no.
    pub fn roc_curve(&self) -> Result<Vec<RocPoint>, MetricError> {
        let (all_yes, all_no) = self.both("ROC curve")?;
        let start = Step { threshold: f64::INFINITY, yes: 0, no: 0 };
        let point = |step: Step| RocPoint {
            threshold: step.threshold,
            false_positive_rate: step.no as f64 / all_no as f64,
            true_positive_rate: step.yes as f64 / all_yes as f64,
        };
        Ok([start].into_iter().chain(self.steps()).map(point).collect())
    }

    /// The mean precision over the thresholds, each weighing what recall it adds; no interpolation.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] without a yes.
    pub fn average_precision(&self) -> Result<f64, MetricError> {
        let all = self.some_yes("average precision")?;
        let (mut sum, mut before) = (0.0, 0);
        for Step { yes, no, .. } in self.steps() {
            sum += (yes - before) as f64 / all as f64 * (yes as f64 / (yes + no) as f64);
            before = yes;
        }
        Ok(sum)
    }

    /// Precision against recall, from the lowest threshold to the highest.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] without a yes.
    pub fn precision_recall_curve(&self) -> Result<Vec<PrecisionRecallPoint>, MetricError> {
        let all = self.some_yes("precision-recall curve")?;
        let point = |Step { threshold, yes, no }: Step| PrecisionRecallPoint {
            threshold,
            precision: yes as f64 / (yes + no) as f64,
            recall: yes as f64 / all as f64,
        };
        let end = PrecisionRecallPoint { threshold: f64::INFINITY, precision: 1.0, recall: 0.0 };
        Ok(self.steps().into_iter().rev().map(point).chain([end]).collect())
    }

    /// The greatest distance between the two rates of the ROC curve (Kolmogorov-Smirnov), 0 to 1.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] without a yes or without a no.
    pub fn kolmogorov_smirnov(&self) -> Result<f64, MetricError> {
        let distance = |point: &RocPoint| (point.true_positive_rate - point.false_positive_rate).abs();
        Ok(self.roc_curve()?.iter().map(distance).fold(0.0, f64::max))
    }

    /// The threshold with the highest F1, the highest of equals, and that F1.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] without a yes.
    pub fn best_f1(&self) -> Result<(f64, f64), MetricError> {
        let all = self.some_yes("best F1")?;
        let f1 = |step: &Step| 2.0 * step.yes as f64 / (all + step.yes + step.no) as f64;
        let best = |best: (f64, f64), step: Step| if f1(&step) > best.1 { (step.threshold, f1(&step)) } else { best };
        Ok(self.steps().into_iter().fold((f64::INFINITY, 0.0), best))
    }

    /// What calling everything at or above `threshold` a yes gives: class 0 is no, class 1 is yes. The specificity is the
    /// recall of class 0.
    pub fn counts_at(&self, threshold: f64) -> ClassCounts {
        let predicted: Vec<usize> = self.scores.iter().map(|score| usize::from(*score >= threshold)).collect();
        let actual: Vec<usize> = self.actual.iter().map(|yes| usize::from(*yes)).collect();
        ClassCounts::from_indices(&predicted, &actual, 2).unwrap_or_else(|_| ClassCounts::new(2))
    }

    /// The mean negative log-likelihood of the answers in nats; probabilities are kept 2.2e-16 away from 0 and 1.
    ///
    /// # Errors
    /// [`MetricError::NotProbability`] for a score outside 0 to 1.
    pub fn log_loss(&self) -> Result<f64, MetricError> {
        self.check_probabilities()?;
        let loss = |(score, yes): (&f64, &bool)| {
            let likelihood = if *yes { *score } else { 1.0 - score };
            -likelihood.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
        };
        Ok(mean(self.scores.iter().zip(&self.actual).map(loss)))
    }

    /// The mean squared distance between probability and answer (Brier, 1950), 0 to 1.
    ///
    /// # Errors
    /// [`MetricError::NotProbability`] for a score outside 0 to 1.
    pub fn brier(&self) -> Result<f64, MetricError> {
        self.check_probabilities()?;
        let square = |(score, yes): (&f64, &bool)| (score - f64::from(u8::from(*yes))).powi(2);
        Ok(mean(self.scores.iter().zip(&self.actual).map(square)))
    }

    fn check_probabilities(&self) -> Result<(), MetricError> {
        match self.scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
            Some(row) => Err(MetricError::NotProbability { row, value: self.scores[row] }),
            None => Ok(()),
        }
    }

    fn some_yes(&self, figure: &'static str) -> Result<usize, MetricError> {
        match self.actual.iter().filter(|yes| **yes).count() {
            0 => Err(MetricError::undefined(figure, "no row is a yes")),
            yes => Ok(yes),
        }
    }

    fn both(&self, figure: &'static str) -> Result<(usize, usize), MetricError> {
        let yes = self.some_yes(figure)?;
        match self.actual.len() - yes {
            0 => Err(MetricError::undefined(figure, "every row is a yes")),
            no => Ok((yes, no)),
        }
    }

    /// Each different score from the highest down, with how many yeses and noes are at or above it.
    fn steps(&self) -> Vec<Step> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|a, b| self.scores[*b].total_cmp(&self.scores[*a]));
        let (mut steps, mut yes, mut no) = (vec![], 0, 0);
        // `==`, so that -0 and 0 are one threshold.
        for group in order.chunk_by(|a, b| self.scores[*a] == self.scores[*b]) {
            let more = group.iter().filter(|row| self.actual[**row]).count();
            (yes, no) = (yes + more, no + group.len() - more);
            steps.push(Step { threshold: self.scores[group[0]], yes, no });
        }
        steps
    }
}
