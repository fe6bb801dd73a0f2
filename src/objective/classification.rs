use super::{Answer, Batch, Draws, Objective};
use crate::backbone::TextInput;
use crate::data::{
    DataError, Encodings, Labelled, Labels, PaddedRows, PairExample, TextExample, TextTokenizer, TokenRow, pad_rows,
};
use crate::random::mix;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A tokenised text and its class.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledRow {
    /// The tokens.
    pub row: TokenRow,
    /// The class index; `None` where only a prediction is wanted.
    pub label: Option<usize>,
}

/// Supervised classification of texts, or of pairs of texts: the labels came with the data.
#[derive(Clone, Debug)]
pub struct TextClassification {
    tokenizer: TextTokenizer,
    labels: Labels,
    max_length: usize,
    pad_id: u32,
}

impl TextClassification {
    /// Texts are cut to `max_length` tokens, the special ones counted; [`encode`](Self::encode) says how many were.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token.
    pub fn new(tokenizer: TextTokenizer, labels: Labels, max_length: usize) -> Result<Self, DataError> {
        let pad_id = tokenizer.require_pad_id()?;
        Ok(Self { tokenizer, labels, max_length, pad_id })
    }

    /// The label map.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Longest text in tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Tokenises examples, and says how many were cut.
    ///
    /// # Errors
    /// [`DataError::UnknownLabel`] for a label outside the map.
    pub fn encode(&self, examples: &[TextExample]) -> Result<(Vec<LabelledRow>, usize), DataError> {
        let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
        self.labelled(self.tokenizer.encode(&texts, self.max_length)?, examples)
    }

    /// Tokenises pairs, each as one row (`[CLS] first [SEP] second [SEP]`, or as the tokenizer frames pairs), and says how
    /// many were cut: at the end of their longer text first.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_pairs(&self, examples: &[PairExample]) -> Result<(Vec<LabelledRow>, usize), DataError> {
        let pairs: Vec<_> = examples.iter().map(|pair| (pair.first.as_str(), pair.second.as_str())).collect();
        self.labelled(self.tokenizer.encode_pairs(&pairs, self.max_length)?, examples)
    }

    fn labelled<E: Labelled>(
        &self,
        encodings: Encodings,
        examples: &[E],
    ) -> Result<(Vec<LabelledRow>, usize), DataError> {
        let label = |example: &E| example.label().map(|name| self.labels.index(name)).transpose();
        let rows = encodings.rows.into_iter().zip(examples);
        let rows = rows.map(|(row, example)| Ok(LabelledRow { row, label: label(example)? }));
        Ok((rows.collect::<Result<_, DataError>>()?, encodings.truncated))
    }
}

impl Objective for TextClassification {
    type Example = LabelledRow;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&LabelledRow],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        let labels = examples.iter().enumerate();
        let labels = labels.map(|(row, example)| {
            let unlabelled = || DataError::NoLabel { index: draws.example(row) };
            example.label.ok_or_else(unlabelled)
        });
        let labels: Vec<i64> = labels.map(|label| label.map(|class| class as i64)).collect::<Result<_, _>>()?;
        let rows: Vec<&TokenRow> = examples.iter().map(|example| &example.row).collect();
        let targets = Tensor::from_data(TensorData::new(labels, [examples.len()]), device);
        Ok(Batch { input: text_input(pad_rows(&rows, self.pad_id), device), targets })
    }

    fn length(&self, example: &LabelledRow) -> usize {
        example.row.len()
    }

    fn fingerprint(&self, example: &LabelledRow) -> u64 {
        let label = example.label.map_or(u64::MAX, |label| label as u64);
        mix(&[hash_row(&example.row), label])
    }

    fn input_fingerprint(&self, example: &LabelledRow) -> Option<u64> {
        Some(hash_row(&example.row))
    }

    fn answer(&self, example: &LabelledRow) -> Answer {
        example.label.map_or(Answer::Missing, Answer::Class)
    }

    fn class_names(&self) -> Vec<String> {
        self.labels.clone().into()
    }

    fn is_truncated(&self, example: &LabelledRow) -> Option<bool> {
        Some(example.row.truncated)
    }

    fn repeats(&self) -> bool {
        true
    }
}

/// A hash of a row's token and segment ids.
pub(crate) fn hash_row(row: &TokenRow) -> u64 {
    let ids: Vec<u64> = row.ids.iter().chain(&row.type_ids).map(|id| u64::from(*id)).collect();
    mix(&ids)
}

/// Padded rows as tensors `[batch, seq]` on `device`: what an [`Objective`] of texts feeds in.
pub fn text_input(padded: PaddedRows, device: &Device) -> TextInput {
    let shape = [padded.rows, padded.seq];
    TextInput {
        ids: Tensor::from_data(TensorData::new(padded.ids, shape), device),
        type_ids: Tensor::from_data(TensorData::new(padded.type_ids, shape), device),
        mask: Tensor::from_data(TensorData::new(padded.mask, shape), device),
        documents: padded.documents.map(|documents| Tensor::from_data(TensorData::new(documents, shape), device)),
    }
}
