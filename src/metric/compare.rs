use super::MetricError;
use super::error::check_lengths;
use serde::Serialize;

/// Whether two models that answered the same rows differ in how often they are right (McNemar, 1947).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct McNemar {
    /// Rows that only the first is right on.
    pub only_first: u64,
    /// Rows that only the second is right on.
    pub only_second: u64,
    /// The exact two-sided probability of such a difference, or a larger one, between equally good models.
    pub p_value: f64,
    /// The test's chi-squared with continuity correction, one degree of freedom; 0 where no row tells them apart.
    pub chi_squared: f64,
}

/// Compares two models by whether each was right, row by row in the same order.
///
/// # Errors
/// [`MetricError`] for lists of different length or no rows.
pub fn mcnemar(first_right: &[bool], second_right: &[bool]) -> Result<McNemar, MetricError> {
    check_lengths(first_right.len(), second_right.len())?;
    let count = |pair: (bool, bool)| {
        first_right.iter().zip(second_right).filter(|(first, second)| (**first, **second) == pair).count() as u64
    };
    let (only_first, only_second) = (count((true, false)), count((false, true)));
    let all = (only_first + only_second) as f64;
    let beyond = (only_first.abs_diff(only_second) as f64 - 1.0).max(0.0);
    let chi_squared = if all > 0.0 { beyond * beyond / all } else { 0.0 };
    let p_value = (2.0 * at_most(only_first.min(only_second), only_first + only_second)).min(1.0);
    Ok(McNemar { only_first, only_second, p_value, chi_squared })
}

/// The probability of at most `heads` heads in `tosses` tosses of a fair coin.
fn at_most(heads: u64, tosses: u64) -> f64 {
    // In logarithms: a power of one half underflows from 1075 tosses on.
    let mut term = -(tosses as f64) * std::f64::consts::LN_2;
    let mut sum = term.exp();
    for head in 1..=heads {
        term += ((tosses - head + 1) as f64 / head as f64).ln();
        sum += term.exp();
    }
    sum
}
