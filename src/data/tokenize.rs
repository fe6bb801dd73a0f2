//! Texts to token ids.

use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rayon::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
use tokenizers::{Encoding, PostProcessor, Tokenizer};

use super::special::SpecialIds;
use super::{DataError, bert, esm};
use crate::file::write_atomically;

/// The tokens of one text or pair; the four lists are equally long. In a row of one's own making a list that is left empty
/// stands for segment 0, no frame, and words of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRow {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment ids: 0 for the first text, 1 for the second where the tokenizer tells them apart.
    pub type_ids: Vec<u32>,
    /// Whether the tokenizer added the token as a frame around the texts (`[CLS]`, `[SEP]`).
    pub special: Vec<bool>,
    /// The word that the token is part of, counted within its text; `None` for special tokens.
    pub word_ids: Vec<Option<u32>>,
    /// Whether the text was longer, so that its end is missing.
    pub truncated: bool,
}

impl TokenRow {
    /// How many tokens the row has.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the row has no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl From<Encoding> for TokenRow {
    fn from(encoding: Encoding) -> Self {
        Self {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
            special: encoding.get_special_tokens_mask().iter().map(|mask| *mask != 0).collect(),
            word_ids: encoding.get_word_ids().to_vec(),
            truncated: false,
        }
    }
}

/// Encoded texts and what the length limit did to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encodings {
    /// One row a text, in order.
    pub rows: Vec<TokenRow>,
    /// How many rows were cut to the limit.
    pub truncated: usize,
    /// The tokens of the longest row before cutting, special tokens included.
    pub longest: usize,
}

/// A tokenizer that neither pads nor truncates by itself, whatever its file says.
#[derive(Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
    special: SpecialIds,
    vocab_size: usize,
}

impl TextTokenizer {
    /// Loads `tokenizer.json` from a model's folder, or else `vocab.txt`: a BERT WordPiece vocabulary, or ESM's
    /// (which holds `<cls>` and `<eos>`).
    ///
    /// `tokenizer_config.json` and `special_tokens_map.json` name the special tokens where they exist. For a `vocab.txt`
    /// the former also gives `do_lower_case` (default true), `strip_accents` and `tokenize_chinese_chars`.
    ///
    /// # Errors
    /// [`DataError::NoTokenizer`] for a folder without either file, [`DataError::Tokenizer`] for one that cannot be read.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let config = read_config(&folder.join("tokenizer_config.json"))?;
        let map = read_config(&folder.join("special_tokens_map.json"))?;
        let (whole, vocab) = (folder.join("tokenizer.json"), folder.join("vocab.txt"));
        let tokenizer = if whole.is_file() {
            parse(&read(&whole)?).map_err(|error| broken(&whole, &error))?
        } else if vocab.is_file() {
            let tokens = read(&vocab)?;
            if esm::is_esm(&tokens) {
                let tokenizer = esm::from_vocab(&tokens).map_err(|error| broken(&vocab, &error))?;
                let usual = json!({ "cls_token": esm::START, "sep_token": esm::END });
                return Self::new(tokenizer, &[config, map, usual]);
            }
            bert::from_vocab(&tokens, bert::normalizer(&config)).map_err(|error| broken(&vocab, &error))?
        } else {
            return Err(DataError::NoTokenizer { folder: folder.to_owned() });
        };
        Self::new(tokenizer, &[config, map])
    }

    /// Loads a `tokenizer.json` file.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Tokenizer`], naming the file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        Self::new(parse(&read(path)?).map_err(|error| broken(path, &error))?, &[])
    }

    /// Loads the content of a `tokenizer.json` file.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] for anything else.
    pub fn from_bytes(json: impl AsRef<[u8]>) -> Result<Self, DataError> {
        Self::new(parse(json.as_ref()).map_err(|error| failed("from bytes", &error))?, &[])
    }

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

    /// The tokenizer as the content of a `tokenizer.json` file.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, DataError> {
        self.inner.to_string(true).map_err(|error| failed("to JSON", &error))
    }

    /// Saves a `tokenizer.json` file, whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Io`] where the file cannot be written; otherwise as [`TextTokenizer::to_json`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let path = path.as_ref();
        let json = self.to_json()?;
        write_atomically(path, |file| file.write_all(json.as_bytes()))
            .map_err(|source| DataError::Io { path: path.to_owned(), source })
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

/// Reads the content of a `tokenizer.json` file. `Tokenizer::from_bytes` of tokenizers 0.23 panics where the JSON breaks
/// off inside a decoder, and on a character map that is none.
fn parse(json: &[u8]) -> Result<Tokenizer, String> {
    serde_json::from_slice::<IgnoredAny>(json).map_err(|error| error.to_string())?;
    match catch_unwind(|| Tokenizer::from_bytes(json)) {
        Ok(tokenizer) => tokenizer.map_err(|error| error.to_string()),
        Err(_) => Err("a part of it is malformed; download it again".into()),
    }
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

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })
}

/// The content of a JSON file; `null` where there is none.
fn read_config(path: &Path) -> Result<Value, DataError> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&read(path)?).map_err(|error| broken(path, &error))
}

fn broken(path: &Path, error: &dyn fmt::Display) -> DataError {
    failed(&format!("`{}`", path.display()), error)
}

