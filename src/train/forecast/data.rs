use crate::objective::{Answer, Objective};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How many pairs and indices are named.
const NAMED: usize = 5;

/// What the examples of a run are like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataForecast {
    /// The training examples.
    pub train: SetForecast,
    /// The validation examples.
    pub validation: SetForecast,
    /// The longest row that the backbone reads, in tokens; `None` where there is no limit.
    pub positions: Option<usize>,
    /// Training examples by class; `None` where the objective knows no classes.
    pub classes: Option<ClassBalance>,
    /// Training examples whose input another one before it has; `None` where the objective cannot tell.
    pub duplicates: Option<Copies>,
    /// Validation examples whose input a training example has: what is measured on them is not what a new input gets.
    pub leaks: Option<Copies>,
}

/// What one set of examples is like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetForecast {
    /// Examples.
    pub examples: usize,
    /// Tokens in all.
    pub tokens: usize,
    /// Tokens of the longest example.
    pub longest: usize,
    /// Examples whose end was cut off; `None` where the objective cannot tell.
    pub truncated: Option<usize>,
    /// Examples that should have an answer and have none.
    pub unanswered: usize,
    /// The first of those.
    pub first_unanswered: Vec<usize>,
}

/// How training examples spread over classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClassBalance {
    /// Examples of each class.
    pub counts: Vec<usize>,
    /// Names of the classes.
    pub names: Vec<String>,
}

impl ClassBalance {
    /// The class with the fewest examples that has any.
    pub fn rarest(&self) -> Option<usize> {
        (0..self.counts.len()).filter(|class| self.counts[*class] > 0).min_by_key(|class| self.counts[*class])
    }

    /// The class with the most examples, the first of those.
    pub fn most_frequent(&self) -> Option<usize> {
        (0..self.counts.len()).rev().max_by_key(|class| self.counts[*class])
    }

    /// The classes without examples.
    pub fn absent(&self) -> Vec<usize> {
        (0..self.counts.len()).filter(|class| self.counts[*class] == 0).collect()
    }

    /// A class's name, or its index.
    pub fn name(&self, class: usize) -> String {
        self.names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

/// Examples whose input came before, in the same set or in another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Copies {
    /// How many.
    pub count: usize,
    /// How many of those have another answer than the first example with this input.
    pub conflicting: usize,
    /// The first few: the index of the example that came first and of the copy, each in its set.
    pub first: Vec<(usize, usize)>,
    /// The first few whose answers differ.
    pub first_conflicting: Vec<(usize, usize)>,
}

impl DataForecast {
    pub(super) fn of<O: Objective>(
        objective: &O,
        train: &[O::Example],
        validation: &[O::Example],
        positions: Option<usize>,
    ) -> Self {
        Self {
            train: set(objective, train),
            validation: set(objective, validation),
            positions,
            classes: balance(objective, train),
            duplicates: copies_within(objective, train),
            leaks: copies_between(objective, train, validation),
        }
    }
}

fn set<O: Objective>(objective: &O, examples: &[O::Example]) -> SetForecast {
    let lengths = || examples.iter().map(|example| objective.length(example));
    let truncated: Option<Vec<bool>> = examples.iter().map(|example| objective.is_truncated(example)).collect();
    let missing = |index: &usize| objective.answer(&examples[*index]) == Answer::Missing;
    let unanswered: Vec<usize> = (0..examples.len()).filter(missing).collect();
    SetForecast {
        examples: examples.len(),
        tokens: lengths().sum(),
        longest: lengths().max().unwrap_or(0),
        truncated: truncated.map(|truncated| truncated.into_iter().filter(|is| *is).count()),
        unanswered: unanswered.len(),
        first_unanswered: unanswered.into_iter().take(NAMED).collect(),
    }
}

fn balance<O: Objective>(objective: &O, examples: &[O::Example]) -> Option<ClassBalance> {
    let names = objective.class_names();
    let mut counts = vec![0; names.len()];
    for example in examples {
        if let Answer::Class(class) = objective.answer(example) {
            counts.resize(counts.len().max(class + 1), 0);
            counts[class] += 1;
        }
    }
    (!counts.is_empty()).then_some(ClassBalance { counts, names })
}

/// Examples of `examples` whose input one before them has.
fn copies_within<O: Objective>(objective: &O, examples: &[O::Example]) -> Option<Copies> {
    let mut seen = HashMap::new();
    let mut copies = Copies::default();
    for (index, example) in examples.iter().enumerate() {
        match seen.entry(objective.input_fingerprint(example)?) {
            std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert(index)),
            std::collections::hash_map::Entry::Occupied(entry) => {
                let first = *entry.get();
                copies.add((first, index), answers_differ(objective, &examples[first], example));
            }
        }
    }
    Some(copies)
}

/// Examples of `other` (validation, test) whose input an example of `train` has; `None` where the objective cannot tell.
pub fn copies_between<O: Objective>(objective: &O, train: &[O::Example], other: &[O::Example]) -> Option<Copies> {
    let mut seen = HashMap::new();
    for (index, example) in train.iter().enumerate() {
        seen.entry(objective.input_fingerprint(example)?).or_insert(index);
    }
    let mut copies = Copies::default();
    for (index, example) in other.iter().enumerate() {
        if let Some(first) = seen.get(&objective.input_fingerprint(example)?) {
            copies.add((*first, index), answers_differ(objective, &train[*first], example));
        }
    }
    Some(copies)
}

/// Whether two examples of the same input both have an answer, and not the same one.
fn answers_differ<O: Objective>(objective: &O, a: &O::Example, b: &O::Example) -> bool {
    let answered = |example| objective.answer(example) != Answer::Missing;
    answered(a) && answered(b) && objective.fingerprint(a) != objective.fingerprint(b)
}

impl Copies {
    fn add(&mut self, pair: (usize, usize), conflicting: bool) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(pair);
        }
        if conflicting {
            self.conflicting += 1;
            if self.first_conflicting.len() < NAMED {
                self.first_conflicting.push(pair);
            }
        }
    }
}
