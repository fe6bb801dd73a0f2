//! Texts that are read one by one and compared by their vectors.

use burn::tensor::{Int, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{Backbone, InputError, Pooled, Pooling, TextFeatures};
use rekindle::data::{Labels, PairExample, pad_rows};
use rekindle::head::{PairClassifier, PairLoss, SentenceEmbedder, TaskHead};
use rekindle::loss::LossError;
use rekindle::metric::Scores;
use rekindle::objective::{TextSimilarity, TwoTextClassification, text_input};
use rekindle::params::{Freeze, Rates};
use rekindle::predict::Embedder;
use rekindle::train::{Data, Fit, evaluate, fit};

use super::support::*;

fn features(rows: &[[f32; 2]]) -> TextFeatures {
    let values: Vec<f32> = rows.iter().flatten().copied().collect();
    TextFeatures {
        hidden: Tensor::from_data(TensorData::new(values, [rows.len(), 1, 2]), &device()),
        mask: Tensor::<2, Int>::ones([rows.len(), 1], &device()).bool(),
        pooler_output: None,
        pooling: Pooling::Mean,
        token_embedding: Tensor::zeros([3, 2], &device()),
    }
}

fn scores(values: &[f32]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), &device())
}

fn cosine(a: [f32; 2], b: [f32; 2]) -> f64 {
    let [a, b] = [a, b].map(|vector| vector.map(f64::from));
    (a[0] * b[0] + a[1] * b[1]) / (a[0].hypot(a[1]) * b[0].hypot(b[1]))
}

/// Two pairs: rows 0 and 2, rows 1 and 3.
const ROWS: [[f32; 2]; 4] = [[1.0, 0.5], [-0.3, 2.0], [2.0, -0.5], [0.1, 0.7]];

#[test]
fn pairs_are_rows_of_both_halves() {
    let loss = |loss, rows: &[[f32; 2]], targets: &[f32]| {
        let head = SentenceEmbedder::new(loss).unwrap();
        f64::from(head.loss(features(rows), scores(targets)).mean().into_scalar::<f32>())
    };
    let (one, two) = (cosine(ROWS[0], ROWS[2]), cosine(ROWS[1], ROWS[3]));
    let by_hand = ((one - 0.2).powi(2) + (two - 0.9).powi(2)) / 2.0;
    assert!((loss(PairLoss::Cosine, &ROWS, &[0.2, 0.9]) - by_hand).abs() < 1e-6);
    let by_hand = (1.0 + (5.0 * (one - two)).exp()).ln();
    assert!((loss(PairLoss::Cosent { scale: 5.0 }, &ROWS, &[0.2, 0.9]) - by_hand).abs() < 1e-5);
    // Each first text among all others, a text without a pair being one more wrong answer.
    let more = [ROWS.as_slice(), &[[0.4, -1.0]]].concat();
    let entropy = |anchor: usize, right: usize| {
        let exponents: Vec<f64> = more[2..].iter().map(|row| (3.0 * cosine(ROWS[anchor], *row)).exp()).collect();
        exponents.iter().sum::<f64>().ln() - exponents[right].ln()
    };
    let by_hand = (entropy(0, 0) + entropy(1, 1)) / 2.0;
    assert!((loss(PairLoss::InBatchNegatives { scale: 3.0 }, &more, &[1.0, 1.0]) - by_hand).abs() < 1e-5);
    assert!(loss(PairLoss::Cosine, &more, &[1.0, 1.0]).is_nan(), "a row too many");
    assert!(loss(PairLoss::default(), &ROWS, &[1.0; 3]).is_nan(), "a row too few");

    let head = SentenceEmbedder::new(PairLoss::Cosine).unwrap();
    let mut seen = Scores::default();
    head.score(features(&ROWS), scores(&[0.2, 0.9]), &mut seen);
    assert!((seen.regression(0).unwrap().mse() - ((one - 0.2).powi(2) + (two - 0.9).powi(2)) / 2.0).abs() < 1e-6);
    let check = TaskHead::<TextFeatures>::check(&head, &scores(&[f32::NAN]));
    assert!(matches!(check, Err(InputError::BadTarget { row: 0, .. })));
    let scale = SentenceEmbedder::new(PairLoss::Cosent { scale: 0.0 });
    assert!(matches!(scale, Err(LossError::BadOption { option: "scale", .. })));
}

