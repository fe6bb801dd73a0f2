//! Texts as files of token ids: what is read is what was written, or an error.

use std::path::Path;
use std::sync::Arc;

use rekindle::Model;
use rekindle::backbone::{CausalDecoder, Gpt2, Pooling, TextInput};
use rekindle::checkpoint::FromPretrained;
use rekindle::data::{DataError, DocumentEnd, TextTokenizer, TokenBlock, TokenFile, train_wordpiece};
use rekindle::objective::{Batch, Blocks, CausalLanguage, Draws, Objective};
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, fit};
use serde_json::json;

use super::support::*;

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|index| text(index).0).collect()
}

fn ids(tokenizer: &TextTokenizer, texts: &[String]) -> Vec<Vec<u32>> {
    tokenizer.encode(texts, usize::MAX).unwrap().rows.into_iter().map(|row| row.ids).collect()
}

fn create(folder: &Path, content: &str, by: DocumentEnd, end: Option<u32>) -> Result<TokenFile, DataError> {
    std::fs::write(folder.join("text.txt"), content).unwrap();
    TokenFile::create(folder.join("tokens.bin"), folder.join("text.txt"), &tokenizer(), by, end)
}

fn whole(file: &TokenFile) -> TokenBlock {
    TokenBlock { start: 0, length: file.len() }
}

#[test]
fn a_file_holds_the_tokens_of_every_line_in_order() {
    let folder = temporary();
    // More than are tokenised at a time, with blank lines, a byte-order mark and line breaks of both kinds.
    let lines = lines(2500);
    let content = format!("\u{feff}{}\r\n\n  {}", lines[0], lines[1..].join("\n"));
    let file = create(folder.path(), &content, DocumentEnd::Line, Some(4)).unwrap();
    let documents: Vec<Vec<u32>> = ids(&tokenizer(), &lines).into_iter().map(|ids| [ids, vec![4]].concat()).collect();
    assert_eq!((file.documents(), file.vocab_size()), (2500, tokenizer().vocab_size()));
    assert_eq!(file.ids(whole(&file)).unwrap(), documents.concat());
    let rows: Vec<Vec<u32>> = file.rows(whole(&file)).unwrap().into_iter().map(|row| row.ids).collect();
    assert_eq!(rows, documents);
    // From within the second document to within the fourth.
    let start = documents[0].len() + 1;
    let length = documents[1].len() + documents[2].len() + 2;
    let parts: Vec<Vec<u32>> =
        file.rows(TokenBlock { start, length }).unwrap().into_iter().map(|row| row.ids).collect();
    assert_eq!(parts, [&documents[1][1..], &documents[2], &documents[3][..3]]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let again = TokenFile::open(folder.path().join("tokens.bin")).unwrap();
    assert_eq!(again.fingerprint(), file.fingerprint());
}

#[test]
fn paragraphs_are_documents_where_blank_lines_part_them() {
    let folder = temporary();
    let content = "my router drops\ntoday\n\n \nmy parcel waits\n\n";
    let file = create(folder.path(), content, DocumentEnd::BlankLine, None).unwrap();
    let texts = ["my router drops\ntoday", "my parcel waits"].map(String::from);
    assert_eq!(file.ids(whole(&file)).unwrap(), ids(&tokenizer(), &texts).concat());
    assert_eq!(file.documents(), 2);
}

#[test]
fn blocks_cover_the_file_and_no_others_are_read() {
    let folder = temporary();
    let file = create(folder.path(), &lines(40).join("\n"), DocumentEnd::Line, None).unwrap();
    let blocks = file.blocks(16);
    let read: Vec<u32> = blocks.iter().flat_map(|block| file.ids(*block).unwrap()).collect();
    let all = file.ids(whole(&file)).unwrap();
    assert!(all.len() - read.len() < 2 && read[..] == all[..read.len()]);
    assert!(file.blocks(file.len() - 1).len() == 1, "a single token has nothing to predict");
    for block in [TokenBlock { start: 1, length: file.len() }, TokenBlock { start: usize::MAX, length: 2 }] {
        assert!(matches!(file.ids(block), Err(DataError::NoBlock { .. })));
    }
}

#[test]
fn a_file_that_is_not_as_it_was_written_is_an_error() {
    let folder = temporary();
    create(folder.path(), &lines(9).join("\n"), DocumentEnd::Line, None).unwrap();
    let path = folder.path().join("tokens.bin");
    let good = std::fs::read(&path).unwrap();
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        TokenFile::open(&path)
    };
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        assert!(matches!(open(&bad), Err(DataError::BadTokenFile { .. })), "byte {at}");
    }
    for length in [0, 1, 50, 111, 112, good.len() - 1] {
        assert!(matches!(open(&good[..length]), Err(DataError::BadTokenFile { .. })), "{length} bytes");
    }
    assert!(matches!(open(&[good.clone(), vec![0]].concat()), Err(DataError::BadTokenFile { .. })));
    let error = open(&[7; 4000]).unwrap_err().to_string();
    assert!(error.contains("tokens.bin") && error.contains("TokenFile::create"), "{error}");
    assert!(matches!(TokenFile::open(folder.path().join("none")), Err(DataError::Io { .. })));
    let file = open(&good).unwrap();
    file.check(&tokenizer()).unwrap();
    let other = train_wordpiece(&lines(30), 120).unwrap();
    assert!(matches!(file.check(&other), Err(DataError::OtherTokenizer { .. })));
}

