//! [`Objective`]: how examples become batches. Pretraining is fine-tuning with manufactured targets, so labels that came
//! with the data and masked tokens are made by the same trait.

mod answering;
mod blocks;
mod causal_language;
mod choices;
mod classification;
mod distillation;
mod images;
mod masked_language;
mod mirrored;
mod numbers;
mod packed;
mod tagging;
mod text_to_text;
mod two_texts;

pub use answering::{QuestionAnswering, SpanRow, SpanRows};
pub use blocks::Blocks;
pub use causal_language::CausalLanguage;
pub use choices::{ChoiceExample, ChoiceRows, Choosing};
pub(crate) use classification::hash_row;
pub use classification::{LabelledRow, TextClassification, text_input};
pub use distillation::{Distillation, Taught};
pub use images::{ImageClassification, LabelledImage};
pub use masked_language::{MaskedLanguage, Masking};
pub use mirrored::Mirrored;
pub use numbers::{NumberRow, TextNumbers};
pub use packed::{ByDocument, Packed};
pub use tagging::{TaggedRow, TokenTagging};
pub use text_to_text::{PairRow, TextToText};
pub use two_texts::{TextSimilarity, TwoRows, TwoTextClassification};

use crate::data::DataError;
use crate::random::stream;
use crate::rows::Rows;
use burn::tensor::Device;
use rand::rngs::ChaCha8Rng;
use std::fmt::Debug;

/// Turns examples into the tensors of a batch.
pub trait Objective: Send + Sync {
    /// What the data set is made of.
    type Example: Send + Sync;
    /// What the backbone reads.
    type Input: Rows;
    /// What the head's loss compares with.
    type Targets: Clone + Debug + Send + 'static;

    /// Makes a batch on the plain `device`, drawing only from `draws`. `fit` may call it from another thread than its own,
    /// for batches to come ([`Fit::prefetch`](crate::train::Fit::prefetch)).
    ///
    /// # Errors
    /// [`DataError`], such as an example without a label.
    fn batch(
        &self,
        examples: &[&Self::Example],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<Self::Input, Self::Targets>, DataError>;

    /// The length of an example in tokens, by which batches of similar length are made.
    fn length(&self, _example: &Self::Example) -> usize {
        1
    }

    /// The lengths of the documents of an example that is a row of several, of which each sees itself alone; none where it
    /// is one text. A forecast counts their attention by them.
    fn documents(&self, _example: &Self::Example) -> Vec<usize> {
        vec![]
    }

    /// A number that changes when an example does, or how this objective uses it. A run resumes only on data with the
    /// fingerprints that it began with; the default knows the length alone.
    fn fingerprint(&self, example: &Self::Example) -> u64 {
        self.length(example) as u64
    }

    /// A number that two examples share exactly where the backbone reads the same in both, whatever their answers: by it
    /// copies are found before a run. `None`, the default, looks for none.
    fn input_fingerprint(&self, _example: &Self::Example) -> Option<u64> {
        None
    }

    /// What there is to learn from an example, as far as this objective can say.
    fn answer(&self, _example: &Self::Example) -> Answer {
        Answer::Unsaid
    }

    /// The names of the classes that [`Answer::Class`] counts, in that order; none where there are no classes.
    fn class_names(&self) -> Vec<String> {
        vec![]
    }

    /// Whether the end of an example was cut off; `None` where that is not known.
    fn is_truncated(&self, _example: &Self::Example) -> Option<bool> {
        None
    }

    /// Whether an example makes the same input every time, so that what frozen stages make of it may be kept.
    fn repeats(&self) -> bool {
        false
    }
}

/// What there is to learn from an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The objective does not say, or makes the answer itself.
    Unsaid,
    /// There should be one, and there is none.
    Missing,
    /// This class.
    Class(usize),
    /// Something else, such as a number or a span.
    Given,
}

/// A batch on the plain device.
#[derive(Clone, Debug)]
pub struct Batch<I, T> {
    /// What the backbone reads.
    pub input: I,
    /// What the head's loss compares with.
    pub targets: T,
}

/// A random stream for each row of a batch, keyed by (seed, epoch, example): the same whatever else is in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
    epoch: u64,
    examples: Vec<usize>,
}

impl Draws {
    /// For the rows that hold the examples with these indices.
    pub fn new(seed: u64, epoch: u64, examples: &[usize]) -> Self {
        Self { seed, epoch, examples: examples.to_vec() }
    }

    /// The index of a row's example in the data set.
    pub fn example(&self, row: usize) -> usize {
        self.examples.get(row).copied().unwrap_or(row)
    }

    /// The indices of all rows' examples.
    pub(crate) fn examples(&self) -> &[usize] {
        &self.examples
    }

    /// The stream of a row.
    pub fn stream(&self, row: usize) -> ChaCha8Rng {
        stream(&[self.seed, self.epoch, self.example(row) as u64])
    }
}
