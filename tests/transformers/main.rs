//! Transformers reads what is saved here, and computes the same logits from the same texts.
//!
//! Runs `benches/compare/check_saved.py` and `check_classes.py` with the Python that `REKINDLE_PYTHON` names, or that of the environment that
//! `benches/compare/setup` makes.

#![allow(clippy::unwrap_used)]

mod classes;
mod tasks;

use burn::tensor::Tensor;
use rekindle::backbone::{
    Albert, Backbone, Bert, BertConfig, DistilBert, Electra, MpNet, Pooling, Roberta, TextFeatures, TextInput,
};
use rekindle::checkpoint::{FromPretrained, load_reader, load_tagger, save_classifier, save_reader, save_tagger};
use rekindle::data::{Labels, TextExample, TextTokenizer, TokenRow, Windows, pad_rows};
use rekindle::head::{Classifier, SpanHead, TaskHead, TokenClassifier};
use rekindle::model::Model;
use rekindle::objective::{QuestionAnswering, TextClassification, TokenTagging, text_input};
use rekindle::params::{Freeze, Rates};
use rekindle::predict::Predictor;
use rekindle::train::{Data, Fit, fit};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TEXTS: [&str; 6] = [
    "the cat sat on the mat",
    "",
    "Hello École 中国, can't stop!",
    "[MASK] is not a word",
    "one, two; three (four) five? six!",
    "a text that is so long that its end will be cut, because it goes on and on and on and on and on and on and on",
];
const MAX_LENGTH: usize = 40;

/// A Python that can import Transformers, looked for once: the import takes seconds.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let named = std::env::var_os("REKINDLE_PYTHON").map(PathBuf::from);
    let made = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/rekindle/venv/bin/python"));
    let python = named.or(made)?;
    let imports = Command::new(&python).args(["-c", "import torch, transformers"]).output();
    imports.is_ok_and(|output| output.status.success()).then_some(python)
});

fn config<B: FromPretrained>(vocab_size: usize) -> B::Config {
    serde_json::from_value(serde_json::json!({
        "model_type": B::MODEL_TYPES[0], "vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 48, "pad_token_id": 0,
        "initializer_range": 0.2,
    }))
    .unwrap()
}

fn task() -> TextClassification {
    let json = fs::read_to_string(Path::new(ROOT).join("tests/fixtures/wordpiece_tokenizer.json")).unwrap();
    // Not what a BERT tokenizer does by default, so that Transformers has to keep to the file.
    let json = json.replace("\"lowercase\":true", "\"lowercase\":false");
    let tokenizer = TextTokenizer::from_bytes(&json).unwrap();
    let labels = Labels::from_names(["yes", "no", "perhaps"]).unwrap();
    TextClassification::new(tokenizer, labels, MAX_LENGTH).unwrap()
}

/// A few large steps, so that no bias is 0 and no norm weight 1.
fn trained<B>(config: &B::Config, pooling: Pooling, task: &TextClassification) -> Model<B, Classifier>
where
    B: FromPretrained + Backbone<Input = TextInput, Features = TextFeatures>,
{
    let device = rekindle::device("flex").unwrap();
    let mut model = Model::new(B::build(config, pooling, 5, &device), B::classifier(config, 3, 5, &device));
    let example = |(index, text): (usize, &&str)| TextExample {
        text: text.to_string(),
        label: Some(["yes", "no", "perhaps"][index % 3].into()),
    };
    let rows = task.encode(&TEXTS.iter().enumerate().map(example).collect::<Vec<_>>()).unwrap().0;
    let fit_config = Fit { epochs: 5, batch_size: 3, rates: Rates::new(2e-2), ..Fit::default() };
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, task, data, &Freeze::Nothing, &fit_config, &mut []).unwrap();
    model
}

fn check<B>(pooling: Pooling, arguments: &[&str])
where
    B: FromPretrained + Backbone<Input = TextInput, Features = TextFeatures>,
{
    let Some(python) = PYTHON.as_ref() else {
        eprintln!("skipped: no Python with torch and transformers; run benches/compare/setup or set REKINDLE_PYTHON");
        return;
    };
    let task = task();
    let config = config::<B>(task.tokenizer().vocab_size());
    let model = trained::<B>(&config, pooling, &task);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    save_classifier(&saved, &model, &config, &task, &Freeze::Nothing).unwrap();
    let predictor = Predictor::<B>::load_as(&saved, &rekindle::device("flex").unwrap()).unwrap();
    let logits = predictor.logits(&TEXTS).unwrap();
    let length = MAX_LENGTH.to_string();
    compare(python, folder.path(), &TEXTS, &logits, &[arguments, &["--max-length", &length]].concat());
}

