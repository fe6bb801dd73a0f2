use super::{Answer, Batch, Draws, Objective, hash_row, text_input};
use crate::backbone::TextInput;
use crate::data::{DataError, QuestionExample, TextTokenizer, TokenRow, WindowRow, Windows, pad_rows};
use crate::head::SpanTargets;
use crate::random::mix;
use burn::tensor::{Device, Tensor, TensorData};

/// A question beside one window of its context, and where the answer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanRow {
    /// The tokens and the bytes they stand for.
    pub window: WindowRow,
    /// First and last token of the answer; the token of no answer twice where the window does not hold one.
    pub span: (usize, usize),
    /// Whether the window holds the answer.
    pub holds: bool,
}

/// Rows of questions, and what windows did to the answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanRows {
    /// All windows of all questions, in order.
    pub rows: Vec<SpanRow>,
    /// Questions that were cut.
    pub questions_cut: usize,
    /// Questions whose answer is in no window as a whole, so that nothing can be learned from it.
    pub answers_lost: usize,
    /// Questions whose context took more than one window.
    pub split: usize,
}

/// Extractive question answering: the first and the last token of the answer, for a
/// [`SpanHead`](crate::head::SpanHead). A window that does not hold the answer should point at the first special token, as
/// BERT was trained on SQuAD ([Devlin et al., 2019](https://arxiv.org/abs/1810.04805), section 4.3).
#[derive(Clone, Debug)]
pub struct QuestionAnswering {
    tokenizer: TextTokenizer,
    windows: Windows,
    pad_id: u32,
}

impl QuestionAnswering {
    /// Contexts are read in windows.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token, or for windows that have no room.
    pub fn new(tokenizer: TextTokenizer, windows: Windows) -> Result<Self, DataError> {
        let pad_id = tokenizer.require_pad_id()?;
        tokenizer.encode_windows::<&str, &str>(&[], windows)?;
        Ok(Self { tokenizer, windows, pad_id })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// How contexts are read.
    pub fn windows(&self) -> Windows {
        self.windows
    }

    /// Tokenises questions, each with its first answer.
    ///
    /// # Errors
    /// [`DataError::BadAnswer`] for an answer that does not stand in its context where it says.
    pub fn encode(&self, examples: &[QuestionExample]) -> Result<SpanRows, DataError> {
        examples.iter().try_for_each(QuestionExample::check)?;
        let pairs: Vec<_> = examples.iter().map(|example| (&example.question, &example.context)).collect();
        let mut encoded = SpanRows::default();
        for (example, found) in examples.iter().zip(self.tokenizer.encode_windows(&pairs, self.windows)?) {
            let answer = example.answers.first().map(|answer| (answer.start, answer.start + answer.text.len()));
            encoded.questions_cut += usize::from(found.question_cut);
            encoded.split += usize::from(found.windows.len() > 1);
            let rows = found.windows.into_iter().map(|window| {
                let span = answer.and_then(|(start, end)| window.tokens_of(start, end));
                let null = window.null_token();
                SpanRow { window, span: span.unwrap_or((null, null)), holds: span.is_some() }
            });
            let rows: Vec<SpanRow> = rows.collect();
            encoded.answers_lost += usize::from(answer.is_some() && !rows.iter().any(|row| row.holds));
            encoded.rows.extend(rows);
        }
        Ok(encoded)
    }
}

impl Objective for QuestionAnswering {
    type Example = SpanRow;
    type Input = TextInput;
    type Targets = SpanTargets;

    fn batch(
        &self,
        examples: &[&SpanRow],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, SpanTargets>, DataError> {
        let rows: Vec<&TokenRow> = examples.iter().map(|example| &example.window.row).collect();
        let places = |side: fn(&SpanRow) -> usize| {
            let values: Vec<i64> = examples.iter().map(|example| side(example) as i64).collect();
            Tensor::from_data(TensorData::new(values, [examples.len()]), device)
        };
        let targets = SpanTargets { start: places(|row| row.span.0), end: places(|row| row.span.1) };
        Ok(Batch { input: text_input(pad_rows(&rows, self.pad_id), device), targets })
    }

    fn length(&self, example: &SpanRow) -> usize {
        example.window.row.len()
    }

    fn fingerprint(&self, example: &SpanRow) -> u64 {
        mix(&[hash_row(&example.window.row), example.span.0 as u64, example.span.1 as u64])
    }

    fn input_fingerprint(&self, example: &SpanRow) -> Option<u64> {
        Some(hash_row(&example.window.row))
    }

    fn answer(&self, _example: &SpanRow) -> Answer {
        Answer::Given
    }

    fn is_truncated(&self, example: &SpanRow) -> Option<bool> {
        Some(example.window.row.truncated)
    }

    fn repeats(&self) -> bool {
        true
    }
}
