//! Tokenizing and padding against what Hugging Face's libraries give.

use std::path::Path;

use rekindle::data::{DataError, TextTokenizer, TokenRow, pad_rows, train_wordpiece};
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Case {
    text: String,
    pair: Option<String>,
    max_length: usize,
    truncated: bool,
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    special_tokens_mask: Vec<u8>,
    word_ids: Vec<Option<u32>>,
}

#[test]
fn wordpiece_gives_the_rows_of_the_tokenizers_library() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordpiece_tokenizer.json");
    let tokenizer = TextTokenizer::from_file(path).unwrap();
    assert_eq!(tokenizer.vocab_size(), 400);
    let cases: Vec<Case> = fixture("wordpiece_encodings.json");
    assert!(cases.iter().any(|case| case.truncated && case.pair.is_some()));
    for case in cases {
        let encodings = match &case.pair {
            None => tokenizer.encode(&[&case.text], case.max_length),
            Some(pair) => tokenizer.encode_pairs(&[(&case.text, pair)], case.max_length),
        }
        .unwrap();
        let expected = TokenRow {
            ids: case.ids,
            type_ids: case.type_ids,
            special: case.special_tokens_mask.iter().map(|mask| *mask == 1).collect(),
            word_ids: case.word_ids,
            truncated: case.truncated,
        };
        assert_eq!(encodings.rows, [expected], "{:?} {:?}", case.text, case.pair);
        assert_eq!(encodings.truncated == 1, case.truncated, "{:?}", case.text);
    }
}

#[test]
fn many_rows_keep_their_order() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordpiece_tokenizer.json");
    let tokenizer = TextTokenizer::from_file(path).unwrap();
    let texts: Vec<String> = (0..500).map(|i| format!("the keeper walked {i} times")).collect();
    let together = tokenizer.encode(&texts, 64).unwrap();
    for (text, row) in texts.iter().zip(&together.rows).step_by(37) {
        assert_eq!(&tokenizer.encode(&[text], 64).unwrap().rows[0], row);
    }
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn a_published_tokenizer_neither_pads_nor_truncates_by_itself() {
    let Some(folder) = std::env::var_os("REKINDLE_MINILM") else {
        println!("skipped: set REKINDLE_MINILM to the folder of all-MiniLM-L6-v2");
        return;
    };
    let sentences: Vec<Sentence> = fixture("minilm_sentences.json");
    let texts: Vec<&str> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    let expected: Vec<&[u32]> = sentences.iter().map(|sentence| sentence.ids.as_slice()).collect();
    let whole = TextTokenizer::from_folder(&folder).unwrap();
    // The same vocabulary as a bare vocab.txt must give the same ids.
    let bare = tempfile::tempdir().unwrap();
    std::fs::copy(Path::new(&folder).join("vocab.txt"), bare.path().join("vocab.txt")).unwrap();
    for tokenizer in [whole, TextTokenizer::from_folder(bare.path()).unwrap()] {
        let rows = tokenizer.encode(&texts, 512).unwrap().rows;
        assert_eq!(rows.iter().map(|row| row.ids.as_slice()).collect::<Vec<_>>(), expected);
        let long = tokenizer.encode(&["word ".repeat(400)], 300).unwrap();
        assert_eq!((long.rows[0].len(), long.longest, long.truncated), (300, 402, 1));
        assert_eq!((tokenizer.vocab_size(), tokenizer.mask_id(), tokenizer.pad_id()), (30522, Some(103), Some(0)));
    }
}

#[derive(Deserialize)]
struct Padding {
    pad_token_id: u32,
    features: Vec<Feature>,
    batch: Batch,
}

#[derive(Deserialize)]
struct Feature {
    input_ids: Vec<u32>,
    #[serde(default)]
    token_type_ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Batch {
    input_ids: Vec<Vec<i64>>,
    attention_mask: Vec<Vec<u8>>,
    token_type_ids: Option<Vec<Vec<i64>>>,
}

#[test]
fn rows_are_padded_as_by_the_collator_of_transformers() {
    for case in fixture::<Vec<Padding>>("padding.json") {
        let row = |feature: Feature| TokenRow {
            ids: feature.input_ids,
            type_ids: feature.token_type_ids,
            ..TokenRow::default()
        };
        let rows: Vec<TokenRow> = case.features.into_iter().map(row).collect();
        let padded = pad_rows(&rows.iter().collect::<Vec<_>>(), case.pad_token_id);
        assert_eq!((padded.rows, padded.seq), (case.batch.input_ids.len(), case.batch.input_ids[0].len()));
        assert_eq!(padded.ids, case.batch.input_ids.concat());
        assert_eq!(padded.mask, case.batch.attention_mask.concat().iter().map(|mask| *mask == 1).collect::<Vec<_>>());
        if let Some(types) = case.batch.token_type_ids {
            assert_eq!(padded.type_ids, types.concat());
        }
    }
}

#[test]
fn a_template_that_names_an_unknown_token_is_an_error() {
    let tokenizer = train_wordpiece(&["one two three".to_string()], 40).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&tokenizer.to_json().unwrap()).unwrap();
    json["post_processor"]["special_tokens"].as_object_mut().unwrap().remove("[SEP]").unwrap();
    let error = TextTokenizer::from_bytes(json.to_string()).unwrap_err();
    assert!(matches!(error, DataError::Tokenizer { .. }), "{error}");
}
