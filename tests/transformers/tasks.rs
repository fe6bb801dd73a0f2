//! Models for tasks of rows beside one class a text.

use super::{MAX_LENGTH, PYTHON, TEXTS, body, compare, config, task};
use burn::tensor::Tensor;
use rekindle::backbone::{Bert, Pooling, TextFeatures, TextInput};
use rekindle::checkpoint::{
    load_chooser, load_multi_label, load_regressor, save_chooser, save_multi_label, save_regressor,
};
use rekindle::data::Labels;
use rekindle::head::{Classifier, LabelLoss, MultipleChoice, NumberLoss, TaskHead};
use rekindle::model::Model;
use rekindle::objective::{ChoiceExample, Choosing, Draws, Objective, TextNumbers};
use rekindle::params::Freeze;

/// What a model makes of examples that are run one by one.
fn alone<O, H>(model: &Model<Bert, H>, task: &O, examples: &[O::Example]) -> Vec<Vec<f64>>
where
    O: Objective<Input = TextInput>,
    H: TaskHead<TextFeatures, Output = Tensor<2>, Targets = O::Targets>,
{
    let device = rekindle::device("flex").unwrap();
    let batch = |example| task.batch(&[example], &Draws::new(0, 0, &[0]), &device).unwrap().input;
    let outputs = examples.iter().map(|example| model.forward(batch(example)).into_data().iter::<f64>().collect());
    outputs.collect()
}

#[test]
fn numbers_load_unchanged() {
    let Some(python) = PYTHON.as_ref() else { return };
    let (device, tokenizer) = (rekindle::device("flex").unwrap(), task().tokenizer().clone());
    let (config, task) = (config::<Bert>(tokenizer.vocab_size()), TextNumbers::new(tokenizer, 2, MAX_LENGTH).unwrap());
    let head = Classifier::new(32, 2, 5, &device).for_numbers(NumberLoss::default()).unwrap();
    let body = Bert::new(&config, Pooling::Pooler, 5, &device);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    save_regressor(&saved, &Model::new(body, head), &config, &task, &Freeze::Nothing).unwrap();
    let again = load_regressor::<Bert>(&saved, &device).unwrap();
    let rows = task.encode(&TEXTS.map(|text| (text, vec![0.0; 2]))).unwrap();
    let length = MAX_LENGTH.to_string();
    compare(python, folder.path(), &TEXTS, &alone(&again.model, &again.task, &rows), &["--max-length", &length]);
}

#[test]
fn several_labels_load_with_their_own_code() {
    let Some(python) = PYTHON.as_ref() else { return };
    let (device, tokenizer) = (rekindle::device("flex").unwrap(), task().tokenizer().clone());
    let (config, task) = (config::<Bert>(tokenizer.vocab_size()), TextNumbers::new(tokenizer, 2, MAX_LENGTH).unwrap());
    let head = Classifier::new(32, 2, 5, &device).for_labels(LabelLoss::default()).unwrap();
    let labels = Labels::from_names(["late", "rude"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    save_multi_label(&saved, &Model::new(body(&config), head), &config, &task, &labels, &Freeze::Nothing).unwrap();
    let again = load_multi_label::<Bert>(&saved, &device).unwrap();
    let rows = task.encode(&TEXTS.map(|text| (text, vec![0.0; 2]))).unwrap();
    let logits = alone(&again.model, &again.task, &rows);
    compare(python, folder.path(), &TEXTS, &logits, &["--remote-code", "--max-length", &MAX_LENGTH.to_string()]);
}

#[test]
fn choices_load_unchanged() {
    let Some(python) = PYTHON.as_ref() else { return };
    let (device, tokenizer) = (rekindle::device("flex").unwrap(), task().tokenizer().clone());
    let (config, task) = (config::<Bert>(tokenizer.vocab_size()), Choosing::new(tokenizer, 2, MAX_LENGTH).unwrap());
    let model = Model::new(Bert::new(&config, Pooling::Pooler, 5, &device), MultipleChoice::new(32, 2, 5, &device));
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    save_chooser(&saved, &model, &config, &task, &Freeze::Nothing).unwrap();
    let again = load_chooser::<Bert>(&saved, None, &device).unwrap();
    let questions = [(TEXTS[0], [TEXTS[2], TEXTS[4]]), (TEXTS[3], [TEXTS[0], TEXTS[2]])];
    let example = |(question, choices): (&str, [&str; 2])| ChoiceExample {
        question: question.into(),
        choices: choices.map(String::from).to_vec(),
        right: 0,
    };
    let rows = task.encode(&questions.map(example)).unwrap();
    let scores = alone(&again.model, &again.task, &rows);
    let length = MAX_LENGTH.to_string();
    compare(python, folder.path(), &questions, &scores, &["--kind", "choices", "--max-length", &length]);
}
