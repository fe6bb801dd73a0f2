use super::{Answer, Batch, Draws, Objective, hash_row, text_input};
use crate::backbone::TextInput;
use crate::data::{DataError, TextTokenizer, TokenRow, pad_rows};
use crate::random::mix;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A question, the answers to choose from, and the place of the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceExample {
    /// The question, or the start of a text that a choice goes on.
    pub question: String,
    /// The choices.
    pub choices: Vec<String>,
    /// The place of the right one, from 0.
    pub right: usize,
}

/// A question beside each of its choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceRows {
    /// A row a choice.
    pub rows: Vec<TokenRow>,
    /// The place of the right one.
    pub right: usize,
}

/// Questions with a fixed number of choices, each a pair of its own, for a
/// [`MultipleChoice`](crate::head::MultipleChoice). What frozen stages make of them is not kept: an example is several rows
/// of its batch.
#[derive(Clone, Debug)]
pub struct Choosing {
    tokenizer: TextTokenizer,
    choices: usize,
    max_length: usize,
    pad_id: u32,
}

impl Choosing {
    /// Each question has so many choices; a question with one choice is cut to `max_length` tokens as
    /// [`TextTokenizer::encode_pairs`] does.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token.
    pub fn new(tokenizer: TextTokenizer, choices: usize, max_length: usize) -> Result<Self, DataError> {
        let pad_id = tokenizer.require_pad_id()?;
        Ok(Self { tokenizer, choices, max_length, pad_id })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Longest question with a choice in tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Choices of a question.
    pub fn choices(&self) -> usize {
        self.choices
    }

    /// Tokenises questions with their choices.
    ///
    /// # Errors
    /// [`DataError::TargetCount`] for a question with more or fewer choices, [`DataError::NoLabel`] for one whose right
    /// choice is none of them.
    pub fn encode(&self, examples: &[ChoiceExample]) -> Result<Vec<ChoiceRows>, DataError> {
        for (index, example) in examples.iter().enumerate() {
            let (found, expected) = (example.choices.len(), self.choices);
            if found != expected {
                return Err(DataError::TargetCount { index, found, expected });
            }
            if example.right >= found {
                return Err(DataError::NoLabel { index });
            }
        }
        let choices = |example: &'_ ChoiceExample| {
            example.choices.iter().map(|choice| (example.question.clone(), choice.clone())).collect::<Vec<_>>()
        };
        let pairs: Vec<(String, String)> = examples.iter().flat_map(choices).collect();
        let mut rows = self.tokenizer.encode_pairs(&pairs, self.max_length)?.rows.into_iter();
        let question = |example: &ChoiceExample| ChoiceRows {
            rows: rows.by_ref().take(self.choices).collect(),
            right: example.right,
        };
        Ok(examples.iter().map(question).collect())
    }
}

impl Objective for Choosing {
    type Example = ChoiceRows;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&ChoiceRows],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        let rows: Vec<&TokenRow> = examples.iter().flat_map(|example| &example.rows).collect();
        let right: Vec<i64> = examples.iter().map(|example| example.right as i64).collect();
        let targets = Tensor::from_data(TensorData::new(right, [examples.len()]), device);
        Ok(Batch { input: text_input(pad_rows(&rows, self.pad_id), device), targets })
    }

    fn length(&self, example: &ChoiceRows) -> usize {
        example.rows.iter().map(TokenRow::len).max().unwrap_or(0)
    }

    fn fingerprint(&self, example: &ChoiceRows) -> u64 {
        mix(&example.rows.iter().map(hash_row).chain([example.right as u64]).collect::<Vec<_>>())
    }

    fn answer(&self, example: &ChoiceRows) -> Answer {
        Answer::Class(example.right)
    }

    fn is_truncated(&self, example: &ChoiceRows) -> Option<bool> {
        Some(example.rows.iter().any(|row| row.truncated))
    }
}
