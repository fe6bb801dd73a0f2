//! Whether a classifier is as sure as it is right.

use super::error::{check_lengths, check_table};
use super::probabilities::{largest, softmax};
use super::{ClassProbabilities, MetricError};
use serde::Serialize;

/// Rows whose largest probability lies in one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// The range is above this ...
    pub low: f64,
    /// ... up to and with this.
    pub high: f64,
    /// How many rows there are.
    pub rows: usize,
    /// The share of them whose most probable class is the true one; 0 without rows.
    pub accuracy: f64,
    /// The mean of their largest probability; 0 without rows.
    pub confidence: f64,
}

impl ClassProbabilities {
    /// Rows by their largest probability, in `bins` ranges of equal width from 0 to 1 (0 counts as 1): the table behind a
    /// reliability diagram.
    pub fn calibration(&self, bins: usize) -> Vec<CalibrationBin> {
        let bins = bins.max(1);
        let edge = |index: usize| index as f64 / bins as f64;
        let mut table: Vec<CalibrationBin> = (0..bins)
            .map(|bin| CalibrationBin { low: edge(bin), high: edge(bin + 1), ..CalibrationBin::default() })
            .collect();
        for (row, actual) in self.pairs() {
            let predicted = largest(row);
            let bin = table.partition_point(|bin| bin.high < row[predicted]).min(bins - 1);
            table[bin].rows += 1;
            table[bin].accuracy += if predicted == *actual { 1.0 } else { 0.0 };
            table[bin].confidence += row[predicted];
        }
        for bin in table.iter_mut().filter(|bin| bin.rows > 0) {
            bin.accuracy /= bin.rows as f64;
            bin.confidence /= bin.rows as f64;
        }
        table
    }

    /// The mean distance between how sure and how right the classifier is (ECE; Guo and others, 2017), over
    /// [`calibration`](Self::calibration)'s ranges weighing their rows, 0 to 1.
    pub fn expected_calibration_error(&self, bins: usize) -> f64 {
        let share = |bin: &CalibrationBin| bin.rows as f64 / self.rows().len() as f64;
        self.calibration(bins).iter().map(|bin| share(bin) * (bin.accuracy - bin.confidence).abs()).sum()
    }

    /// The largest such distance (MCE), 0 to 1.
    pub fn maximum_calibration_error(&self, bins: usize) -> f64 {
        self.calibration(bins).iter().map(|bin| (bin.accuracy - bin.confidence).abs()).fold(0.0, f64::max)
    }
}

/// The temperature that logits `[row][class]` should be divided by for the lowest log loss (Guo and others, 2017), to 1e-9 of
/// its value: above 1 the classifier is too sure. Fit it on rows that the model was not trained on.
///
/// # Errors
/// [`MetricError`] for lists that do not fit, values that are not finite, a class out of range;
/// [`MetricError::Undefined`] where the loss keeps falling as the temperature goes to 0 (every row is right) or to infinity
/// (no better than guessing).
pub fn fit_temperature(logits: &[Vec<f64>], actual: &[usize]) -> Result<f64, MetricError> {
    check_lengths(logits.len(), actual.len())?;
    let classes = check_table(logits)?;
    if let Some(row) = actual.iter().position(|class| *class >= classes) {
        return Err(MetricError::ClassOutOfRange { row, class: actual[row], classes });
    }
    // The loss is convex in the inverse temperature, so that its slope has one zero, which halving finds.
    let slope = |inverse: f64| -> f64 {
        let of_row = |(row, actual): (&Vec<f64>, &usize)| {
            let mut weights: Vec<f64> = row.iter().map(|logit| logit * inverse).collect();
            softmax(&mut weights);
            row.iter().zip(&weights).map(|(logit, weight)| weight * (logit - row[*actual])).sum::<f64>()
        };
        logits.iter().zip(actual).map(of_row).sum()
    };
    let (mut low, mut high) = (1e-6f64, 1e6f64);
    let figure = "temperature";
    if slope(low) >= 0.0 {
        return Err(MetricError::undefined(figure, "the classifier does not do better than guessing"));
    }
    if slope(high) <= 0.0 {
        return Err(MetricError::undefined(figure, "every row is right, so that no temperature is low enough"));
    }
    while high / low > 1.0 + 1e-10 {
        let middle = (low * high).sqrt();
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    Ok(1.0 / (low * high).sqrt())
}