#[test]
fn a_text_that_cannot_be_tokenised_leaves_no_file() {
    let folder = temporary();
    std::fs::write(folder.path().join("text.txt"), b"fine\nnot \xFF text\n").unwrap();
    let make = |end| {
        let (path, text) = (folder.path().join("tokens.bin"), folder.path().join("text.txt"));
        TokenFile::create(path, text, &tokenizer(), DocumentEnd::Line, end)
    };
    assert!(matches!(make(None), Err(DataError::BadLine { line: 2, column: 5, .. })));
    assert!(matches!(make(Some(5000)), Err(DataError::NoToken { id: 5000, .. })));
    let empty = create(folder.path(), "\n \n", DocumentEnd::BlankLine, None);
    assert!(matches!(empty, Err(DataError::Empty { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_decoder_trains_on_blocks() {
    let folder = temporary();
    let file = Arc::new(create(folder.path(), &lines(60).join("\n"), DocumentEnd::Line, None).unwrap());
    let blocks = file.blocks(16);
    let objective = Blocks::new(CausalLanguage::new(&tokenizer()), file.clone());
    let draws = Draws::new(0, 0, &[0, 1]);
    let batch = |objective: &Blocks<CausalLanguage>| -> Batch<TextInput, _> {
        objective.batch(&[&blocks[0], &blocks[1]], &draws, &device()).unwrap()
    };
    assert!(batch(&objective).input.documents.is_none());
    let parted = objective.clone().by_document();
    assert!(batch(&parted).input.documents.is_some());
    assert_ne!(parted.fingerprint(&blocks[0]), objective.fingerprint(&blocks[0]));
    let config: <Gpt2 as FromPretrained>::Config = serde_json::from_value(json!({
        "model_type": "gpt2", "vocab_size": file.vocab_size(), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16
    }))
    .unwrap();
    for objective in [objective, parted] {
        let body = Gpt2::new(&config, Pooling::Mean, 1, &device());
        let mut model = Model::new(body, Gpt2::causal_lm(&config, 1, &device()));
        let (train, validation) = blocks.split_at(blocks.len() - 4);
        let data = Data { train, validation };
        let fit_config = Fit { epochs: 3, max_steps: None, ..fit_config(0, 1e-2) };
        let report = fit(&mut model, &objective, data, &Freeze::Nothing, &fit_config, &mut []).unwrap();
        let losses = (report.losses[0], report.evaluations.last().unwrap().summary.loss);
        assert!(losses.1 < 0.8 * losses.0, "{losses:?}");
    }
}
