//! The figures of every step as bytes: as text they would be most of a checkpoint of a small head.

use super::Report;

/// Takes losses, gradient norms and learning rates out of a report: three numbers a step, float64, little-endian.
pub(super) fn take(report: &mut Report) -> Vec<u8> {
    let series = [&mut report.losses, &mut report.grad_norms, &mut report.learning_rates];
    series.into_iter().flat_map(std::mem::take).flat_map(f64::to_le_bytes).collect()
}

/// Puts them back; `None` where they are not those of the report's steps.
pub(super) fn put(report: &mut Report, bytes: &[u8]) -> Option<()> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || numbers.len() != 3 * report.steps {
        return None;
    }
    let mut numbers = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes));
    for series in [&mut report.losses, &mut report.grad_norms, &mut report.learning_rates] {
        *series = numbers.by_ref().take(report.steps).collect();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_back_to_the_bit_or_not_at_all() {
        let (losses, grad_norms, learning_rates) = (vec![0.1, -0.0], vec![1e-300, 2.0], vec![3.0, f64::MAX]);
        let whole = Report { steps: 2, losses, grad_norms, learning_rates, ..Report::default() };
        let mut report = whole.clone();
        let bytes = take(&mut report);
        assert!(report.losses.is_empty() && bytes.len() == 48);
        assert_eq!(put(&mut report.clone(), &bytes[..47]), None);
        assert_eq!(put(&mut report.clone(), &bytes[..40]), None);
        assert_eq!(put(&mut report, &bytes), Some(()));
        assert_eq!(report, whole);
    }
}
