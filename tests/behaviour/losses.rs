//! A classifier's loss in a run: it adds up over micro-batches, is what is reported, and means something.

use burn::tensor::{Int, Tensor};
use rekindle::Model;
use rekindle::backbone::{Bert, InputError, TextFeatures};
use rekindle::head::{Classifier, TaskHead};
use rekindle::loss::{ClassLoss, Focal, LossError, balanced_weights};
use rekindle::metric::Scores;
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, RunError, SaveEvery, TrainError, evaluate, fit};

use super::accumulation::check;
use super::support::*;

fn with_loss(loss: ClassLoss) -> Model<Bert, Classifier> {
    let Model { backbone, head } = classifier(2, 0.0);
    Model::new(backbone, head.with_loss(loss).unwrap())
}

fn uneven() -> ClassLoss {
    ClassLoss { class_weights: Some(vec![0.2, 3.0, 1.0, 0.5]), ..ClassLoss::default() }
}

#[test]
fn weighted_losses_add_up() {
    let focal = Some(Focal { gamma: 2.0, alpha: None });
    for loss in [
        ClassLoss { label_smoothing: 0.1, ..uneven() },
        ClassLoss { focal, z_loss: 1e-3, ..uneven() },
        ClassLoss { label_smoothing: 0.2, ..ClassLoss::default() },
    ] {
        check(|| with_loss(loss.clone()), &task(), &rows(20));
    }
}

#[test]
fn balanced_weights_make_a_constant_guess_cost_the_logarithm_of_the_classes() {
    let rows = rows(30);
    let weights = balanced_weights(rows.iter().filter_map(|row| row.label), 4).unwrap();
    let loss = ClassLoss { class_weights: Some(weights), ..ClassLoss::default() };
    let mut model = with_loss(loss);
    // A head of zeros answers every class alike.
    model.head = burn::module::Module::map(model.head, &mut Zero);
    let found = evaluate(&model, &task(), &rows, 7, 0).unwrap().summary().loss;
    assert!((found - 4f64.ln()).abs() < 1e-6, "{found}");
}

struct Zero;
impl burn::module::ModuleMapper for Zero {
    fn map_float<const D: usize>(&mut self, param: burn::module::Param<Tensor<D>>) -> burn::module::Param<Tensor<D>> {
        param.map(|tensor| tensor.zeros_like())
    }
}

#[test]
fn validation_uses_the_loss_of_training() {
    let rows = rows(16);
    let plain = evaluate(&classifier(2, 0.0), &task(), &rows, 8, 0).unwrap().summary();
    let smooth = ClassLoss { label_smoothing: 0.5, ..ClassLoss::default() };
    let measured = evaluate(&with_loss(smooth), &task(), &rows, 8, 0).unwrap().summary();
    assert!(measured.loss != plain.loss && measured.accuracy == plain.accuracy);
    let mut model = with_loss(ClassLoss { label_smoothing: 0.5, ..ClassLoss::default() });
    let config = Fit { batch_size: 16, ..fit_config(1, 1e-9) };
    let data = Data { train: &rows, validation: &rows };
    let report = fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut []).unwrap();
    assert!((report.losses[0] - measured.loss).abs() < 1e-6);
}

fn features() -> TextFeatures {
    use rekindle::backbone::Backbone;
    use rekindle::objective::{Draws, Objective};
    let rows = rows(4);
    let batch = task().batch(&rows.iter().collect::<Vec<_>>(), &Draws::new(0, 0, &[]), &device()).unwrap();
    classifier(2, 0.0).backbone.forward(batch.input)
}

#[test]
fn ignored_rows_count_neither_in_the_loss_nor_in_the_scores() {
    let labels = |values: [i64; 4]| Tensor::<1, Int>::from_ints(values, &device());
    let head = with_loss(ClassLoss { ignore_index: Some(-100), ..ClassLoss::default() }).head;
    let strict = classifier(2, 0.0).head;
    let some = labels([1, -100, 3, -100]);
    TaskHead::<TextFeatures>::check(&head, &some).unwrap();
    let error = TaskHead::<TextFeatures>::check(&strict, &some).unwrap_err();
    assert_eq!(error, InputError::ClassOutOfRange { class: -100, classes: 4 });
    let error = TaskHead::<TextFeatures>::check(&head, &labels([1, 4, 3, -100])).unwrap_err();
    assert_eq!(error, InputError::ClassOutOfRange { class: 4, classes: 4 });
    let mut scores = Scores::default();
    head.score(features(), some, &mut scores);
    head.score(features(), labels([-100; 4]), &mut scores);
    assert_eq!(scores.actual(), [1, 3]);
    let whole = head.loss(features(), labels([1, -100, 3, -100]));
    assert_eq!(whole.weight, 2.0);
    assert_eq!(scores.summary().loss, f64::from(whole.sum.into_scalar::<f32>()) / 2.0);
}

#[test]
fn options_that_mean_nothing_are_named() {
    let loss = |loss: ClassLoss| classifier(1, 0.0).head.with_loss(loss).unwrap_err();
    let default = ClassLoss::default;
    for (found, option) in [
        (loss(ClassLoss { label_smoothing: 1.0, ..default() }), "label_smoothing"),
        (loss(ClassLoss { label_smoothing: f64::NAN, ..default() }), "label_smoothing"),
        (loss(ClassLoss { z_loss: -1.0, ..default() }), "z_loss"),
        (loss(ClassLoss { ignore_index: Some(3), ..default() }), "ignore_index"),
        (loss(ClassLoss { class_weights: Some(vec![1.0, -1.0, 1.0, 1.0]), ..default() }), "class_weights"),
        (loss(ClassLoss { class_weights: Some(vec![0.0; 4]), ..default() }), "class_weights"),
        (loss(ClassLoss { focal: Some(Focal { gamma: -0.1, alpha: None }), ..default() }), "focal.gamma"),
        (
            loss(ClassLoss { focal: Some(Focal { gamma: 1.0, alpha: None }), label_smoothing: 0.1, ..default() }),
            "label_smoothing",
        ),
    ] {
        assert!(matches!(&found, LossError::BadOption { option: named, .. } if *named == option), "{found}");
    }
    let found = loss(ClassLoss { class_weights: Some(vec![1.0; 3]), ..default() });
    assert_eq!(found, LossError::WrongCount { option: "class_weights", found: 3, classes: 4 });
}

#[test]
fn a_run_does_not_go_on_under_another_loss() {
    let (folder, rows) = (temporary(), rows(16));
    let config =
        Fit { folder: Some(folder.path().into()), save_every: Some(SaveEvery::Steps(1)), ..fit_config(2, 1e-3) };
    let data = || Data { train: &rows, validation: &[] };
    fit(&mut with_loss(uneven()), &task(), data(), &Freeze::Nothing, &config, &mut []).unwrap();
    let again = Fit { resume: true, ..config };
    let other = fit(&mut classifier(2, 0.0), &task(), data(), &Freeze::Nothing, &again, &mut []).unwrap_err();
    let rekindle::Error::Train(TrainError::Run(RunError::OtherRun { what, .. })) = &other else { panic!("{other}") };
    assert_eq!(*what, "loss or head");
    fit(&mut with_loss(uneven()), &task(), data(), &Freeze::Nothing, &again, &mut []).unwrap();
}
