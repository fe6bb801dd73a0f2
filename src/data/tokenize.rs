//! Texts to token ids.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::prelude::*;
use serde_json::Value;
use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
use tokenizers::{Encoding, PostProcessor, Tokenizer};

use super::special::SpecialIds;
use super::{DataError, Encodings, TokenRow};

/// A tokenizer that neither pads nor truncates by itself, whatever its file says.
#[derive(Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
    special: SpecialIds,
    vocab_size: usize,
}

impl TextTokenizer {
    pub(crate) fn new(mut inner: Tokenizer, configs: &[Value]) -> Result<Self, DataError> {
        // Published files carry settings such as "pad every text to 128", which would undo dynamic padding.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| failed("settings", &error))?;
        check_frame(&inner)?;
        let special = SpecialIds::find(&inner, configs);
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Ok(Self { inner, special, vocab_size })
    }

    /// Encodes texts, in parallel, cutting each at the end to `max_length` tokens; special tokens count and stay.
    ///
    /// # Errors
    /// [`DataError::NoRoom`] for a limit that special tokens fill, [`DataError::Tokenizer`] where the model fails, as it
    /// does on an unknown token without `unk`.
    pub fn encode<S: AsRef<str> + Sync>(&self, texts: &[S], max_length: usize) -> Result<Encodings, DataError> {
        let limit = self.room(max_length, false)?;
        collect(texts.par_iter().map(|text| self.row(text.as_ref(), None, limit)))
    }

    /// Encodes pairs of texts. A pair that is too long loses tokens at the end of its longer text first, and of both texts
    /// once they are about equally long (`longest_first` of the `tokenizers` crate).
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode_pairs<A, B>(&self, pairs: &[(A, B)], max_length: usize) -> Result<Encodings, DataError>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        let limit = self.room(max_length, true)?;
        collect(pairs.par_iter().map(|(first, second)| self.row(first.as_ref(), Some(second.as_ref()), limit)))
    }

    /// Encodes sentences that are in words already; each is cut as [`encode`](Self::encode) does. `word_ids` of the rows
    /// count these words.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode_words(&self, sentences: &[&[String]], max_length: usize) -> Result<Encodings, DataError> {
        let limit = self.room(max_length, false)?;
        collect(sentences.par_iter().map(|words| {
            let whole = self.inner.encode(*words, true)?;
            let length = whole.get_ids().len();
            let truncated = length > limit.whole;
            let row = if truncated { self.cut(self.inner.encode(*words, false)?, None, limit.texts)? } else { whole };
            Ok((TokenRow { truncated, ..row.into() }, length))
        }))
    }

    /// One more than the largest token id: the rows that an embedding table needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id of a token as it stands in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id that fills short rows.
    pub fn pad_id(&self) -> Option<u32> {
        self.special.pad
    }

    /// The id that hides a token in masked language modelling.
    pub fn mask_id(&self) -> Option<u32> {
        self.special.mask
    }

    /// The id that fills short rows, where one is needed.
    ///
    /// # Errors
    /// [`DataError::NoSpecialToken`].
    pub fn require_pad_id(&self) -> Result<u32, DataError> {
        self.special.pad.ok_or(DataError::NoSpecialToken { kind: "padding", usual: "[PAD]" })
    }

    /// The id that hides a token, where one is needed.
    ///
    /// # Errors
    /// [`DataError::NoSpecialToken`].
    pub fn require_mask_id(&self) -> Result<u32, DataError> {
        self.special.mask.ok_or(DataError::NoSpecialToken { kind: "mask", usual: "[MASK]" })
    }

    /// The ids of all special tokens that it has.
    pub fn special_ids(&self) -> Vec<u32> {
        let SpecialIds { pad, mask, cls, sep, unk } = self.special;
        [pad, mask, cls, sep, unk].into_iter().flatten().collect()
    }

    /// The id that starts a row.
    pub fn cls_id(&self) -> Option<u32> {
        self.special.cls
    }

    /// The id that ends a text.
    pub fn sep_id(&self) -> Option<u32> {
        self.special.sep
    }

    /// The id of what the vocabulary cannot spell.
    pub fn unk_id(&self) -> Option<u32> {
        self.special.unk
    }

    pub(super) fn inner(&self) -> &Tokenizer {
        &self.inner
    }

    /// How many tokens of two texts fit into a row of `max_length`.
    pub(super) fn room_for_pairs(&self, max_length: usize) -> Result<usize, DataError> {
        Ok(self.room(max_length, true)?.texts)
    }

    fn room(&self, max_length: usize, pair: bool) -> Result<Limit, DataError> {
        let special = self.inner.get_post_processor().map_or(0, |frame| frame.added_tokens(pair));
        if max_length <= special {
            return Err(DataError::NoRoom { max_length, special });
        }
        Ok(Limit { whole: max_length, texts: max_length - special })
    }

    /// The row, and its length before it was cut.
    fn row(&self, first: &str, second: Option<&str>, limit: Limit) -> tokenizers::Result<(TokenRow, usize)> {
        let whole = match second {
            None => self.inner.encode(first, true)?,
            Some(second) => self.inner.encode((first, second), true)?,
        };
        let length = whole.get_ids().len();
        let truncated = length > limit.whole;
        let row = if truncated {
            let second = second.map(|second| self.inner.encode(second, false)).transpose()?;
            self.cut(self.inner.encode(first, false)?, second, limit.texts)?
        } else {
            whole
        };
        Ok((TokenRow { truncated, ..row.into() }, length))
    }

    /// The row of texts without special tokens, of which no more than `texts` tokens are kept.
    fn cut(&self, first: Encoding, second: Option<Encoding>, texts: usize) -> tokenizers::Result<Encoding> {
        let limit = TruncationParams { max_length: texts, ..TruncationParams::default() };
        let (mut first, mut second) = truncate_encodings(first, second, &limit)?;
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
            second.set_type_ids(vec![1; second.get_ids().len()]);
        }
        self.inner.post_process(first, second, true)
    }
}

