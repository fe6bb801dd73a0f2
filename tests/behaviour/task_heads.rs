//! Heads on tokens: Transformers' outputs and losses, and what is ignored.

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Int, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, InputError, Pooling, TextFeatures, TextInput};
use rekindle::checkpoint::{Checkpoint, Tensors};
use rekindle::head::{CausalLm, IGNORED, SpanHead, SpanTargets, TaskHead, TokenClassifier};
use rekindle::metric::Scores;

use super::support::device;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn ints<const D: usize>(file: &Tensors, key: &str) -> Tensor<D, Int> {
    let shape = file.shape(key).unwrap().to_vec();
    Tensor::from_data(TensorData::new(file.i64(key).unwrap(), shape), &device())
}

/// The features of a fixture's batch under its loaded model, the head, its inputs and what is expected.
fn fixture<H: Module + ModuleDisplay>(name: &str, head: H) -> (TextFeatures, H, Tensors, Tensors) {
    let checkpoint = Checkpoint::open(folder(name)).unwrap();
    let config = checkpoint.config::<Bert>().unwrap();
    let fresh = Model { backbone: Bert::new(&config, Pooling::Cls, 0, &device()), head };
    let Model { backbone, head } = checkpoint.model(&fresh).unwrap().module;
    let inputs = Tensors::open_file(folder(name).join("inputs.safetensors")).unwrap();
    let input = TextInput {
        ids: ints(&inputs, "input_ids"),
        type_ids: ints(&inputs, "token_type_ids"),
        mask: ints::<2>(&inputs, "attention_mask").bool(),
        documents: None,
    };
    let expected = Tensors::open_file(folder(name).join("expected.safetensors")).unwrap();
    (backbone.forward(input), head, inputs, expected)
}

fn near<const D: usize>(found: Tensor<D>, expected: &Tensors, key: &str) {
    let found: Vec<f32> = found.into_data().iter::<f32>().collect();
    let expected = expected.f32(key).unwrap();
    assert_eq!(found.len(), expected.len(), "{key}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 2e-5, "{key}: {found} is not {expected}");
    }
}

fn value(loss: rekindle::loss::Loss) -> f32 {
    loss.mean().into_scalar::<f32>()
}

#[test]
fn token_classes_are_those_of_transformers() {
    let head = TokenClassifier::new(32, 5, 1, &device()).with_dropout(0.0);
    let (features, head, inputs, expected) = fixture("bert_tokcls", head);
    near(head.forward(features.clone()), &expected, "logits");
    let labels = ints::<2>(&inputs, "labels");
    TaskHead::<TextFeatures>::check(&head, &labels).unwrap();
    near(head.loss(features.clone(), labels.clone()).mean(), &expected, "loss");
    let labelled = inputs.i64("labels").unwrap().into_iter().filter(|label| *label != IGNORED).count();
    assert!(labelled < 48, "the fixture ignores some tokens");
    let mut scores = Scores::default();
    head.score(features, labels, &mut scores);
    assert_eq!(scores.actual().len(), labelled);
    assert!((scores.summary().loss - f64::from(expected.f32("loss").unwrap()[0])).abs() < 2e-5);
}

#[test]
fn spans_are_those_of_transformers() {
    let (features, head, inputs, expected) = fixture("bert_qa", SpanHead::new(32, 1, &device()));
    let logits = head.forward(features.clone());
    near(logits.start, &expected, "start_logits");
    near(logits.end, &expected, "end_logits");
    let targets = SpanTargets { start: ints(&inputs, "start_positions"), end: ints(&inputs, "end_positions") };
    near(head.loss(features, targets).mean(), &expected, "loss");
}

fn features(batch: usize, seq: usize) -> TextFeatures {
    let values: Vec<f32> = (0..batch * seq * 4).map(|at| (at as f32 * 0.7).sin()).collect();
    TextFeatures {
        hidden: Tensor::from_data(TensorData::new(values, [batch, seq, 4]), &device()),
        mask: Tensor::<2, Int>::ones([batch, seq], &device()).bool(),
        pooler_output: None,
        pooling: Pooling::Mean,
        token_embedding: Tensor::zeros([3, 4], &device()),
    }
}

fn places(values: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device())
}