/// Transformers loads `saved` in `folder` and gives these logits for these texts.
fn compare(python: &Path, folder: &Path, texts: &impl Serialize, logits: &[Vec<f64>], arguments: &[&str]) {
    assert!(logits.iter().flatten().any(|logit| logit.abs() > 0.1), "logits near 0 would agree whatever was loaded");
    let path = |name: &str| folder.join(name);
    fs::write(path("texts.json"), serde_json::to_vec(texts).unwrap()).unwrap();
    fs::write(path("expected.json"), serde_json::to_vec(logits).unwrap()).unwrap();
    let mut command = Command::new(python);
    command.arg(Path::new(ROOT).join("benches/compare/check_saved.py"));
    command.args([path("saved"), path("texts.json"), path("expected.json")]);
    command.args(["--tolerance", "1e-5"]).args(arguments);
    // Transformers copies remote code into its cache.
    command.env("HF_HOME", path("cache"));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    eprintln!("{arguments:?}: {said}");
}

/// Large weights, so that a part that is not loaded shows.
fn body(config: &BertConfig) -> Bert {
    Bert::new(config, Pooling::Cls, 5, &rekindle::device("flex").unwrap())
}

/// What a model makes of rows that are run one by one.
fn alone<H: TaskHead<TextFeatures>>(model: &Model<Bert, H>, rows: &[&TokenRow]) -> Vec<H::Output> {
    let device = rekindle::device("flex").unwrap();
    rows.iter().map(|row| model.forward(text_input(pad_rows(&[row], 0), &device))).collect()
}

#[test]
fn a_tagger_loads_unchanged() {
    let Some(python) = PYTHON.as_ref() else { return };
    let device = rekindle::device("flex").unwrap();
    let labels = Labels::from_names(["O", "B-X", "I-X"]).unwrap();
    let task = TokenTagging::new(task().tokenizer().clone(), labels, MAX_LENGTH).unwrap();
    let config = config::<Bert>(task.tokenizer().vocab_size());
    let model = Model::new(body(&config), TokenClassifier::new(32, 3, 5, &device));
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    save_tagger(&saved, &model, &config, &task, &Freeze::Nothing).unwrap();
    let words = |text: &&str| text.split(' ').map(String::from).collect::<Vec<_>>();
    let sentences: Vec<Vec<String>> = TEXTS.iter().filter(|text| !text.is_empty()).map(words).collect();
    let again = load_tagger::<Bert>(&saved, &device).unwrap();
    let lists: Vec<&[String]> = sentences.iter().map(Vec::as_slice).collect();
    let rows = again.task.tokenizer().encode_words(&lists, MAX_LENGTH).unwrap().rows;
    let logits = alone(&again.model, &rows.iter().collect::<Vec<_>>());
    let logits: Vec<Vec<f64>> = logits.into_iter().map(|logits| logits.into_data().iter::<f64>().collect()).collect();
    let length = MAX_LENGTH.to_string();
    compare(python, folder.path(), &sentences, &logits, &["--kind", "tags", "--max-length", &length]);
    let names = fs::read_to_string(saved.join("config.json")).unwrap();
    let names: serde_json::Value = serde_json::from_str(&names).unwrap();
    assert_eq!(names["id2label"]["1"], "B-X");
}

#[test]
fn a_model_that_finds_answers_loads_unchanged() {
    let Some(python) = PYTHON.as_ref() else { return };
    let device = rekindle::device("flex").unwrap();
    let windows = Windows { max_length: 48, stride: 8, max_question: 16 };
    let task = QuestionAnswering::new(task().tokenizer().clone(), windows).unwrap();
    let config = config::<Bert>(task.tokenizer().vocab_size());
    let model = Model::new(body(&config), SpanHead::new(32, 5, &device));
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    save_reader(&saved, &model, &config, &task, &Freeze::Nothing).unwrap();
    let pairs = [("who sat?", TEXTS[0]), ("what is that?", TEXTS[2]), ("how many?", TEXTS[4])];
    let again = load_reader::<Bert>(&saved, &device).unwrap();
    assert_eq!(again.task.windows(), windows);
    let encoded = again.task.tokenizer().encode_windows(&pairs, windows).unwrap();
    let rows: Vec<&TokenRow> = encoded.iter().map(|question| &question.windows[0].row).collect();
    let logits = alone(&again.model, &rows);
    let host = |logits: Tensor<2>| logits.into_data().iter::<f64>().collect::<Vec<_>>();
    let logits: Vec<Vec<f64>> =
        logits.into_iter().map(|logits| [host(logits.start), host(logits.end)].concat()).collect();
    compare(python, folder.path(), &pairs, &logits, &["--kind", "spans", "--max-length", "48"]);
}

#[test]
fn a_pooler_pooled_classifier_loads_unchanged() {
    check::<Bert>(Pooling::Pooler, &[]);
}

#[test]
fn a_mean_pooled_classifier_loads_with_its_own_code() {
    check::<Bert>(Pooling::Mean, &["--remote-code"]);
}

#[test]
fn a_cls_pooled_classifier_loads_with_its_own_code() {
    check::<Bert>(Pooling::Cls, &["--remote-code"]);
}

#[test]
fn a_roberta_classifier_loads_unchanged() {
    check::<Roberta>(Pooling::Cls, &[]);
}

#[test]
fn classifiers_of_its_kin_load_unchanged() {
    check::<DistilBert>(Pooling::Cls, &[]);
    check::<Electra>(Pooling::Cls, &[]);
    check::<Albert>(Pooling::Pooler, &[]);
    check::<MpNet>(Pooling::Cls, &[]);
}
