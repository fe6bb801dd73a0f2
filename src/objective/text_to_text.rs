use super::{Answer, Batch, Draws, Objective, hash_row};
use crate::backbone::{DecoderStart, MaskedIds, Seq2SeqInput};
use crate::data::{DataError, PaddedRows, TextTokenizer, TokenRow, pad_rows};
use crate::head::IGNORED;
use crate::random::mix;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A source text and the target text that belongs to it, tokenised.
#[derive(Clone, Debug, PartialEq)]
pub struct PairRow {
    /// What the encoder reads.
    pub source: TokenRow,
    /// What the decoder is to write.
    pub target: TokenRow,
}

/// Supervised generation: a source text to its target text, such as a translation or a summary, for a
/// [`Seq2SeqLm`](crate::head::Seq2SeqLm). The decoder reads the target one place late.
#[derive(Clone, Debug)]
pub struct TextToText {
    tokenizer: TextTokenizer,
    start: DecoderStart,
    max_source: usize,
    max_target: usize,
    pad_id: u32,
}

impl TextToText {
    /// Sources and targets are cut to `max_source` and `max_target` tokens, the special ones counted;
    /// [`encode`](Self::encode) says how many pairs were. `start` is what the backbone's configuration says
    /// (`decoder_start`).
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token.
    pub fn new(
        tokenizer: TextTokenizer,
        start: DecoderStart,
        max_source: usize,
        max_target: usize,
    ) -> Result<Self, DataError> {
        let pad_id = tokenizer.require_pad_id()?;
        Ok(Self { tokenizer, start, max_source, max_target, pad_id })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Tokenises pairs of source and target, and says how many were cut on either side.
    ///
    /// # Errors
    /// [`DataError`], such as a text that the tokenizer cannot read.
    pub fn encode<S, T>(&self, pairs: &[(S, T)]) -> Result<(Vec<PairRow>, usize), DataError>
    where
        S: AsRef<str> + Sync,
        T: AsRef<str> + Sync,
    {
        let sources: Vec<&str> = pairs.iter().map(|(source, _)| source.as_ref()).collect();
        let targets: Vec<&str> = pairs.iter().map(|(_, target)| target.as_ref()).collect();
        let sources = self.tokenizer.encode(&sources, self.max_source)?.rows;
        let targets = self.tokenizer.encode(&targets, self.max_target)?.rows;
        let rows = sources.into_iter().zip(targets).map(|(source, target)| PairRow { source, target });
        let rows: Vec<PairRow> = rows.collect();
        let cut = rows.iter().filter(|row| row.source.truncated || row.target.truncated).count();
        Ok((rows, cut))
    }
}

impl Objective for TextToText {
    type Example = PairRow;
    type Input = Seq2SeqInput;
    type Targets = Tensor<2, Int>;

    fn batch(
        &self,
        examples: &[&PairRow],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<Seq2SeqInput, Tensor<2, Int>>, DataError> {
        let side = |side: fn(&PairRow) -> &TokenRow| {
            let rows: Vec<&TokenRow> = examples.iter().map(|example| side(example)).collect();
            masked_ids(pad_rows(&rows, self.pad_id), device)
        };
        let (source, MaskedIds { ids, mask }) = (side(|pair| &pair.source), side(|pair| &pair.target));
        let targets = ids.mask_fill(mask.clone().bool_not(), IGNORED);
        let target = MaskedIds { ids: self.start.shift(targets.clone()), mask };
        Ok(Batch { input: Seq2SeqInput { source, target }, targets })
    }

    fn length(&self, example: &PairRow) -> usize {
        example.source.len().max(example.target.len())
    }

    fn fingerprint(&self, example: &PairRow) -> u64 {
        mix(&[hash_row(&example.source), hash_row(&example.target)])
    }

    fn input_fingerprint(&self, example: &PairRow) -> Option<u64> {
        Some(self.fingerprint(example))
    }

    fn answer(&self, example: &PairRow) -> Answer {
        if example.target.is_empty() { Answer::Missing } else { Answer::Given }
    }

    fn is_truncated(&self, example: &PairRow) -> Option<bool> {
        Some(example.source.truncated || example.target.truncated)
    }

    fn repeats(&self) -> bool {
        true
    }
}

/// Padded rows as tensors `[batch, seq]`.
fn masked_ids(padded: PaddedRows, device: &Device) -> MaskedIds {
    let shape = [padded.rows, padded.seq];
    MaskedIds {
        ids: Tensor::from_data(TensorData::new(padded.ids, shape), device),
        mask: Tensor::from_data(TensorData::new(padded.mask, shape), device),
    }
}
