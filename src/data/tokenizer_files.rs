//! The files of a tokenizer: `tokenizer.json`, `vocab.txt`, and what names the special tokens.

use std::fmt;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::tokenize::failed;
use super::{DataError, TextTokenizer, bert, esm};
use crate::file::write_atomically;

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

    /// The tokenizer as the content of a `tokenizer.json` file.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, DataError> {
        self.inner().to_string(true).map_err(|error| failed("to JSON", &error))
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::data) const VOCAB: &str =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nHello\nworld\n##s\nécole\necole\n中\n国\n";

    pub(in crate::data) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
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
            assert_eq!(again.special_ids(), tokenizer.special_ids());
        }
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