#[test]
fn ends_outside_the_row_count_nothing() {
    let head = SpanHead::new(4, 3, &device());
    let loss = |start: &[i64], end: &[i64], rows: usize| {
        head.loss(features(rows, 5), SpanTargets { start: places(start), end: places(end) })
    };
    let (alone, beside) = (loss(&[1], &[3], 1), loss(&[1, 5], &[3, 99], 2));
    assert_eq!((alone.weight, beside.weight), (1.0, 1.0));
    assert!((value(alone) - value(beside)).abs() < 1e-6);
    assert_eq!(value(loss(&[-7], &[3], 1)), value(loss(&[0], &[3], 1)));
    assert_eq!(loss(&[5], &[5], 1).weight, 0.0);
    // One end of one row outside: each side is the mean over what is left to it.
    let (start, end) = (loss(&[1, 2], &[9, 9], 2), loss(&[9, 9], &[3, 9], 2));
    let both = value(loss(&[1, 2], &[3, 9], 2));
    assert!((both - (value(start) + value(end))).abs() < 1e-6);
    let mut scores = Scores::default();
    head.score(features(2, 5), SpanTargets { start: places(&[1, 9]), end: places(&[3, 9]) }, &mut scores);
    assert!(scores.summary().accuracy.is_some());
    let uneven = SpanTargets { start: places(&[1, 2]), end: places(&[3]) };
    assert!(matches!(TaskHead::<TextFeatures>::check(&head, &uneven), Err(InputError::ShapeMismatch { .. })));
}

#[test]
fn labels_that_the_head_lacks_are_refused_and_ignored_ones_count_nothing() {
    let head = TokenClassifier::new(4, 3, 1, &device()).with_dropout(0.0);
    let labels = |values: [[i32; 3]; 1]| Tensor::<2, Int>::from_ints(values, &device());
    let check = |values| TaskHead::<TextFeatures>::check(&head, &labels(values));
    assert_eq!(check([[0, -100, 2]]), Ok(()));
    assert_eq!(check([[0, 3, 2]]), Err(InputError::ClassOutOfRange { class: 3, classes: 3 }));
    assert_eq!(check([[0, -1, 2]]), Err(InputError::ClassOutOfRange { class: -1, classes: 3 }));
    let nothing = head.loss(features(1, 3), labels([[-100; 3]]));
    assert_eq!((nothing.weight, nothing.sum.into_scalar::<f32>()), (0.0, 0.0));
    assert!(value(head.loss(features(1, 4), labels([[0, 1, 2]]))).is_nan(), "one label a token");
    let mut scores = Scores::default();
    head.score(features(1, 4), labels([[0, 1, 2]]), &mut scores);
    assert!(scores.summary().loss.is_nan());
}

#[test]
fn each_token_is_predicted_by_the_place_before_it() {
    let mut read = features(2, 4);
    read.token_embedding =
        Tensor::<2>::from_floats([[0.3, -1.0, 2.0, 0.1], [1.5, 0.2, -0.4, 1.0], [0.7; 4]], &device());
    let labels = [[1_i32, 0, 2, -100], [-100, 2, -100, 1]];
    let tied = || CausalLm::tied(3);
    for head in [tied(), tied().with_scale(0.25), tied().with_soft_cap(1.5), CausalLm::untied(4, 3, 5, &device())] {
        let logits: Vec<f64> = head.forward(read.clone()).into_data().iter::<f64>().collect();
        let (mut sum, mut right) = (0.0, 0);
        for (row, place, token) in [(0, 1, 0), (0, 2, 2), (1, 1, 2), (1, 3, 1)] {
            let logits = &logits[(row * 4 + place - 1) * 3..][..3];
            sum += logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[token];
            right += usize::from((0..3).all(|other| logits[other] <= logits[token]));
        }
        let targets = Tensor::<2, Int>::from_ints(labels, &device());
        let loss = head.loss(read.clone(), targets.clone());
        assert_eq!(loss.weight, 4.0);
        assert!((f64::from(loss.sum.into_scalar::<f32>()) - sum).abs() < 1e-5, "{head:?}");
        let mut scores = Scores::default();
        head.score(read.clone(), targets, &mut scores);
        assert_eq!(scores.summary().accuracy, Some(right as f64 / 4.0));
    }
    let plain: Vec<f32> = tied().forward(read.clone()).into_data().iter::<f32>().collect();
    let capped: Vec<f32> = tied().with_soft_cap(1.5).forward(read.clone()).into_data().iter::<f32>().collect();
    assert!(plain.iter().zip(&capped).all(|(plain, capped)| (1.5 * (plain / 1.5).tanh() - capped).abs() < 1e-5));
    let only_first = Tensor::<2, Int>::from_ints([[1, -100, -100, -100]; 2], &device());
    assert_eq!(tied().loss(read, only_first).weight, 0.0);
    let check = |id: i32| TaskHead::<TextFeatures>::check(&tied(), &Tensor::from_ints([[0, id]], &device()));
    assert_eq!(check(-100), Ok(()));
    assert_eq!(check(3), Err(InputError::IdOutOfRange { kind: "token", id: 3, entries: 3 }));
}
