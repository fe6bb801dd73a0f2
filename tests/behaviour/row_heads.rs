//! Heads of one answer a row beside one class: numbers, several labels, one of several choices.

use burn::tensor::{Int, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{InputError, Pooling, TextFeatures, TextInput};
use rekindle::data::{DataError, Labels};
use rekindle::head::{Classifier, LabelLoss, MultipleChoice, NumberLoss, RowLoss, TaskHead};
use rekindle::loss::{Loss, LossError};
use rekindle::metric::{Average, Scores};
use rekindle::objective::{ChoiceExample, Choosing, Objective, TextNumbers};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Data, Fit, evaluate, fit};

use super::support::*;

/// Pooled features are the first token, which is all there is.
fn features(rows: &[[f32; 2]]) -> TextFeatures {
    let values: Vec<f32> = rows.iter().flatten().copied().collect();
    let batch = rows.len();
    TextFeatures {
        hidden: Tensor::from_data(TensorData::new(values, [batch, 1, 2]), &device()),
        mask: Tensor::<2, Int>::ones([batch, 1], &device()).bool(),
        pooler_output: None,
        pooling: Pooling::Cls,
        token_embedding: Tensor::zeros([3, 2], &device()),
    }
}

fn table<const R: usize, const C: usize>(values: [[f32; C]; R]) -> Tensor<2> {
    Tensor::from_floats(values, &device())
}

