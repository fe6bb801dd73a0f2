//! A student learns from a teacher's logits.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use rekindle::Model;
use rekindle::backbone::{Bert, InputError, Pooling, TextInput};
use rekindle::data::DataError;
use rekindle::head::{Classifier, DistilledClassifier};
use rekindle::loss::LossError;
use rekindle::objective::{Batch, Distillation, Draws, LabelledRow, Objective, TextClassification};
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, Report, evaluate, fit};

use super::support::*;

/// Counts how often a batch is made.
struct Counting {
    task: TextClassification,
    repeats: bool,
    batches: AtomicUsize,
}

impl Counting {
    fn new(repeats: bool) -> Self {
        Self { task: task(), repeats, batches: AtomicUsize::new(0) }
    }
}

impl Objective for Counting {
    type Example = LabelledRow;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;
    fn batch(
        &self,
        examples: &[&LabelledRow],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.task.batch(examples, draws, device)
    }
    fn length(&self, example: &LabelledRow) -> usize {
        self.task.length(example)
    }
    fn repeats(&self) -> bool {
        self.repeats
    }
}

fn teacher(classes: usize) -> Model<Bert, Classifier> {
    let body = Bert::new(&config(2, 0.1), Pooling::Mean, 21, &device());
    Model::new(body, Classifier::new(32, classes, 22, &device()))
}

fn student(temperature: f64, alpha: f64) -> Model<Bert, DistilledClassifier> {
    let Model { backbone, head } = classifier(1, 0.0);
    Model::new(backbone, DistilledClassifier::new(head, temperature, alpha).unwrap())
}

/// Trains a student under a frozen or free backbone; how often batches were made while the teacher was asked and after.
fn run(repeats: bool, freeze: &Freeze, config: &Fit) -> (Report, [usize; 2]) {
    let distillation = Distillation::new(Counting::new(repeats), &teacher(4));
    let examples = distillation.examples(rows(16), 4).unwrap();
    let count = || distillation.objective().batches.load(Ordering::Relaxed);
    let asked = count();
    let data = Data { train: &examples, validation: &[] };
    let report = fit(&mut student(2.0, 0.7), &distillation, data, freeze, config, &mut []).unwrap();
    (report, [asked, count() - asked])
}

#[test]
fn the_loss_is_the_papers() {
    let (rows, temperature, alpha) = (rows(8), 2.0_f64, 0.7);
    let distillation = Distillation::new(task(), &teacher(4));
    let examples = distillation.examples(rows.clone(), 3).unwrap();
    let mut model = student(temperature, alpha);
    let input = task().batch(&rows.iter().collect::<Vec<_>>(), &Draws::new(0, 0, &[]), &device()).unwrap().input;
    let logits = |tensor: Tensor<2>| -> Vec<f64> { tensor.into_data().iter::<f64>().collect() };
    let own = logits(model.valid().forward(input.clone()));
    let taught = logits(teacher(4).valid().forward(input));
    let logs = |row: &[f64], temperature: f64| -> Vec<f64> {
        let normaliser = row.iter().map(|logit| (logit / temperature).exp()).sum::<f64>().ln();
        row.iter().map(|logit| logit / temperature - normaliser).collect()
    };
    let mut expected = 0.0;
    for (row, example) in rows.iter().enumerate() {
        let (own, taught) = (&own[4 * row..4 * row + 4], &taught[4 * row..4 * row + 4]);
        // The teacher was asked in batches of other rows.
        for (logit, kept) in taught.iter().zip(examples[row].logits().unwrap()) {
            assert!((logit - f64::from(*kept)).abs() < 1e-5);
        }
        let (p, q) = (logs(taught, temperature), logs(own, temperature));
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        expected += alpha * temperature * temperature * kl - (1.0 - alpha) * logs(own, 1.0)[example.label.unwrap()];
    }
    let data = Data { train: &examples, validation: &examples };
    let measured = evaluate(&model, &distillation, &examples, 3, 0).unwrap().summary();
    let report = fit(&mut model, &distillation, data, &Freeze::Nothing, &fit_config(1, 1e-3), &mut []).unwrap();
    for found in [report.losses[0], measured.loss] {
        assert!((found - expected / 8.0).abs() < 1e-5, "{found} {}", expected / 8.0);
    }
    assert!(measured.accuracy.is_some());
}

#[test]
fn the_teacher_is_asked_once_an_example_where_inputs_repeat() {
    let config = fit_config(6, 1e-3);
    let (known, counts) = run(true, &Freeze::Nothing, &config);
    assert_eq!(counts, [4, 6]);
    // Otherwise it is asked for every batch, on its own copy of the input.
    let (asked, counts) = run(false, &Freeze::Nothing, &config);
    assert_eq!(counts, [0, 12]);
    for (a, b) in known.losses.iter().zip(&asked.losses) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(known.losses[5] < known.losses[0]);
    assert!(run(true, &Freeze::Backbone, &config).0.cached_rows == 16);
}

#[test]
fn the_student_is_an_ordinary_classifier_afterwards() {
    let Model { backbone, head } = student(2.0, 0.5);
    let model = Model::new(backbone, head.classifier);
    assert!(bits(&model) == bits(&classifier(1, 0.0)));
}

#[test]
fn a_teacher_that_does_not_fit_is_named() {
    let fit_under = |teacher: &Model<Bert, Classifier>| {
        let distillation = Distillation::new(task(), teacher);
        let examples = distillation.examples(rows(8), 8)?;
        let data = Data { train: &examples, validation: &[] };
        fit(&mut student(2.0, 0.5), &distillation, data, &Freeze::Nothing, &fit_config(1, 1e-3), &mut [])
    };
    let error = fit_under(&teacher(5)).unwrap_err();
    assert!(
        matches!(&error, rekindle::Error::Input(InputError::TeacherMismatch { teacher, rows: 8, classes: 4 }) if *teacher == [8, 5]),
        "{error}"
    );
    let mut short = config(1, 0.0);
    short.max_position_embeddings = 4;
    let body = Bert::new(&short, Pooling::Mean, 1, &device());
    let error = fit_under(&Model::new(body, Classifier::new(32, 4, 1, &device()))).unwrap_err();
    assert!(matches!(&error, rekindle::Error::Data(DataError::Teacher { .. })), "{error}");
    let error = fit_under(&plant(teacher(4), "head.linear.bias", f32::NAN)).unwrap_err();
    assert!(matches!(&error, rekindle::Error::Data(DataError::TeacherNotFinite { .. })), "{error}");
    for (temperature, alpha) in [(0.0, 0.5), (f64::NAN, 0.5), (1.0, 1.1), (1.0, -0.1)] {
        let error = DistilledClassifier::new(classifier(1, 0.0).head, temperature, alpha).unwrap_err();
        assert!(matches!(error, LossError::BadOption { .. }));
    }
}
