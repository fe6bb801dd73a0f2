//! Frozen parameters keep every byte and own no memory of the optimizer.

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::head::Classifier;
use rekindle::params::{Freeze, FreezePolicy, Inventory, Progress};
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
    assert_eq!(report.cached_rows, 48);
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
}