fn values(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn mean(loss: Loss) -> f64 {
    f64::from(loss.mean().into_scalar::<f32>())
}

fn head() -> Classifier {
    Classifier::new(2, 2, 3, &device()).with_dropout(0.0)
}

const ROWS: [[f32; 2]; 3] = [[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5]];

#[test]
fn numbers_are_compared_over_rows_and_outputs() {
    let targets = [[0.1_f32, -2.0], [1.0, 3.0], [-0.5, 0.0]];
    let errors = |found: &[f64]| -> Vec<f64> {
        found.iter().zip(targets.iter().flatten()).map(|(found, target)| found - f64::from(*target)).collect()
    };
    let share = |errors: &[f64], of: fn(f64) -> f64| errors.iter().map(|error| of(*error)).sum::<f64>() / 6.0;
    type Formula = fn(f64) -> f64;
    let cases: [(NumberLoss, Formula); 5] = [
        (NumberLoss::Squared, |error| error * error),
        (NumberLoss::Absolute, f64::abs),
        (NumberLoss::Huber { delta: 0.5 }, |error| {
            if error.abs() < 0.5 { error * error / 2.0 } else { 0.5 * (error.abs() - 0.25) }
        }),
        (NumberLoss::LogCosh, |error| error.cosh().ln()),
        (NumberLoss::Pinball { quantile: 0.9 }, |error| if error < 0.0 { -0.9 * error } else { 0.1 * error }),
    ];
    for (loss, by_hand) in cases {
        let head = head().for_numbers(loss).unwrap();
        let errors = errors(&values(head.forward(features(&ROWS))));
        let found = head.loss(features(&ROWS), table(targets));
        assert_eq!(found.weight, 6.0);
        assert!((mean(found) - share(&errors, by_hand)).abs() < 1e-6, "{loss:?}");
    }
    let head = head().for_numbers(NumberLoss::default()).unwrap();
    let mut scores = Scores::default();
    head.score(features(&ROWS), table(targets), &mut scores);
    let second = scores.regression(1).unwrap();
    let errors = errors(&values(head.forward(features(&ROWS))));
    let by_hand = [1, 3, 5].map(|place: usize| errors[place].powi(2)).iter().sum::<f64>() / 3.0;
    assert!((second.mse() - by_hand).abs() < 1e-6);
    assert!((scores.summary().loss - share(&errors, |error| error * error)).abs() < 1e-6);
    assert!(scores.regression(2).is_err() && scores.summary().accuracy.is_none());
}

#[test]
fn labels_are_decided_one_by_one() {
    let targets = [[1.0_f32, 0.0], [1.0, 1.0], [0.0, 0.25]];
    let head = head().for_labels(LabelLoss { positive_weights: Some(vec![2.0, 0.5]) }).unwrap();
    let logits = values(head.forward(features(&ROWS)));
    let entry = |(place, logit): (usize, &f64)| {
        let (target, weight) = (f64::from(targets[place / 2][place % 2]), [2.0, 0.5][place % 2]);
        let probability = 1.0 / (1.0 + (-logit).exp());
        -(weight * target * probability.ln() + (1.0 - target) * (1.0 - probability).ln())
    };
    let by_hand = logits.iter().enumerate().map(entry).sum::<f64>() / 6.0;
    assert!((mean(head.loss(features(&ROWS), table(targets))) - by_hand).abs() < 1e-6);
    let mut scores = Scores::default();
    head.score(features(&ROWS), table(targets), &mut scores);
    let holds = |place: usize| targets[place / 2][place % 2] >= 0.5;
    let right = logits.iter().enumerate().filter(|(place, logit)| (**logit >= 0.0) == holds(*place)).count();
    assert_eq!(scores.summary().accuracy, Some(right as f64 / 6.0));
    assert!(scores.multi_label().unwrap().average_precision(Average::Macro).is_ok());
}

#[test]
fn targets_that_cannot_be_compared_are_named() {
    let numbers = |targets: Tensor<2>| NumberLoss::default().check(&targets, 2);
    assert_eq!(numbers(table([[1.0, -7.5]])), Ok(()));
    assert_eq!(numbers(table([[1.0]])), Err(InputError::TargetWidth { found: 1, outputs: 2 }));
    let bad = numbers(table([[1.0, 2.0], [0.0, f32::NAN]]));
    assert!(matches!(bad, Err(InputError::BadTarget { row: 1, output: 1, .. })), "{bad:?}");
    let labels = |targets: Tensor<2>| LabelLoss::default().check(&targets, 2);
    assert_eq!(labels(table([[1.0, 0.5]])), Ok(()));
    for value in [-0.1, 1.1, f32::INFINITY] {
        assert!(matches!(labels(table([[0.0, value]])), Err(InputError::BadTarget { row: 0, output: 1, .. })));
    }
    let other = head().for_numbers(NumberLoss::default()).unwrap();
    assert!(mean(other.loss(features(&ROWS), table([[1.0, 2.0]]))).is_nan(), "one target a row");
    for options in [NumberLoss::Huber { delta: 0.0 }, NumberLoss::Pinball { quantile: 1.0 }] {
        assert!(matches!(head().for_numbers(options), Err(LossError::BadOption { .. })), "{options:?}");
    }
    let weights = |weights: &[f64]| head().for_labels(LabelLoss { positive_weights: Some(weights.to_vec()) });
    assert!(matches!(weights(&[1.0]), Err(LossError::WrongCount { found: 1, classes: 2, .. })));
    assert!(matches!(weights(&[1.0, -1.0]), Err(LossError::BadOption { .. })));
}

#[test]
fn one_of_several_choices_is_right() {
    let rows = [[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5], [0.0, 0.3], [1.0, 1.0], [-2.0, 0.5]];
    let head = MultipleChoice::new(2, 3, 5, &device()).with_dropout(0.0);
    let scores = head.forward(features(&rows));
    assert_eq!(scores.dims(), [2, 3]);
    let alone: Vec<f64> = rows.iter().map(|row| values(head.forward(features(&[*row])))[0]).collect();
    let found = values(scores);
    assert!(found.iter().zip(&alone).all(|(found, alone)| (found - alone).abs() < 1e-6));
    let right =
        |choices: &[i64]| Tensor::<1, Int>::from_data(TensorData::new(choices.to_vec(), [choices.len()]), &device());
    let entropy = |row: usize, choice: usize| {
        let row = &found[row * 3..row * 3 + 3];
        row.iter().map(|score| score.exp()).sum::<f64>().ln() - row[choice]
    };
    let loss = head.loss(features(&rows), right(&[2, 0]));
    assert!((mean(loss) - (entropy(0, 2) + entropy(1, 0)) / 2.0).abs() < 1e-6);
    let mut seen = Scores::default();
    head.score(features(&rows), right(&[2, 0]), &mut seen);
    assert_eq!(seen.actual(), [2, 0]);
    let check = |choice| TaskHead::<TextFeatures>::check(&head, &right(&[choice]));
    assert_eq!(check(2), Ok(()));
    assert_eq!(check(3), Err(InputError::ClassOutOfRange { class: 3, classes: 3 }));
    // Rows that make no whole question are no answer, and none is made up.
    assert!(values(head.forward(features(&rows[..4])))[4].is_nan());
    assert!(mean(head.loss(features(&rows[..4]), right(&[2]))).is_nan());
}

/// Trains a head on a small network until it has learned the training examples.
fn learned<H, O>(head: H, task: &O, rows: &[O::Example]) -> Scores
where
    H: TaskHead<TextFeatures>,
    O: Objective<Input = TextInput, Targets = H::Targets>,
{
    let mut model = Model::new(bert(2, 0.0, Pooling::Mean), head);
    let before = evaluate(&model, task, rows, 8, 1).unwrap().summary().loss;
    let recipe = Fit { epochs: 30, batch_size: 8, rates: Rates::new(3e-3), ..Fit::default() };
    fit(&mut model, task, Data { train: rows, validation: &[] }, &Freeze::Nothing, &recipe, &mut []).unwrap();
    let scores = evaluate(&model, task, rows, 8, 1).unwrap();
    let after = scores.summary().loss;
    assert!(after < before / 4.0, "{after} was {before}");
    scores
}

fn wide() -> Classifier {
    Classifier::new(32, 2, 3, &device()).with_dropout(0.0)
}

#[test]
fn runs_learn_numbers_labels_and_choices() {
    let texts: Vec<String> = (0..24).map(|index| text(index).0).collect();
    let has = |text: &str, word: &str| f32::from(u8::from(text.contains(word)));
    let length = |text: &str| text.split(' ').count() as f32 / 4.0;
    let task = TextNumbers::new(tokenizer(), 2, 24).unwrap();
    let numbers: Vec<_> = texts.iter().map(|text| (text, vec![length(text), has(text, "fails")])).collect();
    let rows = task.encode(&numbers).unwrap();
    let scores = learned(wide().for_numbers(NumberLoss::default()).unwrap(), &task, &rows);
    let lengths = scores.regression(0).unwrap();
    assert!(lengths.r2().unwrap() > 0.8, "{lengths:?}");

    let labels = Labels::from_names(["drops", "fails"]).unwrap();
    let found = |text: &str| labels.names().iter().filter(|name| text.contains(*name)).cloned().collect::<Vec<_>>();
    let hot: Vec<_> = texts.iter().map(|text| (text, labels.hot(&found(text)).unwrap())).collect();
    let rows = task.encode(&hot).unwrap();
    let scores = learned(wide().for_labels(LabelLoss::default()).unwrap(), &task, &rows);
    assert!(scores.summary().accuracy.unwrap() > 0.9);
    let wrong = task.encode(&[("my router", vec![1.0])]);
    assert!(matches!(wrong, Err(DataError::TargetCount { index: 0, found: 1, expected: 2 })));

    let task = Choosing::new(tokenizer(), 3, 24).unwrap();
    let question = |index: usize| {
        let mut choices = ["router", "invoice", "parcel"].map(|thing| format!("my {thing} waits")).to_vec();
        choices.rotate_left(index % 3);
        ChoiceExample { question: "my parcel".into(), right: (5 - index % 3) % 3, choices }
    };
    let examples: Vec<ChoiceExample> = (0..12).map(question).collect();
    assert!(examples.iter().all(|example| example.choices[example.right].contains("parcel")));
    let scores =
        learned(MultipleChoice::new(32, 3, 1, &device()).with_dropout(0.0), &task, &task.encode(&examples).unwrap());
    assert_eq!(scores.summary().accuracy, Some(1.0));
    let wrong = ChoiceExample { right: 3, ..examples[0].clone() };
    assert!(matches!(task.encode(&[wrong]), Err(DataError::NoLabel { index: 0 })));
}