#[test]
fn a_pair_classifier_reads_both_vectors_and_their_difference() {
    let head = PairClassifier::new(2, 3, 4, &device());
    let logits = head.forward(features(&ROWS));
    assert_eq!(logits.dims(), [2, 3]);
    let one: Vec<f32> = logits.clone().narrow(0, 1, 1).into_data().iter::<f32>().collect();
    let alone: Vec<f32> = head.forward(features(&[ROWS[1], ROWS[3]])).into_data().iter::<f32>().collect();
    assert!(difference(&one, &alone) < 1e-6, "pairs do not mix");
    let turned: Vec<f32> = head.forward(features(&[ROWS[3], ROWS[1]])).into_data().iter::<f32>().collect();
    assert!(difference(&one, &turned) > 1e-3, "first and second text differ");
    let classes =
        |classes: &[i64]| Tensor::<1, Int>::from_data(TensorData::new(classes.to_vec(), [classes.len()]), &device());
    assert!(head.loss(features(&ROWS), classes(&[0])).mean().into_scalar::<f32>().is_nan());
    let check = TaskHead::<TextFeatures>::check(&head, &classes(&[3]));
    assert_eq!(check, Err(InputError::ClassOutOfRange { class: 3, classes: 3 }));
}

#[test]
fn runs_learn_which_texts_belong_together() {
    let thing = |index: usize, end: &str| format!("my {} {end}", ["router", "invoice", "parcel", "refund"][index % 4]);
    let pairs: Vec<(String, String, f32)> = (0..24)
        .map(|index| {
            let other = if index % 3 == 0 { index } else { index + index % 3 };
            let alike = f32::from(u8::from(index % 3 == 0));
            (thing(index, "drops again"), thing(other, "waits today"), alike)
        })
        .collect();
    let recipe = Fit { epochs: 20, batch_size: 8, rates: Rates::new(2e-3), ..Fit::default() };
    let task = TextSimilarity::new(tokenizer(), 16).unwrap();
    let rows = task.encode(&pairs).unwrap();
    let head = SentenceEmbedder::new(PairLoss::Cosent { scale: 20.0 }).unwrap();
    let mut model = Model::new(bert(2, 0.0, Pooling::Mean), head);
    let loss = |model: &_| evaluate(model, &task, &rows, 8, 1).unwrap().summary().loss;
    let before = loss(&model);
    let data = Data { train: &rows[..], validation: &[] };
    fit(&mut model, &task, data, &Freeze::Nothing, &recipe, &mut []).unwrap();
    assert!(loss(&model) < before / 4.0, "{} was {before}", loss(&model));

    let embedder = Embedder::new(&model, tokenizer(), 16);
    let texts: Vec<&str> = pairs.iter().map(|pair| pair.0.as_str()).chain(["my"]).collect();
    let vectors = embedder.embed(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&vectors) {
        let row = tokenizer().encode(&[text], 16).unwrap().rows.remove(0);
        let pooled = model.backbone.forward(text_input(pad_rows(&[&row], 0), &device())).pooled();
        let pooled: Vec<f32> = pooled.into_data().iter::<f32>().collect();
        let length = pooled.iter().map(|value| value * value).sum::<f32>().sqrt();
        let expected: Vec<f32> = pooled.iter().map(|value| value / length).collect();
        assert!(difference(vector, &expected) < 1e-5, "{text}");
    }

    let named = |(first, second, alike): &(String, String, f32)| PairExample {
        first: first.clone(),
        second: second.clone(),
        label: Some(if *alike > 0.5 { "same" } else { "other" }.into()),
    };
    let pairs: Vec<PairExample> = pairs.iter().map(named).collect();
    let task = TwoTextClassification::new(tokenizer(), Labels::from_examples(&pairs).unwrap(), 16).unwrap();
    let rows = task.encode(&pairs).unwrap();
    let mut model = Model::new(bert(2, 0.0, Pooling::Mean), PairClassifier::new(32, 2, 1, &device()));
    let loss = |model: &_| evaluate(model, &task, &rows, 8, 1).unwrap().summary().loss;
    let (before, recipe) = (loss(&model), Fit { epochs: 60, ..recipe });
    fit(&mut model, &task, Data { train: &rows[..], validation: &[] }, &Freeze::Nothing, &recipe, &mut []).unwrap();
    assert!(loss(&model) < 0.8 * before, "{} was {before}", loss(&model));
}
