use super::{Answer, Batch, Draws, Objective, hash_row, text_input};
use crate::backbone::TextInput;
use crate::data::{DataError, Labels, PairExample, TextTokenizer, TokenRow, pad_rows};
use crate::random::mix;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Two texts that are read one by one, and what is known of them together: how alike they are, or their class.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoRows<T> {
    /// The tokens of the first text.
    pub first: TokenRow,
    /// The tokens of the second text.
    pub second: TokenRow,
    /// What is known of both.
    pub target: T,
}

/// Reads the texts of a pair one by one.
#[derive(Clone, Debug)]
struct Reader {
    tokenizer: TextTokenizer,
    max_length: usize,
    pad_id: u32,
}

impl Reader {
    fn new(tokenizer: TextTokenizer, max_length: usize) -> Result<Self, DataError> {
        let pad_id = tokenizer.require_pad_id()?;
        Ok(Self { tokenizer, max_length, pad_id })
    }

    fn encode<T>(
        &self,
        first: &[&str],
        second: &[&str],
        targets: impl IntoIterator<Item = T>,
    ) -> Result<Vec<TwoRows<T>>, DataError> {
        let [first, second] = [first, second].map(|texts| self.tokenizer.encode(texts, self.max_length));
        let rows = first?.rows.into_iter().zip(second?.rows).zip(targets);
        Ok(rows.map(|((first, second), target)| TwoRows { first, second, target }).collect())
    }

    /// All first texts, then all second ones.
    fn input<T>(&self, examples: &[&TwoRows<T>], device: &Device) -> TextInput {
        let first = examples.iter().map(|example| &example.first);
        let rows: Vec<&TokenRow> = first.chain(examples.iter().map(|example| &example.second)).collect();
        text_input(pad_rows(&rows, self.pad_id), device)
    }
}

impl<T> TwoRows<T> {
    fn length(&self) -> usize {
        self.first.len().max(self.second.len())
    }

    fn hash(&self, target: u64) -> u64 {
        mix(&[hash_row(&self.first), hash_row(&self.second), target])
    }

    fn is_truncated(&self) -> bool {
        self.first.truncated || self.second.truncated
    }
}

/// Pairs of texts and how alike they are, for a [`SentenceEmbedder`](crate::head::SentenceEmbedder). What frozen stages
/// make of them is not kept: an example is two rows of its batch.
#[derive(Clone, Debug)]
pub struct TextSimilarity {
    reader: Reader,
}

impl TextSimilarity {
    /// Texts are cut to `max_length` tokens, the special ones counted.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token.
    pub fn new(tokenizer: TextTokenizer, max_length: usize) -> Result<Self, DataError> {
        Ok(Self { reader: Reader::new(tokenizer, max_length)? })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.reader.tokenizer
    }

    /// Longest text in tokens.
    pub fn max_length(&self) -> usize {
        self.reader.max_length
    }

    /// Tokenises pairs of texts with their scores; 1 for pairs that only belong together.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode<S: AsRef<str>>(&self, pairs: &[(S, S, f32)]) -> Result<Vec<TwoRows<f32>>, DataError> {
        let first: Vec<&str> = pairs.iter().map(|(first, _, _)| first.as_ref()).collect();
        let second: Vec<&str> = pairs.iter().map(|(_, second, _)| second.as_ref()).collect();
        self.reader.encode(&first, &second, pairs.iter().map(|(_, _, score)| *score))
    }
}

impl Objective for TextSimilarity {
    type Example = TwoRows<f32>;
    type Input = TextInput;
    type Targets = Tensor<2>;

    fn batch(
        &self,
        examples: &[&TwoRows<f32>],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<2>>, DataError> {
        let scores: Vec<f32> = examples.iter().map(|example| example.target).collect();
        let targets = Tensor::from_data(TensorData::new(scores, [examples.len(), 1]), device);
        Ok(Batch { input: self.reader.input(examples, device), targets })
    }

    fn length(&self, example: &TwoRows<f32>) -> usize {
        example.length()
    }

    fn fingerprint(&self, example: &TwoRows<f32>) -> u64 {
        example.hash(u64::from(example.target.to_bits()))
    }

    fn answer(&self, _example: &TwoRows<f32>) -> Answer {
        Answer::Given
    }

    fn is_truncated(&self, example: &TwoRows<f32>) -> Option<bool> {
        Some(example.is_truncated())
    }
}

/// Pairs of texts that are read one by one and their class, for a [`PairClassifier`](crate::head::PairClassifier). What
/// frozen stages make of them is not kept: an example is two rows of its batch.
#[derive(Clone, Debug)]
pub struct TwoTextClassification {
    reader: Reader,
    labels: Labels,
}

impl TwoTextClassification {
    /// Texts are cut to `max_length` tokens, the special ones counted.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token.
    pub fn new(tokenizer: TextTokenizer, labels: Labels, max_length: usize) -> Result<Self, DataError> {
        Ok(Self { reader: Reader::new(tokenizer, max_length)?, labels })
    }

    /// The label map.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.reader.tokenizer
    }

    /// Longest text in tokens.
    pub fn max_length(&self) -> usize {
        self.reader.max_length
    }

    /// Tokenises pairs.
    ///
    /// # Errors
    /// [`DataError::NoLabel`] or [`DataError::UnknownLabel`] for the first pair without a class.
    pub fn encode(&self, pairs: &[PairExample]) -> Result<Vec<TwoRows<usize>>, DataError> {
        let first: Vec<&str> = pairs.iter().map(|pair| pair.first.as_str()).collect();
        let second: Vec<&str> = pairs.iter().map(|pair| pair.second.as_str()).collect();
        self.reader.encode(&first, &second, self.labels.indices(pairs)?)
    }
}

impl Objective for TwoTextClassification {
    type Example = TwoRows<usize>;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&TwoRows<usize>],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        let classes: Vec<i64> = examples.iter().map(|example| example.target as i64).collect();
        let targets = Tensor::from_data(TensorData::new(classes, [examples.len()]), device);
        Ok(Batch { input: self.reader.input(examples, device), targets })
    }

    fn length(&self, example: &TwoRows<usize>) -> usize {
        example.length()
    }

    fn fingerprint(&self, example: &TwoRows<usize>) -> u64 {
        example.hash(example.target as u64)
    }

    fn answer(&self, example: &TwoRows<usize>) -> Answer {
        Answer::Class(example.target)
    }

    fn class_names(&self) -> Vec<String> {
        self.labels.clone().into()
    }

    fn is_truncated(&self, example: &TwoRows<usize>) -> Option<bool> {
        Some(example.is_truncated())
    }
}
