//! Frozen parameters keep every byte and own no memory of the optimizer.

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::head::Classifier;
use rekindle::params::{Freeze, FreezeError, FreezePolicy, GroupRule, Inventory, Progress};
use rekindle::train::{Data, Fit, Report, fit};

use super::support::*;

/// Trains and compares every parameter's bytes with what `frozen` says of its path.
fn check(
    mut model: Model<Bert, Classifier>,
    policy: &dyn FreezePolicy,
    config: &Fit,
    frozen: impl Fn(&str) -> bool,
) -> Report {
    let (before, rows) = (bits(&model), rows(48));
    let report = fit(&mut model, &task(), Data { train: &rows, validation: &[] }, policy, config, &mut []).unwrap();
    let mut held = report.optimizer_parameters.clone();
    for (path, values) in bits(&model) {
        assert_eq!(values == before[&path], frozen(&path), "{path}");
        assert_eq!(held.contains(&path), !frozen(&path), "{path}");
        held.retain(|other| *other != path);
    }
    assert!(held.is_empty(), "{held:?} are no parameters");
    report
}

fn decaying(steps: usize) -> Fit {
    let mut config = fit_config(steps, 1e-3);
    config.rates.weight_decay = 0.1;
    config
}

#[test]
fn the_backbone_stays_under_backbone() {
    let report = check(classifier(3, 0.1), &Freeze::Backbone, &decaying(50), |path| path.starts_with("backbone."));
    assert_eq!((report.steps, report.trainable_values), (50, 32 * 4 + 4));
    assert_eq!(report.optimizer_parameters, ["head.linear.weight", "head.linear.bias"]);
    assert_eq!(report.cache.rows, 48);
}

#[test]
fn the_lowest_stages_stay_under_bottom() {
    let frozen =
        |path: &str| ["backbone.embeddings.", "backbone.encoder.layer.0."].iter().any(|stage| path.starts_with(stage));
    check(classifier(3, 0.1), &Freeze::Bottom(2), &decaying(50), frozen);
}

#[test]
fn all_but_the_selected_stays_under_except() {
    let policy =
        Freeze::Except(vec!["backbone.encoder.layer.1.attention".parse().unwrap(), "**.bias".parse().unwrap()]);
    let frozen = |path: &str| {
        !path.starts_with("backbone.encoder.layer.1.attention.")
            && !path.ends_with(".bias")
            && !path.starts_with("head.")
    };
    check(classifier(3, 0.1), &policy, &decaying(50), frozen);
}

#[test]
fn stages_thaw_from_the_top_under_gradual() {
    // 48 rows in batches of 8 are 6 steps an epoch: 18 steps thaw two of the four stages.
    let frozen =
        |path: &str| ["backbone.embeddings.", "backbone.encoder.layer.0."].iter().any(|stage| path.starts_with(stage));
    check(classifier(3, 0.1), &Freeze::Gradual { epochs: 1 }, &decaying(18), frozen);
    check(classifier(3, 0.1), &Freeze::Gradual { epochs: 2 }, &decaying(12), |path| path.starts_with("backbone."));
}

#[test]
fn the_pooler_is_a_stage() {
    let model = Model::new(bert(2, 0.1, Pooling::Pooler), Classifier::new(32, 4, 7, &device()));
    check(model, &Freeze::Bottom(3), &decaying(20), |path| {
        path.starts_with("backbone.") && !path.starts_with("backbone.pooler.")
    });
}

#[test]
fn everything_trains_under_nothing_also_after_a_frozen_run() {
    let (mut model, rows) = (classifier(2, 0.1), rows(16));
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, &task(), data, &Freeze::Backbone, &decaying(3), &mut []).unwrap();
    check(model, &Freeze::Nothing, &decaying(50), |_| false);
}

#[test]
fn a_frozen_run_leaves_a_clone_alone() {
    let mut model = classifier(2, 0.1);
    let (clone, before, rows) = (model.clone(), bits(&model), rows(16));
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, &task(), data, &Freeze::Nothing, &decaying(5), &mut []).unwrap();
    assert!(bits(&clone) == before);
    assert!(bits(&model) != before);
}

#[test]
fn layer_1_is_not_layer_10() {
    let model = classifier(11, 0.0);
    let inventory = Inventory::of(&model).unwrap();
    let policy = Freeze::Except(vec!["backbone.encoder.layer.1".parse().unwrap()]);
    let trains = policy.trainable(&inventory, Progress::default()).unwrap();
    let chosen = |layer: &str| {
        let mut of_layer = inventory.entries.iter().zip(&trains).filter(|(entry, _)| entry.path.contains(layer));
        of_layer.any(|(_, trains)| *trains)
    };
    assert!(chosen("layer.1.") && !chosen("layer.10.") && !chosen("layer.0."));
    check(model, &policy, &decaying(3), |path| {
        path.starts_with("backbone.") && !path.starts_with("backbone.encoder.layer.1.")
    });
    let lowest = ["backbone.embeddings.", "backbone.encoder.layer.0.", "backbone.encoder.layer.1."];
    check(classifier(11, 0.0), &Freeze::Bottom(3), &decaying(3), |path| {
        lowest.iter().any(|stage| path.starts_with(stage))
    });
}

/// Everything trains in the first epoch, the head alone from then on.
#[derive(Debug)]
struct Refreeze;

impl FreezePolicy for Refreeze {
    fn trainable(&self, inventory: &Inventory, at: Progress) -> Result<Vec<bool>, FreezeError> {
        let now = if at.epoch == 0 { Freeze::Nothing } else { Freeze::Backbone };
        now.trainable(inventory, at)
    }
}

#[test]
fn what_is_frozen_again_keeps_its_bytes_and_loses_its_moments() {
    let rows = rows(16);
    let run = |steps| {
        let mut model = classifier(2, 0.0);
        let data = Data { train: &rows, validation: &[] };
        let report = fit(&mut model, &task(), data, &Refreeze, &decaying(steps), &mut []).unwrap();
        (bits(&model), report)
    };
    // Two steps are an epoch.
    let ((one_epoch, _), (three_epochs, report)) = (run(2), run(6));
    for (path, values) in &three_epochs {
        assert_eq!(*values == one_epoch[path], path.starts_with("backbone."), "{path}");
    }
    assert_eq!(report.optimizer_parameters, ["head.linear.weight", "head.linear.bias"]);
}

#[test]
fn thawing_keeps_the_moments_of_what_kept_training() {
    // What thaws has a rate too small to move it, so that the head must train as if nothing had thawed.
    let rows = equal_rows(16);
    let run = |policy: &Freeze| {
        let mut config = Fit { clip_norm: None, ..fit_config(8, 1e-2) };
        let select = "backbone".parse().unwrap();
        config.rates.groups = vec![GroupRule { select, lr: Some(1e-30), weight_decay: None }];
        let (mut model, data) = (classifier(2, 0.0), Data { train: &rows, validation: &[] });
        fit(&mut model, &task(), data, policy, &config, &mut []).unwrap().losses
    };
    assert_eq!(run(&Freeze::Gradual { epochs: 1 }), run(&Freeze::Backbone));
}
