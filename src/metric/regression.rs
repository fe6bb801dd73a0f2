use super::error::{check_finite, check_lengths};
use super::rank::{kendall_tau_b, ranks};
use super::{MetricError, mean};

/// Predicted numbers and the true ones.
#[derive(Clone, Debug, PartialEq)]
pub struct RegressionScores {
    predicted: Vec<f64>,
    actual: Vec<f64>,
}

impl RegressionScores {
    /// One prediction and one true value a row, in the same unit.
    ///
    /// # Errors
    /// [`MetricError`] for lists of different length, no rows, a value that is not finite.
    pub fn new(predicted: Vec<f64>, actual: Vec<f64>) -> Result<Self, MetricError> {
        check_lengths(predicted.len(), actual.len())?;
        check_finite(&predicted)?;
        check_finite(&actual)?;
        Ok(Self { predicted, actual })
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        mean(self.errors().map(|error| error * error))
    }

    /// Root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        self.mse().sqrt()
    }

    /// Mean absolute error.
    pub fn mae(&self) -> f64 {
        mean(self.errors().map(f64::abs))
    }

    /// Median absolute error; the mean of the middle two for an even number of rows.
    pub fn median_absolute_error(&self) -> f64 {
        let mut errors: Vec<f64> = self.errors().map(f64::abs).collect();
        errors.sort_by(f64::total_cmp);
        let half = errors.len() / 2;
        if errors.len() % 2 == 1 { errors[half] } else { errors[half - 1].midpoint(errors[half]) }
    }

    /// The largest absolute error.
    pub fn max_error(&self) -> f64 {
        self.errors().map(f64::abs).fold(0.0, f64::max)
    }

    /// Mean absolute error as a share of the true value. A true value of 0 counts as 2.2e-16, so that it dwarfs all others,
    /// as in scikit-learn.
    pub fn mape(&self) -> f64 {
        mean(self.errors().zip(&self.actual).map(|(error, actual)| error.abs() / actual.abs().max(f64::EPSILON)))
    }

    /// The share of the variance that the predictions explain (coefficient of determination), at most 1. If all true values
    /// are equal, 1 for perfect predictions and else 0.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] for a single row.
    pub fn r2(&self) -> Result<f64, MetricError> {
        self.several("R2")?;
        Ok(explained(self.errors().map(|error| error * error).sum(), spread(&self.actual)))
    }

    /// As [`r2`](Self::r2), but a constant error does not count.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] for a single row.
    pub fn explained_variance(&self) -> Result<f64, MetricError> {
        self.several("explained variance")?;
        Ok(explained(spread(&self.errors().collect::<Vec<_>>()), spread(&self.actual)))
    }

    /// Pearson's correlation, -1 to 1.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where one side is constant.
    pub fn pearson(&self) -> Result<f64, MetricError> {
        correlation(&self.predicted, &self.actual).ok_or_else(|| constant("Pearson correlation"))
    }

    /// Spearman's rank correlation, -1 to 1; equal values share the mean of their ranks.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where one side is constant.
    pub fn spearman(&self) -> Result<f64, MetricError> {
        let figure = || constant("Spearman correlation");
        correlation(&ranks(&self.predicted), &ranks(&self.actual)).ok_or_else(figure)
    }

    /// Kendall's tau-b, -1 to 1: how many more pairs are in the same order than in the opposite one, ties accounted for.
    ///
    /// # Errors
    /// [`MetricError::Undefined`] where one side is constant.
    pub fn kendall_tau(&self) -> Result<f64, MetricError> {
        kendall_tau_b(&self.predicted, &self.actual).ok_or_else(|| constant("Kendall correlation"))
    }

    fn errors(&self) -> impl ExactSizeIterator<Item = f64> {
        self.actual.iter().zip(&self.predicted).map(|(actual, predicted)| actual - predicted)
    }

    fn several(&self, figure: &'static str) -> Result<(), MetricError> {
        match self.actual.len() {
            1 => Err(MetricError::undefined(figure, "there is only one row")),
            _ => Ok(()),
        }
    }
}

fn constant(figure: &'static str) -> MetricError {
    MetricError::undefined(figure, "all predictions or all true values are equal")
}

/// 1 minus the share that is left unexplained.
fn explained(left: f64, all: f64) -> f64 {
    match (left == 0.0, all == 0.0) {
        (true, _) => 1.0,
        (_, true) => 0.0,
        _ => 1.0 - left / all,
    }
}

/// The sum of squared distances from the mean.
fn spread(values: &[f64]) -> f64 {
    let middle = mean(values.iter().copied());
    values.iter().map(|value| (value - middle).powi(2)).sum()
}

fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if [a, b].iter().any(|side| side.iter().all(|value| *value == side[0])) {
        return None;
    }
    // Scaled by their size before squaring, so that very small and very large units neither vanish nor overflow.
    let center = |values: &[f64]| {
        let middle = mean(values.iter().copied());
        let centred: Vec<f64> = values.iter().map(|value| value - middle).collect();
        let size = centred.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let scaled: Vec<f64> = centred.iter().map(|value| value / size).collect();
        let norm = scaled.iter().map(|value| value * value).sum::<f64>().sqrt();
        scaled.into_iter().map(move |value| value / norm)
    };
    let product: f64 = center(a).zip(center(b)).map(|(a, b)| a * b).sum();
    product.is_finite().then(|| product.clamp(-1.0, 1.0))
}