pub(super) fn failed(origin: &str, error: &dyn fmt::Display) -> DataError {
    DataError::Tokenizer { origin: origin.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nHello\nworld\n##s\nécole\necole\n中\n国\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn ids(tokenizer: &TextTokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(&[text], 64).unwrap().rows[0].ids.clone()
    }

    #[test]
    fn a_vocabulary_file_makes_a_lower_casing_tokenizer() {
        let folder = folder(&[("vocab.txt", VOCAB)]);
        let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(ids(&tokenizer, "Hello worlds École 中国 x"), [2, 5, 7, 8, 10, 11, 12, 1, 3]);
        assert_eq!(tokenizer.vocab_size(), 13);
        let special =
            [tokenizer.pad_id(), tokenizer.unk_id(), tokenizer.cls_id(), tokenizer.sep_id(), tokenizer.mask_id()];
        assert_eq!(special, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!((tokenizer.token_id("world"), tokenizer.token(8).as_deref()), (Some(7), Some("##s")));
        assert_eq!(ids(&tokenizer, "[MASK]"), [2, 4, 3]);
    }

    #[test]
    fn the_configuration_decides_case_accents_and_chinese() {
        let config = r#"{"do_lower_case": false, "strip_accents": false, "tokenize_chinese_chars": false}"#;
        let folder = folder(&[("vocab.txt", VOCAB), ("tokenizer_config.json", config)]);
        let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(ids(&tokenizer, "Hello école 中国"), [2, 6, 9, 1, 3]);
    }

    #[test]
    fn special_tokens_take_the_names_that_the_folder_gives() {
        let map = r#"{"mask_token": {"content": "hello"}, "pad_token": "world"}"#;
        let folder = folder(&[("vocab.txt", VOCAB), ("special_tokens_map.json", map)]);
        let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!((tokenizer.mask_id(), tokenizer.pad_id(), tokenizer.cls_id()), (Some(5), Some(7), Some(2)));
    }

    const ESM: &str = "<cls>\n<pad>\n<eos>\n<unk>\nL\nA\nG\n.\n-\n<null_1>\n<mask>";

    #[test]
    fn a_vocabulary_of_esm_makes_a_token_of_every_residue() {
        let folder = folder(&[("vocab.txt", ESM), ("tokenizer_config.json", r#"{"tokenizer_class": "EsmTokenizer"}"#)]);
        let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
        // What EsmTokenizer of Transformers 5.24.0 makes of the same.
        for (text, expected) in [
            ("LAG", vec![0, 4, 5, 6, 2]),
            ("L A\tG", vec![0, 4, 5, 6, 2]),
            ("LxyzA 12 34L", vec![0, 4, 3, 5, 3, 3, 4, 2]),
            ("A<mask>-<null_1>.", vec![0, 5, 10, 8, 9, 7, 2]),
            ("", vec![0, 2]),
        ] {
            assert_eq!(ids(&tokenizer, text), expected, "{text}");
        }
        let pair = tokenizer.encode_pairs(&[("LA", "G")], 16).unwrap().rows.remove(0);
        assert_eq!((pair.ids, pair.type_ids), (vec![0, 4, 5, 2, 6, 2], vec![0; 6]));
        let special =
            [tokenizer.pad_id(), tokenizer.unk_id(), tokenizer.cls_id(), tokenizer.sep_id(), tokenizer.mask_id()];
        assert_eq!(special, [Some(1), Some(3), Some(0), Some(2), Some(10)]);
        let cut = tokenizer.encode(&["LAGLAG"], 4).unwrap();
        assert_eq!((cut.rows[0].ids.clone(), cut.truncated), (vec![0, 4, 5, 2], 1));
        tokenizer.save(folder.path().join("tokenizer.json")).unwrap();
        let again = TextTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(ids(&again, "LxyzA<mask>"), ids(&tokenizer, "LxyzA<mask>"));
        assert_eq!(again.vocab_size(), 11);
    }

    #[test]
    fn saving_and_loading_gives_the_same_tokenizer() {
        let folder = folder(&[("vocab.txt", VOCAB)]);
        let tokenizer = TextTokenizer::from_folder(folder.path()).unwrap();
        let path = folder.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        for again in [TextTokenizer::from_file(&path), TextTokenizer::from_folder(folder.path())] {
            let again = again.unwrap();
            assert_eq!(again.to_json().unwrap(), tokenizer.to_json().unwrap());
            assert_eq!(ids(&again, "hello worlds"), ids(&tokenizer, "hello worlds"));
            assert_eq!(again.special, tokenizer.special);
        }
    }

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

    #[test]
    fn what_is_missing_is_named() {
        let error = |files: &[(&str, &str)]| TextTokenizer::from_folder(folder(files).path()).unwrap_err().to_string();
        assert!(
            error(&[]).ends_with("holds neither tokenizer.json nor vocab.txt; download one of them with the model")
        );
        assert!(error(&[("vocab.txt", "[UNK]\na\n")]).contains("the vocabulary has no [CLS]"));
        assert!(error(&[("vocab.txt", "a\n")]).contains("the vocabulary has no [UNK]"));
        assert!(error(&[("vocab.txt", "<cls>\n<eos>\nA\n")]).contains("the vocabulary has no <unk>"));
        assert!(error(&[("tokenizer.json", "{}")]).contains("tokenizer.json"));
        assert!(error(&[("vocab.txt", VOCAB), ("tokenizer_config.json", "{")]).contains("tokenizer_config.json"));
        let bad_map = r#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "!"}}"#;
        for json in ["[]", r#"{"decoder": {"type" "#, bad_map] {
            assert!(matches!(TextTokenizer::from_bytes(json), Err(DataError::Tokenizer { .. })), "{json}");
        }
    }
}
