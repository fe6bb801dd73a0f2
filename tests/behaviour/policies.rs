//! Policies of one's own, and what is said of plans that cannot be meant.

use rekindle::Error;
use rekindle::backbone::Pooling;
use rekindle::params::{
    Freeze, FreezeError, FreezePolicy, GroupRule, Inventory, Kind, Progress, Rates, SelectorError, TrainPlan,
};
use rekindle::train::{Data, TrainError, fit};

use super::support::*;

/// Only the biases of the backbone train (BitFit).
#[derive(Debug)]
struct Biases;

impl FreezePolicy for Biases {
    fn trainable(&self, inventory: &Inventory, _: Progress) -> Result<Vec<bool>, FreezeError> {
        Ok(inventory.entries.iter().map(|entry| entry.stage.is_none() || entry.kind == Kind::Bias).collect())
    }
}

/// Gives `answers`, whatever is asked.
#[derive(Debug)]
struct Fixed(Vec<bool>, bool);

impl FreezePolicy for Fixed {
    fn trainable(&self, _: &Inventory, _: Progress) -> Result<Vec<bool>, FreezeError> {
        Ok(self.0.clone())
    }
    fn may_freeze_head(&self) -> bool {
        self.1
    }
}

/// The error of a run under `policy`, which must leave the model as it was.
fn refused(policy: &dyn FreezePolicy, rates: Rates) -> FreezeError {
    let (mut model, rows) = (classifier(2, 0.0), rows(8));
    let before = bits(&model);
    let config = rekindle::train::Fit { rates, ..fit_config(2, 1e-3) };
    let data = Data { train: &rows, validation: &[] };
    let error = fit(&mut model, &task(), data, policy, &config, &mut []).unwrap_err();
    assert!(bits(&model) == before);
    let Error::Freeze(error) = error else { panic!("{error}") };
    error
}

#[test]
fn a_policy_of_ones_own_is_ten_lines() {
    let (mut model, rows) = (classifier(2, 0.1), rows(16));
    let before = bits(&model);
    let data = Data { train: &rows, validation: &[] };
    let report = fit(&mut model, &task(), data, &Biases, &fit_config(10, 1e-3), &mut []).unwrap();
    for (path, values) in bits(&model) {
        let trains = path.starts_with("head.") || path.ends_with(".bias") && !path.contains("norm");
        assert_eq!(values != before[&path], trains, "{path}");
        assert_eq!(report.optimizer_parameters.contains(&path), trains, "{path}");
    }
}

#[test]
fn a_selector_that_matches_nothing_names_the_nearest_path() {
    let policy = Freeze::Except(vec!["backbone.encoder.layers.1".parse().unwrap()]);
    let error = refused(&policy, Rates::new(1e-3));
    let FreezeError::Selector(SelectorError::NoMatch { nearest, .. }) = &error else { panic!("{error}") };
    assert_eq!(nearest, "backbone.encoder.layer.1");
    assert!(error.to_string().contains("`backbone.encoder.layers.1` matches no parameter"), "{error}");
    let rule = GroupRule { select: "haed".parse().unwrap(), lr: Some(1e-3), weight_decay: None };
    let error = refused(&Freeze::Nothing, Rates { groups: vec![rule], ..Rates::new(1e-3) });
    assert!(error.to_string().ends_with("the nearest path is `head`"), "{error}");
}

#[test]
fn a_head_is_frozen_only_on_purpose() {
    let inventory = Inventory::of(&classifier(2, 0.0)).unwrap();
    let backbone: Vec<bool> = inventory.entries.iter().map(|entry| entry.stage.is_some()).collect();
    assert_eq!(refused(&Fixed(backbone.clone(), false), Rates::new(1e-3)), FreezeError::HeadFrozen);

    let (mut model, rows) = (classifier(2, 0.0), rows(8));
    let before = bits(&model);
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, &task(), data, &Fixed(backbone, true), &fit_config(2, 1e-3), &mut []).unwrap();
    for (path, values) in bits(&model) {
        assert_eq!(values == before[&path], path.starts_with("head."), "{path}");
    }
}

#[test]
fn a_plan_in_which_nothing_trains_is_refused() {
    let entries = Inventory::of(&classifier(2, 0.0)).unwrap().entries.len();
    assert_eq!(refused(&Fixed(vec![false; entries], true), Rates::new(1e-3)), FreezeError::NothingTrains);
    assert_eq!(refused(&Fixed(vec![false; entries], false), Rates::new(1e-3)), FreezeError::HeadFrozen);
}

#[test]
fn a_wrong_number_of_answers_is_refused() {
    let entries = Inventory::of(&classifier(2, 0.0)).unwrap().entries.len();
    for answers in [0, entries - 1, entries + 1] {
        let error = refused(&Fixed(vec![true; answers], false), Rates::new(1e-3));
        assert_eq!(error, FreezeError::WrongCount { answers, entries });
    }
}

#[test]
fn too_many_stages_are_refused_by_name() {
    let error = refused(&Freeze::Bottom(4), Rates::new(1e-3));
    assert!(matches!(error, FreezeError::TooDeep { asked: 4, stages: 3, .. }));
    assert!(error.to_string().contains("embeddings, encoder.layer.0, encoder.layer.1"), "{error}");
    assert_eq!(refused(&Freeze::Gradual { epochs: 0 }, Rates::new(1e-3)), FreezeError::NoEpochs);
}

#[test]
fn a_parameter_that_the_loss_does_not_reach_is_named() {
    let (mut model, rows) = (masked_lm(2, Pooling::Pooler), token_rows(16));
    let before = bits(&model);
    let data = || Data { train: rows.as_slice(), validation: &[] };
    let error = fit(&mut model, &masking(), data(), &Freeze::Nothing, &fit_config(2, 1e-3), &mut []).unwrap_err();
    let Error::Train(TrainError::NoGradient { paths }) = &error else { panic!("{error}") };
    assert_eq!(paths, &["backbone.pooler.dense.weight", "backbone.pooler.dense.bias"]);
    assert!(bits(&model) == before);
    let all_but_pooler = Freeze::Except(vec!["backbone.embeddings".parse().unwrap(), "**.layer.*".parse().unwrap()]);
    fit(&mut model, &masking(), data(), &all_but_pooler, &fit_config(2, 1e-3), &mut []).unwrap();
}

#[test]
fn a_plan_prints_as_a_table_of_stages() {
    let model = classifier(2, 0.0);
    let inventory = Inventory::of(&model).unwrap();
    let plan = TrainPlan::new(&inventory, &Freeze::Bottom(2), &Rates::new(1e-3), Progress::default()).unwrap();
    assert_eq!(plan.plain, [true, true, false]);
    let all: usize = weights(&model).values().map(Vec::len).sum();
    assert_eq!(plan.all_values(), all);
    let text = plan.to_string();
    for part in ["embeddings", "encoder.layer.1", "head", "1e-3", "0 / 1e-2", "plain, no graph"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
