use crate::backbone::InputError;
use crate::backbone::config::ensure;
use crate::checkpoint::CheckpointError;
use crate::head::IGNORED;
use burn::tensor::{Bool, Int, Tensor};

/// Token ids of one side, padded on the right.
#[derive(Clone, Debug)]
pub struct MaskedIds {
    /// Token ids, `[batch, seq]`.
    pub ids: Tensor<2, Int>,
    /// True for real tokens, `[batch, seq]`.
    pub mask: Tensor<2, Bool>,
}
crate::rows!(MaskedIds {} padded { ids, mask } by mask);

impl MaskedIds {
    /// Checks shapes, the length against the number of positions, and ids against the entries of their table. `side` is the
    /// mask's name in messages.
    pub(super) fn check(&self, side: &'static str, max: Option<usize>, entries: usize) -> Result<(), InputError> {
        let (expected, found) = (self.ids.dims(), self.mask.dims());
        if found != expected {
            return Err(InputError::ShapeMismatch { what: side, found: found.to_vec(), expected: expected.to_vec() });
        }
        InputError::check_length(&self.ids, max.unwrap_or(usize::MAX))?;
        InputError::check_ids("token", &self.ids, entries)
    }
}

/// What an encoder-decoder of texts reads: the source, and the target as the decoder sees it, one place late.
#[derive(Clone, Debug)]
pub struct Seq2SeqInput {
    /// What the encoder reads.
    pub source: MaskedIds,
    /// What the decoder reads: [`DecoderStart::shift`] makes it from the tokens that are to be predicted.
    pub target: MaskedIds,
}
crate::rows!(Seq2SeqInput { source, target });

impl Seq2SeqInput {
    /// The decoder reads the source as well, one place late: how BART and T5 see a text that is to be classified.
    pub fn mirrored(source: MaskedIds, start: DecoderStart) -> Self {
        let target = MaskedIds { ids: start.shift(source.ids.clone()), mask: source.mask.clone() };
        Self { source, target }
    }

    /// Checks that both sides have the same number of rows.
    pub(super) fn check_rows(&self) -> Result<(), InputError> {
        check_rows(self.source.ids.dims()[0], &self.target)
    }
}

/// There are as many targets as sources.
pub(super) fn check_rows(sources: usize, target: &MaskedIds) -> Result<(), InputError> {
    let [targets, _] = target.ids.dims();
    if sources == targets { Ok(()) } else { Err(InputError::RowsDiffer { sources, targets }) }
}

/// What a decoder's input begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderStart {
    /// The token before the first one (`decoder_start_token_id`).
    pub token: usize,
    /// What stands for tokens that are [`IGNORED`] (`pad_token_id`).
    pub padding: usize,
}

impl DecoderStart {
    /// Of a configuration's two ids.
    pub(super) fn of(start: Option<usize>, padding: Option<usize>) -> Result<Self, CheckpointError> {
        let named = |field: &str, id: Option<usize>| {
            ensure(id.is_some(), field, "null", "an id of the vocabulary, with which the decoder's input is made")?;
            Ok(id.unwrap_or_default())
        };
        Ok(Self { token: named("decoder_start_token_id", start)?, padding: named("pad_token_id", padding)? })
    }

    /// Tokens to predict, `[batch, seq]`, to the decoder's input: all one place to the right, the start token first, as
    /// `shift_tokens_right` of Transformers' `models/bart/modeling_bart.py`.
    pub fn shift(self, tokens: Tensor<2, Int>) -> Tensor<2, Int> {
        let [batch, seq] = tokens.dims();
        let start = Tensor::full([batch, seq.min(1)], self.token as i64, &tokens.device());
        let shifted = Tensor::cat(vec![start, tokens.narrow(1, 0, seq.saturating_sub(1))], 1);
        let ignored = shifted.clone().equal_elem(IGNORED);
        shifted.mask_fill(ignored, self.padding as i64)
    }
}
