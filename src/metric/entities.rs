use super::{ClassScores, MetricError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which runs of tags are an entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityScheme {
    /// As the program of the CoNLL shared tasks reads tags (seqeval's default): `B-`, `I-`, `E-` and `S-` tags, where one
    /// that does not go on with an entity of its type begins one. `L-` and `U-` of BILOU stand for `E-` and `S-`.
    #[default]
    Conll,
    /// `B-X` and the `I-X` that follow it at once, of the same type; any other `I-` belongs to no entity (seqeval's
    /// strict `IOB2`).
    StrictIob2,
}

/// A run of tokens with a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    /// Its type, such as `PER`; `_` for a tag without one.
    pub kind: String,
    /// Its first token.
    pub start: usize,
    /// The token after its last one.
    pub end: usize,
}

/// Entities found and true ones, counted by type. An entity is right where type, start and end are.
///
/// A share of nothing is 0, as in seqeval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntityScores {
    types: BTreeMap<String, Counts>,
    right_tags: u64,
    tags: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Counts {
    predicted: u64,
    actual: u64,
    right: u64,
}

impl Counts {
    fn scores(self) -> ClassScores {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        ClassScores {
            precision: share(self.right, self.predicted),
            recall: share(self.right, self.actual),
            f1: share(2 * self.right, self.predicted + self.actual),
        }
    }
}

impl EntityScores {
    /// One list of tags a sentence, such as `O`, `B-PER`, `I-PER`.
    ///
    /// # Errors
    /// [`MetricError::Lengths`] for lists of different length, [`MetricError::Empty`] without sentences,
    /// [`MetricError::Columns`] for a sentence with more or fewer predicted tags than true ones, [`MetricError::BadTag`].
    pub fn new<S: AsRef<str>>(
        predicted: &[Vec<S>],
        actual: &[Vec<S>],
        scheme: EntityScheme,
    ) -> Result<Self, MetricError> {
        super::error::check_lengths(predicted.len(), actual.len())?;
        let mut scores = Self { types: BTreeMap::new(), right_tags: 0, tags: 0 };
        for (row, (predicted, actual)) in predicted.iter().zip(actual).enumerate() {
            if predicted.len() != actual.len() {
                return Err(MetricError::Columns { row, found: predicted.len(), expected: actual.len() });
            }
            let same = predicted.iter().zip(actual).filter(|(a, b)| a.as_ref() == b.as_ref()).count();
            scores.right_tags += same as u64;
            scores.tags += actual.len() as u64;
            scores.add(&in_row(row, predicted, scheme)?, &in_row(row, actual, scheme)?);
        }
        Ok(scores)
    }

    fn add(&mut self, predicted: &[Entity], actual: &[Entity]) {
        let truth: BTreeSet<&Entity> = actual.iter().collect();
        for entity in actual {
            self.types.entry(entity.kind.clone()).or_default().actual += 1;
        }
        for entity in predicted {
            let counts = self.types.entry(entity.kind.clone()).or_default();
            counts.predicted += 1;
            counts.right += u64::from(truth.contains(entity));
        }
    }

    fn all(&self) -> Counts {
        self.types.values().fold(Counts::default(), |sum, counts| Counts {
            predicted: sum.predicted + counts.predicted,
            actual: sum.actual + counts.actual,
            right: sum.right + counts.right,
        })
    }

    /// Over all entities together: what is meant by the entity F1.
    pub fn micro_average(&self) -> ClassScores {
        self.all().scores()
    }

    /// The plain mean over the types.
    pub fn macro_average(&self) -> ClassScores {
        self.average(|_| 1.0)
    }

    /// The mean over the types, each weighing its true entities.
    pub fn weighted_average(&self) -> ClassScores {
        self.average(|counts| counts.actual as f64)
    }

    fn average(&self, weight: impl Fn(&Counts) -> f64) -> ClassScores {
        let total: f64 = self.types.values().map(&weight).sum();
        let mean = |figure: fn(ClassScores) -> f64| {
            let sum: f64 = self.types.values().map(|counts| weight(counts) * figure(counts.scores())).sum();
            if total == 0.0 { 0.0 } else { sum / total }
        };
        ClassScores {
            precision: mean(|scores| scores.precision),
            recall: mean(|scores| scores.recall),
            f1: mean(|scores| scores.f1),
        }
    }

    /// The scores of each type that occurs and how many true entities it has, by name.
    pub fn per_type(&self) -> impl Iterator<Item = (&str, ClassScores, u64)> {
        self.types.iter().map(|(name, counts)| (name.as_str(), counts.scores(), counts.actual))
    }

    /// How many true entities there are.
    pub fn support(&self) -> u64 {
        self.all().actual
    }

    /// The share of tags that are right, `O` counted too.
    pub fn token_accuracy(&self) -> f64 {
        if self.tags == 0 { 0.0 } else { self.right_tags as f64 / self.tags as f64 }
    }
}

/// The entities of one sentence's tags, in their order.
///
/// # Errors
/// [`MetricError::BadTag`] for a tag that the scheme does not know; its row is 0.
pub fn entities<S: AsRef<str>>(tags: &[S], scheme: EntityScheme) -> Result<Vec<Entity>, MetricError> {
    in_row(0, tags, scheme)
}

fn in_row<S: AsRef<str>>(row: usize, tags: &[S], scheme: EntityScheme) -> Result<Vec<Entity>, MetricError> {
    let (mut found, mut open) = (vec![], None::<Entity>);
    let mut before = ('O', "");
    for (place, tag) in tags.iter().map(AsRef::as_ref).enumerate() {
        let bad = || MetricError::BadTag { row, tag: tag.into() };
        let (mark, kind) = split(tag, scheme).ok_or_else(bad)?;
        let goes_on = open.is_some() && kind == before.1 && matches!(mark, 'I' | 'E') && !matches!(before.0, 'E' | 'S');
        if goes_on {
            open = open.map(|entity| Entity { end: place + 1, ..entity });
        } else {
            found.extend(open.take());
            let starts = mark != 'O' && (scheme == EntityScheme::Conll || mark == 'B');
            open = starts.then(|| Entity { kind: kind.into(), start: place, end: place + 1 });
        }
        before = (mark, kind);
    }
    found.extend(open);
    Ok(found)
}

/// A tag's mark and type.
fn split(tag: &str, scheme: EntityScheme) -> Option<(char, &str)> {
    if tag == "O" {
        return Some(('O', ""));
    }
    let known: &[char] = match scheme {
        EntityScheme::Conll => &['B', 'I', 'E', 'S', 'L', 'U'],
        EntityScheme::StrictIob2 => &['B', 'I'],
    };
    let mark = tag.chars().next().filter(|mark| known.contains(mark))?;
    let rest = &tag[1..];
    // BILOU calls a last token and a single one by other letters.
    let mark = match mark {
        'L' => 'E',
        'U' => 'S',
        mark => mark,
    };
    match rest {
        "" | "-" => Some((mark, "_")),
        rest => rest.strip_prefix('-').map(|kind| (mark, kind)),
    }
}
