//! Long texts in overlapping windows, each beside a question.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokenizers::utils::truncation::TruncationDirection;

use super::tokenize::failed;
use super::{DataError, TextTokenizer, TokenRow};

/// How a question and a long text become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// Tokens of a row, question and special tokens counted.
    pub max_length: usize,
    /// Tokens that a window shares with the one before it (`doc_stride` of Transformers' recipe).
    pub stride: usize,
    /// A question is cut to this many tokens.
    pub max_question: usize,
}

impl Default for Windows {
    /// 384, 128 and 64, as BERT was fine-tuned.
    fn default() -> Self {
        Self { max_length: 384, stride: 128, max_question: 64 }
    }
}

/// A question beside one window of its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowRow {
    /// The tokens.
    pub row: TokenRow,
    /// For each token of the text the bytes that it stands for; `None` for other tokens.
    pub offsets: Vec<Option<(usize, usize)>>,
}

/// The rows of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionWindows {
    /// One a window, from the start of the text to its end; at least one.
    pub windows: Vec<WindowRow>,
    /// Whether the question was cut.
    pub question_cut: bool,
}

impl WindowRow {
    /// The token that stands for no answer: the first special one, as Transformers' recipe has it.
    pub fn null_token(&self) -> usize {
        self.row.special.iter().position(|special| *special).unwrap_or(0)
    }

    /// The first and the last token of the bytes `start..end` of the text; `None` where this window does not hold them
    /// all.
    pub fn tokens_of(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let held = || self.offsets.iter().enumerate().filter_map(|(token, bytes)| Some((token, (*bytes)?)));
        let (first, last) = (held().next()?.1, held().next_back()?.1);
        if first.0 > start || last.1 < end {
            return None;
        }
        let begins = held().rfind(|(_, bytes)| bytes.0 <= start)?.0;
        let ends = held().find(|(_, bytes)| bytes.1 >= end)?.0;
        (begins <= ends).then_some((begins, ends))
    }
}

impl TextTokenizer {
    /// Encodes questions with their texts, in parallel: a text that is too long for one row becomes several, which overlap.
    ///
    /// # Errors
    /// [`DataError::BadWindows`] where a row has no room for more of a text than two windows share, otherwise as
    /// [`encode`](Self::encode).
    pub fn encode_windows<A, B>(&self, pairs: &[(A, B)], how: Windows) -> Result<Vec<QuestionWindows>, DataError>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        let texts = self.room_for_pairs(how.max_length)?;
        if how.max_question == 0 || texts <= how.max_question.saturating_add(how.stride) {
            return Err(DataError::BadWindows { windows: how, room: texts });
        }
        let rows = pairs.par_iter().map(|(question, text)| self.windows(question.as_ref(), text.as_ref(), texts, how));
        rows.collect::<tokenizers::Result<_>>().map_err(|error| failed("encoding", &error))
    }

    fn windows(&self, question: &str, text: &str, texts: usize, how: Windows) -> tokenizers::Result<QuestionWindows> {
        let mut question = self.inner().encode(question, false)?;
        let question_cut = question.len() > how.max_question;
        question.truncate(how.max_question, 0, TruncationDirection::Right);
        question.take_overflowing();
        let room = texts - question.len();
        let mut first = self.inner().encode(text, false)?;
        first.truncate(room, how.stride, TruncationDirection::Right);
        let rest = first.take_overflowing();
        let windows = std::iter::once(first).chain(rest).map(|mut window| {
            window.set_type_ids(vec![1; window.len()]);
            let whole = self.inner().post_process(question.clone(), Some(window), true)?;
            let sequences = whole.get_sequence_ids();
            let bytes = whole.get_offsets().iter().zip(sequences);
            let offsets = bytes.map(|(bytes, sequence)| (sequence == Some(1)).then_some(*bytes)).collect();
            Ok(WindowRow { row: whole.into(), offsets })
        });
        Ok(QuestionWindows { windows: windows.collect::<tokenizers::Result<_>>()?, question_cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> TextTokenizer {
        let folder = tempfile::tempdir().unwrap();
        let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwho\nis\na\nb\nc\nd\ne\nf\n##x\n";
        std::fs::write(folder.path().join("vocab.txt"), vocab).unwrap();
        TextTokenizer::from_folder(folder.path()).unwrap()
    }

    fn windows(question: &str, text: &str, how: Windows) -> QuestionWindows {
        tokenizer().encode_windows(&[(question, text)], how).unwrap().remove(0)
    }

    const HOW: Windows = Windows { max_length: 8, stride: 1, max_question: 2 };

    #[test]
    fn windows_overlap_and_know_their_bytes() {
        let found = windows("who is", "a b c d e f", HOW);
        let ids: Vec<&[u32]> = found.windows.iter().map(|window| window.row.ids.as_slice()).collect();
        assert_eq!(ids, [&[2, 5, 6, 3, 7, 8, 9, 3][..], &[2, 5, 6, 3, 9, 10, 11, 3], &[2, 5, 6, 3, 11, 12, 3]]);
        assert_eq!(found.windows[1].row.type_ids, [0, 0, 0, 0, 1, 1, 1, 1]);
        let bytes = [None, None, None, None, Some((4, 5)), Some((6, 7)), Some((8, 9)), None];
        assert_eq!(found.windows[1].offsets, bytes);
        assert!(!found.question_cut);
        let long = windows("who is a b", "a", HOW);
        assert!(long.question_cut);
        assert_eq!(long.windows[0].row.ids, [2, 5, 6, 3, 7, 3]);
        let short = windows("who", "a b c d", HOW);
        assert_eq!(short.windows.len(), 1, "a short question leaves more room: {short:?}");
    }

    #[test]
    fn answers_are_found_in_the_windows_that_hold_them() {
        let found = windows("who is", "a b cx d e f", HOW);
        let held = |start, end| found.windows.iter().map(|window| window.tokens_of(start, end)).collect::<Vec<_>>();
        // "cx" is two tokens, of which the first window holds one.
        assert_eq!(found.windows[0].row.ids, [2, 5, 6, 3, 7, 8, 9, 3]);
        assert_eq!(held(2, 3), [Some((5, 5)), None, None, None].as_slice()[..found.windows.len()]);
        assert_eq!(held(4, 6)[..2], [None, Some((4, 5))]);
        assert_eq!(held(0, 12), vec![None; found.windows.len()]);
        assert_eq!(found.windows[0].null_token(), 0);
    }

    #[test]
    fn an_empty_text_is_one_window_without_tokens() {
        let found = windows("who", "", HOW);
        assert_eq!(found.windows.len(), 1);
        assert_eq!(found.windows[0].offsets, [None; 4]);
        assert_eq!(found.windows[0].tokens_of(0, 0), None);
    }

    #[test]
    fn windows_that_do_not_move_on_are_refused() {
        for how in
            [Windows { stride: 3, ..HOW }, Windows { max_question: 5, ..HOW }, Windows { max_question: 0, ..HOW }]
        {
            let error = tokenizer().encode_windows(&[("who", "a")], how).unwrap_err();
            assert!(matches!(error, DataError::BadWindows { room: 5, .. }), "{error}");
        }
        let error = tokenizer().encode_windows(&[("who", "a")], Windows { max_length: 3, ..HOW }).unwrap_err();
        assert!(matches!(error, DataError::NoRoom { .. }), "{error}");
    }
}
