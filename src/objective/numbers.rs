use super::{Answer, Batch, Draws, Objective, hash_row, text_input};
use crate::backbone::TextInput;
use crate::data::{DataError, TextTokenizer, TokenRow, pad_rows};
use crate::random::mix;
use burn::tensor::{Device, Tensor, TensorData};

/// A tokenised text and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberRow {
    /// The tokens.
    pub row: TokenRow,
    /// One a head's output: numbers to predict, or 1 and 0 for labels that hold and do not.
    pub targets: Vec<f32>,
}

/// Texts with numbers, for a [`Regressor`](crate::head::Regressor), or with several labels
/// ([`Labels::hot`](crate::data::Labels::hot)), for a [`MultiLabel`](crate::head::MultiLabel).
#[derive(Clone, Debug)]
pub struct TextNumbers {
    tokenizer: TextTokenizer,
    outputs: usize,
    max_length: usize,
    pad_id: u32,
}

impl TextNumbers {
    /// Each text has `outputs` numbers and is cut to `max_length` tokens, the special ones counted.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token.
    pub fn new(tokenizer: TextTokenizer, outputs: usize, max_length: usize) -> Result<Self, DataError> {
        let pad_id = tokenizer.require_pad_id()?;
        Ok(Self { tokenizer, outputs, max_length, pad_id })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Longest text in tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Numbers a text.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Says whether a head has an output for each number.
    ///
    /// # Errors
    /// [`DataError::ClassCount`].
    pub fn check_outputs(&self, outputs: usize) -> Result<(), DataError> {
        match outputs == self.outputs {
            true => Ok(()),
            false => Err(DataError::ClassCount { labels: self.outputs, classes: outputs }),
        }
    }

    /// Tokenises texts with their numbers.
    ///
    /// # Errors
    /// [`DataError::TargetCount`] for a text with more or fewer numbers than outputs.
    pub fn encode<S: AsRef<str>>(&self, examples: &[(S, Vec<f32>)]) -> Result<Vec<NumberRow>, DataError> {
        if let Some(index) = examples.iter().position(|(_, targets)| targets.len() != self.outputs) {
            return Err(DataError::TargetCount { index, found: examples[index].1.len(), expected: self.outputs });
        }
        let texts: Vec<&str> = examples.iter().map(|(text, _)| text.as_ref()).collect();
        let rows = self.tokenizer.encode(&texts, self.max_length)?.rows.into_iter().zip(examples);
        Ok(rows.map(|(row, (_, targets))| NumberRow { row, targets: targets.clone() }).collect())
    }
}

impl Objective for TextNumbers {
    type Example = NumberRow;
    type Input = TextInput;
    type Targets = Tensor<2>;

    fn batch(
        &self,
        examples: &[&NumberRow],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<2>>, DataError> {
        let rows: Vec<&TokenRow> = examples.iter().map(|example| &example.row).collect();
        let wrong = examples.iter().position(|example| example.targets.len() != self.outputs);
        if let Some(index) = wrong {
            return Err(DataError::TargetCount { index, found: examples[index].targets.len(), expected: self.outputs });
        }
        let targets: Vec<f32> = examples.iter().flat_map(|example| example.targets.iter().copied()).collect();
        let targets = Tensor::from_data(TensorData::new(targets, [examples.len(), self.outputs]), device);
        Ok(Batch { input: text_input(pad_rows(&rows, self.pad_id), device), targets })
    }

    fn length(&self, example: &NumberRow) -> usize {
        example.row.len()
    }

    fn fingerprint(&self, example: &NumberRow) -> u64 {
        let targets = example.targets.iter().map(|target| u64::from(target.to_bits()));
        mix(&[hash_row(&example.row)].into_iter().chain(targets).collect::<Vec<_>>())
    }

    fn input_fingerprint(&self, example: &NumberRow) -> Option<u64> {
        Some(hash_row(&example.row))
    }

    fn answer(&self, _example: &NumberRow) -> Answer {
        Answer::Given
    }

    fn is_truncated(&self, example: &NumberRow) -> Option<bool> {
        Some(example.row.truncated)
    }

    fn repeats(&self) -> bool {
        true
    }
}
