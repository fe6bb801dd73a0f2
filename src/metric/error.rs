/// Predictions or references that cannot be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Predictions and references differ in number.
    #[error("{predicted} predictions for {actual} references; give one prediction for each reference")]
    Lengths {
        /// How many predictions there are.
        predicted: usize,
        /// How many references there are.
        actual: usize,
    },
    /// There are no rows.
    #[error("there is nothing to measure; give at least one row")]
    Empty,
    /// A class index is too large.
    #[error("row {row} has class {class}, but there are {classes} classes; count with more classes or mend the row")]
    ClassOutOfRange {
        /// The row, counted from 0.
        row: usize,
        /// Its class index.
        class: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// A row has another number of values than the first one.
    #[error("row {row} has {found} values instead of {expected}; give one for each class or label")]
    Columns {
        /// The row, counted from 0.
        row: usize,
        /// How many values it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// A value is NaN or infinite.
    #[error("row {row} has the value {value}; look for a diverged model or a division by zero")]
    NotFinite {
        /// The row, counted from 0.
        row: usize,
        /// The value.
        value: f64,
    },
    /// A value is not a probability.
    #[error("row {row} has the value {value}, which is no probability; give values from 0 to 1, not logits")]
    NotProbability {
        /// The row, counted from 0.
        row: usize,
        /// The value.
        value: f64,
    },
    /// The probabilities of a row are not shares of one whole.
    #[error("the probabilities of row {row} sum to {sum} instead of 1; give them after the softmax, not logits")]
    Sum {
        /// The row, counted from 0.
        row: usize,
        /// Their sum.
        sum: f64,
    },
    /// There are fewer names than classes.
    #[error("{names} names for {classes} classes; give one for each, in the order of the label map")]
    Names {
        /// How many names there are.
        names: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// The figure has no value for these rows.
    #[error("the {figure} has no value: {why}")]
    Undefined {
        /// The figure.
        figure: &'static str,
        /// What is missing.
        why: String,
    },
    /// A tag is not one of the scheme's.
    #[error("row {row} has the tag `{tag}`, which the scheme does not know; write `O`, `B-TYPE` or `I-TYPE`")]
    BadTag {
        /// The row, counted from 0.
        row: usize,
        /// The tag.
        tag: String,
    },
    /// The figure needs probabilities, but the head gave classes at most.
    #[error("the head gave no logits, so there are no probabilities; let its `score` call `Scores::add_logits`")]
    NoLogits,
}

impl MetricError {
    pub(super) fn undefined(figure: &'static str, why: impl Into<String>) -> Self {
        Self::Undefined { figure, why: why.into() }
    }
}

/// As many predictions as references, and at least one.
pub(super) fn check_lengths(predicted: usize, actual: usize) -> Result<(), MetricError> {
    match (predicted, actual) {
        (0, 0) => Err(MetricError::Empty),
        _ if predicted != actual => Err(MetricError::Lengths { predicted, actual }),
        _ => Ok(()),
    }
}

pub(super) fn check_finite(values: &[f64]) -> Result<(), MetricError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(row) => Err(MetricError::NotFinite { row, value: values[row] }),
        None => Ok(()),
    }
}

/// Every row as long as the first one, which has values at all, and all of them finite.
pub(super) fn check_table(rows: &[Vec<f64>]) -> Result<usize, MetricError> {
    let expected = rows.first().map_or(0, Vec::len);
    for (row, values) in rows.iter().enumerate() {
        if values.len() != expected || expected == 0 {
            return Err(MetricError::Columns { row, found: values.len(), expected: expected.max(1) });
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(MetricError::NotFinite { row, value: *value });
        }
    }
    Ok(expected)
}
