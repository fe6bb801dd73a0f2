//! Every reader of files, as a function of a file's bytes. Used by the mutations of this folder and by the targets of `fuzz`.
//!
//! A reader may refuse; what it must not do is panic, or take memory or time that its input does not account for.

use std::fs;
use std::path::{Path, PathBuf};

use rekindle::checkpoint::{Tensors, gguf_metadata};
use rekindle::data::{Columns, TextTokenizer, read_conll, read_csv, read_jsonl, read_lines, read_tagged};

/// A reader, and sound inputs to start from.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&[u8]),
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

pub(crate) const READERS: [Reader; 9] = [
    Reader {
        name: "safetensors",
        read: tensors,
        seeds: || fixtures(&["torch/expected.safetensors", "bert_mlm/model.safetensors"]),
    },
    Reader { name: "shard_index", read: shard_index, seeds: || vec![INDEX.into()] },
    Reader {
        name: "torch",
        read: tensors,
        seeds: || {
            fixtures(&[
                "torch/plain.bin",
                "torch/module.bin",
                "torch/trainer.bin",
                "torch/legacy.bin",
                "torch/evil.bin",
            ])
        },
    },
    Reader { name: "gguf", read: gguf, seeds: || fixtures(&["gguf/all.gguf"]) },
    Reader { name: "config", read: config, seeds: || fixtures(&["bert_mlm/config.json", "roberta/config.json"]) },
    Reader { name: "tokenizer", read: tokenizer, seeds: || fixtures(&["wordpiece_tokenizer.json"]) },
    Reader {
        name: "vocabulary",
        read: vocabulary,
        seeds: || vec![b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nthe\n".into()],
    },
    Reader {
        name: "tables",
        read: tables,
        seeds: || {
            vec![
                b"text,label\nthe parcel,a\n\"a, \"\"b\"\"\n\",b\n".into(),
                b"{\"text\": \"x\", \"label\": \"a\"}\n{\"text\": \"\\u00e4\", \"label\": 1}\n".into(),
                "text\tlabel\n\u{feff}\u{e4}\ta\r\n".into(),
            ]
        },
    },
    Reader {
        name: "tagged",
        read: tagged,
        seeds: || {
            vec![
                b"-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter B-PER\n".into(),
                b"{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\", \"B-X\"]}\n".into(),
            ]
        },
    },
];

const INDEX: &[u8] =
    br#"{"metadata": {"total_size": 8}, "weight_map": {"a": "1.safetensors", "b.c": "2.safetensors"}}"#;

fn fixtures(names: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    names.iter().map(|name| fs::read(folder.join(name)).expect("a fixture")).collect()
}

/// The bytes as a file of a folder that goes with the guard.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    (folder, path)
}

/// All that [`Tensors`] gives of a file.
pub(crate) fn tensors(bytes: &[u8]) {
    let (_folder, path) = file("a", bytes);
    let Ok(tensors) = Tensors::open_file(path) else { return };
    for key in tensors.keys() {
        let count = tensors.shape(key).map(|shape| shape.iter().product::<usize>()).expect("there");
        assert!(tensors.bytes(key).is_ok());
        for length in [tensors.f32(key).map(|v| v.len()), tensors.i64(key).map(|v| v.len())].into_iter().flatten() {
            assert_eq!(length, count);
        }
        let _ = tensors.finite_f32(key);
    }
}

pub(crate) fn gguf(bytes: &[u8]) {
    let (_folder, path) = file("a", bytes);
    let _ = gguf_metadata(path);
    tensors(bytes);
}

pub(crate) fn shard_index(bytes: &[u8]) {
    let (folder, _) = file("model.safetensors.index.json", bytes);
    let shard = |name: &str, key: &str| {
        let tensor = (key.to_string(), vec![1], vec![1.0]);
        rekindle::checkpoint::save_tensors(folder.path().join(name), [tensor], &[]).expect("saved");
    };
    shard("1.safetensors", "a");
    shard("2.safetensors", "b.c");
    let _ = Tensors::open_folder(folder.path());
}

pub(crate) fn config(bytes: &[u8]) {
    use rekindle::backbone::{Bert, Roberta};
    let (folder, path) = file("config.json", bytes);
    let none = folder.path().join("model.safetensors");
    rekindle::checkpoint::save_tensors(none, [], &[]).expect("saved");
    let Ok(checkpoint) = rekindle::checkpoint::Checkpoint::open_with_config(folder.path(), path) else { return };
    let _ = (checkpoint.config::<Bert>(), checkpoint.config::<Roberta>());
    let _ = (checkpoint.label_names(), checkpoint.architectures(), checkpoint.model_type());
}

/// What a tokenizer does with a text; `tokenizers` itself is made of its JSON.
pub(crate) fn tokenizer(bytes: &[u8]) {
    let Ok(tokenizer) = TextTokenizer::from_bytes(bytes) else { return };
    let _ = tokenizer.encode(&["the parcel is late", "\u{e4}\u{1f600} x"], 8);
}

pub(crate) fn vocabulary(bytes: &[u8]) {
    let (folder, _) = file("vocab.txt", bytes);
    let Ok(tokenizer) = TextTokenizer::from_folder(folder.path()) else { return };
    let _ = tokenizer.encode(&["the parcel is late", "\u{e4}\u{1f600} x"], 8);
}

pub(crate) fn tables(bytes: &[u8]) {
    let columns = Columns::default();
    for name in ["a.csv", "a.tsv"] {
        let (_folder, path) = file(name, bytes);
        let _ = read_csv(path, &columns);
    }
    let (_folder, path) = file("a.jsonl", bytes);
    let _ = (read_jsonl(&path, &columns), read_lines(&path));
}

pub(crate) fn tagged(bytes: &[u8]) {
    let (_folder, path) = file("a.conll", bytes);
    let _ = read_conll(path);
    let (_folder, path) = file("a.jsonl", bytes);
    let _ = read_tagged(path, "tokens", "tags");
}
