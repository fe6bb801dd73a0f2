//! Stratified splits and samples: every class keeps its share, and the draw is a function of the seed.

use std::collections::BTreeMap;

use super::{DataError, Labelled};
use crate::random::{mix, permutation};

/// Keeps the streams of splits and samples apart from each other.
const SPLIT: u64 = 1;
const SAMPLE: u64 = 2;

/// Splits examples into `(training, validation)`, class by class; both sides keep the order of the file.
///
/// Each class gives `validation_share` of its examples, rounded, but at least one to each side where it has two; a class
/// with one example trains. What one class gives does not depend on the other classes.
///
/// # Errors
/// [`DataError::BadShare`] for a share outside 0..1, [`DataError::NoLabel`] for an example without a label,
/// [`DataError::TooFewToSplit`] where one side would stay empty.
pub fn stratified_split<E: Labelled>(
    examples: Vec<E>,
    validation_share: f64,
    seed: u64,
) -> Result<(Vec<E>, Vec<E>), DataError> {
    if !(validation_share > 0.0 && validation_share < 1.0) {
        return Err(DataError::BadShare { share: validation_share });
    }
    let classes = members(&examples)?;
    let mut validates = vec![false; examples.len()];
    for (label, members) in classes.iter().filter(|(_, members)| members.len() > 1) {
        let count = (members.len() as f64 * validation_share).round() as usize;
        for place in shuffled(members, SPLIT, seed, label).take(count.clamp(1, members.len() - 1)) {
            validates[place] = true;
        }
    }
    if !validates.contains(&true) {
        return Err(DataError::TooFewToSplit { examples: examples.len(), classes: classes.len() });
    }
    let (validation, training): (Vec<_>, Vec<_>) = examples.into_iter().zip(validates).partition(|(_, side)| *side);
    let strip = |side: Vec<(E, bool)>| side.into_iter().map(|(example, _)| example).collect();
    Ok((strip(training), strip(validation)))
}

/// Draws `per_class` examples of each class, in the order of the file; a smaller draw is part of each larger one.
///
/// # Errors
/// [`DataError::NoLabel`] for an example without a label, [`DataError::TooFewToSample`] for a class that is too small.
pub fn sample_per_class<E: Labelled + Clone>(examples: &[E], per_class: usize, seed: u64) -> Result<Vec<E>, DataError> {
    let mut places = Vec::new();
    for (label, members) in members(examples)? {
        if members.len() < per_class {
            let found = members.len();
            return Err(DataError::TooFewToSample { label, found, wanted: per_class });
        }
        places.extend(shuffled(&members, SAMPLE, seed, &label).take(per_class));
    }
    places.sort_unstable();
    Ok(places.into_iter().map(|place| examples[place].clone()).collect())
}

/// The places of each class's examples.
fn members<E: Labelled>(examples: &[E]) -> Result<BTreeMap<String, Vec<usize>>, DataError> {
    let mut classes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, example) in examples.iter().enumerate() {
        let label = example.label().ok_or(DataError::NoLabel { index })?;
        classes.entry(label.to_owned()).or_default().push(index);
    }
    Ok(classes)
}

fn shuffled<'a>(members: &'a [usize], draw: u64, seed: u64, label: &str) -> impl Iterator<Item = usize> + 'a {
    let label = mix(&label.bytes().map(u64::from).collect::<Vec<_>>());
    permutation(members.len(), &[seed, draw, label]).into_iter().map(|place| members[place])
}

#[cfg(test)]
mod tests {
    use super::super::TextExample;
    use super::*;

    fn examples(counts: &[(&str, usize)]) -> Vec<TextExample> {
        let rows = counts.iter().flat_map(|(label, count)| (0..*count).map(move |i| (label, i)));
        rows.map(|(label, i)| TextExample { text: format!("{label} {i}"), label: Some((*label).into()) }).collect()
    }

    fn count(examples: &[TextExample], label: &str) -> usize {
        examples.iter().filter(|example| example.label.as_deref() == Some(label)).count()
    }

    #[test]
    fn each_class_keeps_its_share() {
        let all = examples(&[("a", 100), ("b", 10), ("c", 2), ("d", 1)]);
        let (training, validation) = stratified_split(all.clone(), 0.2, 7).unwrap();
        assert_eq!(["a", "b", "c", "d"].map(|label| count(&validation, label)), [20, 2, 1, 0]);
        assert_eq!(training.len() + validation.len(), all.len());
        assert!(all.iter().all(|example| training.contains(example) != validation.contains(example)));
        assert_eq!(stratified_split(all.clone(), 0.2, 7).unwrap(), (training.clone(), validation.clone()));
        assert_ne!(stratified_split(all, 0.2, 8).unwrap().1, validation);
    }

    #[test]
    fn extreme_shares_leave_one_on_each_side() {
        for share in [0.001, 0.999] {
            let (training, validation) = stratified_split(examples(&[("a", 3), ("b", 2)]), share, 0).unwrap();
            assert!(["a", "b"].iter().all(|label| count(&training, label) > 0 && count(&validation, label) > 0));
        }
    }

    #[test]
    fn splits_that_cannot_be_are_errors() {
        for share in [0.0, 1.0, -0.1, f64::NAN] {
            let split = stratified_split(examples(&[("a", 3)]), share, 0);
            assert!(matches!(split, Err(DataError::BadShare { .. })));
        }
        let single = stratified_split(examples(&[("a", 1), ("b", 1)]), 0.5, 0);
        assert!(matches!(single, Err(DataError::TooFewToSplit { examples: 2, classes: 2 })));
        let unlabelled = vec![TextExample { text: "x".into(), label: None }];
        assert!(matches!(stratified_split(unlabelled, 0.5, 0), Err(DataError::NoLabel { index: 0 })));
    }

    #[test]
    fn samples_are_nested_and_ordered() {
        let all = examples(&[("a", 30), ("b", 20)]);
        let small = sample_per_class(&all, 4, 3).unwrap();
        let large = sample_per_class(&all, 9, 3).unwrap();
        assert_eq!((count(&small, "a"), count(&small, "b"), large.len()), (4, 4, 18));
        assert!(small.iter().all(|example| large.contains(example)));
        let places: Vec<_> = large.iter().map(|row| all.iter().position(|other| other == row)).collect();
        assert!(places.is_sorted());
        let error = sample_per_class(&all, 21, 3).unwrap_err().to_string();
        assert_eq!(error, "label `b` has 20 examples, 21 were asked for; ask for at most 20 per class");
    }
}