/// How many tokens fit into a row, and how many of them may come from the texts.
#[derive(Clone, Copy)]
struct Limit {
    whole: usize,
    texts: usize,
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The vocabulary itself would fill pages.
        let Self { inner: _, special, vocab_size } = self;
        f.debug_struct("TextTokenizer")
            .field("vocab_size", vocab_size)
            .field("special", special)
            .finish_non_exhaustive()
    }
}

fn collect(
    rows: impl IndexedParallelIterator<Item = tokenizers::Result<(TokenRow, usize)>>,
) -> Result<Encodings, DataError> {
    let rows: tokenizers::Result<Vec<(TokenRow, usize)>> = rows.collect();
    let rows = rows.map_err(|error| failed("encoding", &error))?;
    let truncated = rows.iter().filter(|(row, _)| row.truncated).count();
    let longest = rows.iter().map(|(_, length)| *length).max().unwrap_or(0);
    Ok(Encodings { rows: rows.into_iter().map(|(row, _)| row).collect(), truncated, longest })
}

/// Says whether special tokens can be put around texts: tokenizers 0.23 panics where a template names one that the file
/// does not define, and only when it encodes.
fn check_frame(tokenizer: &Tokenizer) -> Result<(), DataError> {
    let frames = || tokenizer.encode("", true).is_ok() && tokenizer.encode(("", ""), true).is_ok();
    match catch_unwind(AssertUnwindSafe(frames)) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(failed("settings", &"its post-processor names a token that it does not define; download it again"))
        }
    }
}

pub(super) fn failed(origin: &str, error: &dyn fmt::Display) -> DataError {
    DataError::Tokenizer { origin: origin.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer_files::tests::{VOCAB, folder};
    use super::*;

    #[test]
    fn long_rows_are_cut_and_counted() {
        let tokenizer = TextTokenizer::from_folder(folder(&[("vocab.txt", VOCAB)]).path()).unwrap();
        let texts = ["hello hello hello hello", "world", ""];
        let cut = tokenizer.encode(&texts, 4).unwrap();
        assert_eq!((cut.truncated, cut.longest), (1, 6));
        assert_eq!(
            cut.rows.iter().map(|row| row.ids.clone()).collect::<Vec<_>>(),
            [vec![2, 5, 5, 3], vec![2, 7, 3], vec![2, 3]]
        );
        assert_eq!(cut.rows[0].special, [true, false, false, true]);
        let pairs = tokenizer.encode_pairs(&[("hello hello hello", "world world")], 6).unwrap();
        assert_eq!(pairs.rows[0].ids, [2, 5, 5, 3, 7, 3]);
        assert_eq!(pairs.rows[0].type_ids, [0, 0, 0, 0, 1, 1]);
        assert_eq!(tokenizer.encode_pairs(&[("hello", "world")], 4).unwrap().rows[0].len(), 4);
        assert!(matches!(tokenizer.encode(&["x"], 2), Err(DataError::NoRoom { max_length: 2, special: 2 })));
        assert!(matches!(tokenizer.encode_pairs(&[("x", "y")], 3), Err(DataError::NoRoom { .. })));
        assert_eq!(tokenizer.encode::<&str>(&[], 8).unwrap(), Encodings::default());
    }
}
