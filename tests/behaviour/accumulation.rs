//! A step of many small batches is a step of one large one.

use std::collections::BTreeMap;

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling, TextFeatures, TextInput};
use rekindle::head::TaskHead;
use rekindle::objective::Objective;
use rekindle::optim::AdamW;
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, Report, fit};

use super::support::*;

fn near(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-5 * b.abs(), "{a} {b}");
    }
}

/// Compares 1 x 8, 2 x 4 and 8 x 1 (batch x accumulation).
pub(super) fn check<H, O>(make: impl Fn() -> Model<Bert, H>, objective: &O, examples: &[O::Example])
where
    H: TaskHead<TextFeatures>,
    O: Objective<Input = TextInput, Targets = H::Targets>,
{
    check_with(&fit_config(6, 1e-3), make, objective, examples);
}

/// As [`check`], under a configuration whose batches it sets.
pub(super) fn check_with<H, O>(config: &Fit, make: impl Fn() -> Model<Bert, H>, objective: &O, examples: &[O::Example])
where
    H: TaskHead<TextFeatures>,
    O: Objective<Input = TextInput, Targets = H::Targets>,
{
    let run = |batch_size, accumulation| -> (Report, Model<Bert, H>) {
        let mut model = make();
        let mut config = Fit { batch_size, accumulation, ..config.clone() };
        // What has next to no gradient is moved by rounding alone if this is 1e-8.
        config.optimizer.eps = 1e-4;
        let data = Data { train: examples, validation: &[] };
        let report = fit(&mut model, objective, data, &Freeze::Nothing, &config, &mut []).unwrap();
        (report, model)
    };
    let (whole, expected) = run(8, 1);
    let expected = weights(&expected);
    for (batch_size, accumulation) in [(1, 8), (2, 4)] {
        let (parts, model) = run(batch_size, accumulation);
        near(&parts.losses, &whole.losses);
        near(&parts.grad_norms, &whole.grad_norms);
        for (path, values) in weights(&model) {
            // Softmax ignores a shift, so that the gradient of a key's bias is 0 but for rounding.
            if !path.ends_with("attention.key.bias") {
                let most = difference(&values, &expected[&path]);
                assert!(most <= 1e-5, "{path} {most}");
            }
        }
    }
}

/// A step so long, without moments, that what it changes is the gradient: `lr * g / (|g| + eps)` is `1000 g` but for a
/// millionth.
fn gradients<H, O>(
    make: impl Fn() -> Model<Bert, H>,
    objective: &O,
    examples: &[O::Example],
    [batch_size, accumulation]: [usize; 2],
) -> BTreeMap<String, Vec<f32>>
where
    H: TaskHead<TextFeatures>,
    O: Objective<Input = TextInput, Targets = H::Targets>,
{
    let (mut model, before) = (make(), weights(&make()));
    let mut config = Fit { batch_size, accumulation, clip_norm: None, ..fit_config(1, 1e9) };
    config.rates.weight_decay = 0.0;
    config.optimizer = AdamW { betas: (0.0, 0.0), eps: 1e6 };
    let data = Data { train: examples, validation: &[] };
    fit(&mut model, objective, data, &Freeze::Nothing, &config, &mut []).unwrap();
    let after = weights(&model).into_iter();
    let change = |(path, after): (String, Vec<f32>)| {
        let values = after.iter().zip(&before[&path]).map(|(after, before)| (before - after) / 1000.0);
        (path, values.collect())
    };
    after.map(change).collect()
}

#[test]
fn every_gradient_adds_up() {
    let make = || classifier(2, 0.0);
    let whole = gradients(make, &task(), &rows(8), [8, 1]);
    let largest = whole.values().flatten().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.01, "{largest}");
    for shape in [[1, 8], [2, 4]] {
        for (path, values) in gradients(make, &task(), &rows(8), shape) {
            match path.ends_with("attention.key.bias") {
                true => assert!(values.iter().all(|value| value.abs() <= 1e-5 * largest), "{path}"),
                false => assert!(difference(&values, &whole[&path]) <= 1e-5, "{path}"),
            }
        }
    }
}

#[test]
fn classification_adds_up() {
    // 20 rows: the last step of an epoch has only half of them.
    check(|| classifier(2, 0.0), &task(), &rows(20));
}

#[test]
fn masked_language_adds_up_over_masked_tokens() {
    check(|| masked_lm(2, Pooling::Mean), &masking(), &token_rows(20));
}

#[test]
fn a_step_counts_its_examples() {
    let (mut model, rows) = (classifier(2, 0.0), rows(20));
    let config = Fit { batch_size: 2, accumulation: 4, epochs: 2, max_steps: None, ..fit_config(1, 1e-3) };
    let data = Data { train: &rows, validation: &[] };
    let report = fit(&mut model, &task(), data, &Freeze::Backbone, &config, &mut []).unwrap();
    assert_eq!(report.steps, 6);
}
