//! Files that a training run leaves: its checkpoints, and its cache of what frozen stages make. They are read by going on with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rekindle::Model;
use rekindle::backbone::{Bert, BertConfig, Pooling};
use rekindle::cache::Cache;
use rekindle::data::{Labels, TextExample, train_wordpiece};
use rekindle::head::Classifier;
use rekindle::objective::{LabelledRow, TextClassification};
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, SaveEvery, fit};

use super::readers::Reader;

pub(crate) const READERS: [Reader; 2] = [
    Reader { name: "run", read: run, seeds: || seeds(saved_run()) },
    Reader { name: "cache", read: cache, seeds: || seeds(saved_cache()) },
];

struct Small {
    task: TextClassification,
    rows: Vec<LabelledRow>,
    config: BertConfig,
}

fn small() -> &'static Small {
    static SMALL: OnceLock<Small> = OnceLock::new();
    SMALL.get_or_init(|| {
        let texts = ["the parcel is late", "the invoice is wrong", "a parcel", "an invoice"];
        let examples = texts.iter().zip(["a", "b"].into_iter().cycle());
        let examples: Vec<_> =
            examples.map(|(text, label)| TextExample { text: text.to_string(), label: Some(label.into()) }).collect();
        let tokenizer = train_wordpiece(&texts.map(String::from), 60).unwrap();
        let config = serde_json::json!({
            "vocab_size": tokenizer.vocab_size(), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "max_position_embeddings": 16, "pad_token_id": 0, "model_type": "bert",
        });
        let task = TextClassification::new(tokenizer, Labels::from_examples(&examples).unwrap(), 12).unwrap();
        let rows = task.encode(&examples).unwrap().0;
        Small { task, rows, config: serde_json::from_value(config).unwrap() }
    })
}

/// Trains, or goes on, and may refuse.
fn train(freeze: &Freeze, change: impl FnOnce(Fit) -> Fit) {
    let Small { task, rows, config } = small();
    let device = rekindle::device("flex").unwrap();
    let mut model = Model::new(Bert::new(config, Pooling::Mean, 1, &device), Classifier::new(8, 2, 1, &device));
    let recipe = change(Fit { epochs: 1, batch_size: 2, bucket: true, ..Fit::default() });
    let _ = fit(&mut model, task, Data { train: rows, validation: &rows[..2] }, freeze, &recipe, &mut []);
}

fn in_run(folder: &Path) -> impl FnOnce(Fit) -> Fit {
    let folder = Some(folder.to_path_buf());
    |fit| Fit { folder, save_every: Some(SaveEvery::Steps(1)), resume: true, ..fit }
}

fn in_cache(folder: &Path) -> impl FnOnce(Fit) -> Fit {
    let cache = Cache::folder(folder);
    |fit| Fit { cache, ..fit }
}

/// A folder that lasts as long as the process.
fn saved_run() -> &'static Path {
    static SAVED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        train(&Freeze::Nothing, in_run(folder.path()));
        folder
    };
    SAVED.get_or_init(make).path()
}

fn saved_cache() -> &'static Path {
    static SAVED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        train(&Freeze::Backbone, in_cache(folder.path()));
        folder
    };
    SAVED.get_or_init(make).path()
}

/// The files under a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Each file, behind a byte that says which one it is.
fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let files = files(folder);
    assert!(!files.is_empty(), "nothing was saved");
    files.iter().zip(0..).map(|(path, number): (_, u8)| [&[number], &fs::read(path).unwrap()[..]].concat()).collect()
}

/// A copy of the folder with one file replaced.
fn with_file(saved: &Path, bytes: &[u8]) -> Option<tempfile::TempDir> {
    let (number, bytes) = bytes.split_first()?;
    let files = files(saved);
    let changed = usize::from(*number) % files.len();
    let folder = tempfile::tempdir().unwrap();
    for (place, path) in files.iter().enumerate() {
        let to = folder.path().join(path.strip_prefix(saved).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        match place == changed {
            true => fs::write(to, bytes).unwrap(),
            false => drop(fs::copy(path, to).unwrap()),
        }
    }
    Some(folder)
}

fn run(bytes: &[u8]) {
    let Some(folder) = with_file(saved_run(), bytes) else { return };
    train(&Freeze::Nothing, in_run(folder.path()));
}

fn cache(bytes: &[u8]) {
    let Some(folder) = with_file(saved_cache(), bytes) else { return };
    train(&Freeze::Backbone, in_cache(folder.path()));
}
