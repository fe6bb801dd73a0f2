use super::LossError;

/// Class weights that make every class count the same: `rows / (classes * rows of the class)`, as scikit-learn's
/// `compute_class_weight("balanced", ..)`.
///
/// # Errors
/// [`LossError::NoExamples`] for a class that no label names, [`LossError::NoClass`] for a label that is not below
/// `classes`.
pub fn balanced_weights(labels: impl IntoIterator<Item = usize>, classes: usize) -> Result<Vec<f64>, LossError> {
    let mut counts = vec![0usize; classes];
    for class in labels {
        *counts.get_mut(class).ok_or(LossError::NoClass { class, classes })? += 1;
    }
    if let Some(class) = counts.iter().position(|count| *count == 0) {
        return Err(LossError::NoExamples { class });
    }
    let rows: usize = counts.iter().sum();
    Ok(counts.into_iter().map(|count| rows as f64 / (classes * count) as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 2, 2])
        let weights = balanced_weights([0, 0, 0, 1, 2, 2], 3).unwrap();
        assert_eq!(weights, [6.0 / 9.0, 2.0, 1.0]);
    }

    #[test]
    fn classes_without_examples_and_unknown_ones_are_named() {
        assert_eq!(balanced_weights([0, 2], 3), Err(LossError::NoExamples { class: 1 }));
        assert_eq!(balanced_weights([0, 3], 3), Err(LossError::NoClass { class: 3, classes: 3 }));
        assert_eq!(balanced_weights([], 2), Err(LossError::NoExamples { class: 0 }));
    }
}
