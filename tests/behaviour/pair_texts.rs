//! Pairs of texts as one row: framed, cut, learned and asked.

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::data::{Labels, PairExample, sample_per_class, stratified_split};
use rekindle::head::Classifier;
use rekindle::objective::{Objective, TextClassification};
use rekindle::params::{Freeze, Rates};
use rekindle::predict::Predictor;
use rekindle::train::{Data, Fit, evaluate, fit};

use super::support::*;

/// The second text speaks of the same thing, or of another one: neither text says alone.
fn pairs(count: usize) -> Vec<PairExample> {
    let things = ["router", "invoice"];
    let pair = |index: usize| {
        let (first, same) = (index % 2, (index / 2).is_multiple_of(2));
        let second = if same { first } else { 1 - first };
        let label = if same { "same" } else { "other" };
        let text = |thing: usize, end: &str| format!("my {} {end}", things[thing]);
        let ends = ["drops again", "fails today", "waits before noon"];
        PairExample {
            first: text(first, ends[index / 4 % 3]),
            second: text(second, ends[index / 12 % 3]),
            label: Some(label.into()),
        }
    };
    (0..count).map(pair).collect()
}

fn task(max_length: usize) -> TextClassification {
    let labels = Labels::from_examples(&pairs(8)).unwrap();
    assert_eq!(labels.names(), ["other", "same"]);
    TextClassification::new(tokenizer(), labels, max_length).unwrap()
}

#[test]
fn a_pair_is_one_row_of_two_segments() {
    let (rows, cut) = task(32).encode_pairs(&pairs(4)).unwrap();
    let separator = tokenizer().sep_id().unwrap();
    for row in &rows {
        let ends: Vec<usize> = (0..row.row.len()).filter(|place| row.row.ids[*place] == separator).collect();
        assert_eq!((ends.len(), *ends.last().unwrap() + 1), (2, row.row.len()));
        assert!((0..row.row.len()).all(|place| row.row.type_ids[place] == u32::from(place > ends[0])));
    }
    assert_eq!((cut, rows[0].label, rows[2].label), (0, Some(1), Some(0)));
    let (short, cut) = task(8).encode_pairs(&pairs(4)).unwrap();
    assert!(cut == 4 && short.iter().all(|row| row.row.len() == 8));
    assert_ne!(task(32).fingerprint(&rows[0]), task(32).fingerprint(&rows[2]));
}

#[test]
fn pairs_are_split_and_drawn_by_label() {
    let (train, validation) = stratified_split(pairs(24), 0.25, 3).unwrap();
    let same = |examples: &[PairExample]| examples.iter().filter(|pair| pair.label.as_deref() == Some("same")).count();
    assert_eq!((train.len(), same(&train), validation.len(), same(&validation)), (18, 9, 6, 3));
    assert_eq!(same(&sample_per_class(&train, 4, 1).unwrap()), 4);
}

#[test]
fn a_run_learns_what_neither_text_says_alone() {
    let task = task(32);
    let all = pairs(96);
    let (rows, _) = task.encode_pairs(&all).unwrap();
    let (train, validation) = rows.split_at(72);
    let head = Classifier::new(32, 2, 3, &device()).with_dropout(0.0);
    let mut model: Model<Bert, Classifier> = Model::new(bert(2, 0.0, Pooling::Cls), head);
    let recipe = Fit { epochs: 40, batch_size: 12, rates: Rates::new(3e-3), ..Fit::default() };
    fit(&mut model, &task, Data { train, validation }, &Freeze::Nothing, &recipe, &mut []).unwrap();
    let scores = evaluate(&model, &task, validation, 8, 1).unwrap();
    assert!(scores.summary().accuracy.unwrap() > 0.9, "{:?}", scores.summary());
    let asked: Vec<(&str, &str)> = all[72..].iter().map(|pair| (pair.first.as_str(), pair.second.as_str())).collect();
    let answers = Predictor::new(&model, task.clone()).predict_pairs(&asked).unwrap();
    let classes: Vec<usize> = answers.iter().map(|answer| task.labels().index(&answer.label).unwrap()).collect();
    assert_eq!(classes, scores.predicted());
}
