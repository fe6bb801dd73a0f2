//! Runs whose plan changes: what is kept, what is said, and that a run goes on from any step to the same bits.

use std::path::Path;

use rekindle::Model;
use rekindle::backbone::Bert;
use rekindle::head::Classifier;
use rekindle::optim::{Schedule, Warmup};
use rekindle::params::{Freeze, FreezePolicy, GroupRule, OnSignal, Phase, Signal, Span};
use rekindle::train::{Control, Data, Event, Fit, Observer, ObserverError, Report, SaveEvery, TrainError, fit};
use serde_json::Value;

use super::resume::same;
use super::support::*;

/// Raises a signal in one step, stops or breaks off in another, and notes changes of the plan.
#[derive(Default)]
struct Hand {
    signal: Signal,
    raise_in: Option<usize>,
    stop_after: Option<usize>,
    break_in: Option<usize>,
    changes: Vec<String>,
}

impl Observer for Hand {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Plan { change, step, .. } if !change.is_empty() => self.changes.push(format!("{step}: {change}")),
            Event::Step(info) => {
                if Some(info.step) == self.raise_in {
                    self.signal.raise();
                }
                assert_ne!(Some(info.step), self.break_in, "the process dies");
                if Some(info.step) == self.stop_after {
                    return Ok(Control::Stop);
                }
            }
            _ => {}
        }
        Ok(Control::Continue)
    }
}

/// 40 rows in batches of 8, two a step: 3 steps an epoch, 9 in all. A validation every 2 steps.
fn config(folder: &Path) -> Fit {
    Fit {
        epochs: 3,
        max_steps: None,
        accumulation: 2,
        eval_every: Some(2),
        rewarm_steps: 2,
        save_every: Some(SaveEvery::Steps(1)),
        folder: Some(folder.into()),
        bucket: true,
        ..fit_config(1, 3e-3)
    }
}

fn fresh() -> Model<Bert, Classifier> {
    classifier(2, 0.1)
}

fn run(model: &mut Model<Bert, Classifier>, policy: &dyn FreezePolicy, config: &Fit, hand: &mut Hand) -> Report {
    let rows = rows(56);
    let data = Data { train: &rows[..40], validation: &rows[40..] };
    fit(model, &task(), data, policy, config, &mut [hand]).unwrap()
}

fn lasts(freeze: Freeze, lasts: Span) -> Phase {
    Phase { freeze, lasts }
}

fn refreeze() -> Freeze {
    let phases = vec![lasts(Freeze::Nothing, Span::Steps(2)), lasts(Freeze::Backbone, Span::Steps(3))];
    Freeze::Phases { phases, then: Box::new(Freeze::Bottom(1)) }
}

fn history(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("history.jsonl")).unwrap()
}

/// Another process starts from its own fresh model; its head differs, what is saved counts.
fn other_process() -> Model<Bert, Classifier> {
    Model::new(fresh().backbone, Classifier::new(32, 4, 99, &device()).with_dropout(0.1))
}

/// Stops a run after each of its steps and goes on with it; `changes` is how often the plan must change.
fn goes_on_from_any_step(policy: impl Fn(&Signal) -> Box<dyn FreezePolicy>, changes: usize) {
    let raise_in = Some(4);
    let (whole_folder, mut whole, mut hand) = (temporary(), fresh(), Hand { raise_in, ..Hand::default() });
    let expected = run(&mut whole, &*policy(&hand.signal), &config(whole_folder.path()), &mut hand);
    assert_eq!(hand.changes.len(), changes, "{:?}", hand.changes);
    for stop_after in 1..9 {
        let (folder, mut hand) = (temporary(), Hand { raise_in, stop_after: Some(stop_after), ..Hand::default() });
        run(&mut fresh(), &*policy(&hand.signal), &config(folder.path()), &mut hand);
        let (mut resumed, mut hand) = (other_process(), Hand { raise_in, ..Hand::default() });
        let again = Fit { resume: true, ..config(folder.path()) };
        let report = run(&mut resumed, &*policy(&hand.signal), &again, &mut hand);
        same(&report, &expected);
        assert!(bits(&resumed) == bits(&whole), "stopped after {stop_after}");
        assert_eq!(history(folder.path()), history(whole_folder.path()), "stopped after {stop_after}");
    }
}

#[test]
fn lp_ft_goes_on_from_any_step() {
    goes_on_from_any_step(|_| Box::new(Freeze::LpFt { head: Span::Steps(4) }), 1);
    goes_on_from_any_step(|_| Box::new(Freeze::LpFt { head: Span::Epochs(1) }), 1);
}

#[test]
fn a_plateau_goes_on_from_any_step() {
    // No gain is large enough, so every validation after the first thaws a stage: after steps 4, 6 and 8.
    goes_on_from_any_step(|_| Box::new(Freeze::GradualPlateau { patience: 1, min_delta: 1e3 }), 3);
}

#[test]
fn a_refreeze_goes_on_from_any_step() {
    goes_on_from_any_step(|_| Box::new(refreeze()), 2);
    goes_on_from_any_step(|_| Box::new(Freeze::ChainThaw { each: Span::Steps(2) }), 4);
}

#[test]
fn a_signal_goes_on_from_any_step() {
    goes_on_from_any_step(|s| Box::new(OnSignal::new(s.clone(), Freeze::Backbone, [Freeze::Bottom(1)])), 1);
}

#[test]
fn a_choice_of_stages_goes_on_from_any_step() {
    goes_on_from_any_step(|_| Box::new(Freeze::Surgical { stages: 1 }), 0);
    let list = vec![lasts(Freeze::Backbone, Span::Steps(4))];
    let then = Freeze::Phases { phases: list, then: Box::new(Freeze::Surgical { stages: 2 }) };
    goes_on_from_any_step(|_| Box::new(then.clone()), 1);
}

#[test]
fn biases_go_on_from_any_step() {
    goes_on_from_any_step(|_| Box::new(Freeze::BitFit), 0);
}

#[test]
fn a_signal_outlives_the_process() {
    // The only checkpoint is the one that the signal asks for, and the process dies two steps later.
    let folder = temporary();
    let config = Fit { save_every: Some(SaveEvery::Steps(100)), ..config(folder.path()) };
    let policy = |hand: &Hand| OnSignal::new(hand.signal.clone(), Freeze::Backbone, [Freeze::Nothing]);
    let mut hand = Hand { raise_in: Some(4), ..Hand::default() };
    let whole_folder = temporary();
    let mut whole = fresh();
    let whole_config = Fit { folder: Some(whole_folder.path().into()), ..config.clone() };
    run(&mut whole, &policy(&hand), &whole_config, &mut hand);

    let died = std::panic::catch_unwind(|| {
        let mut hand = Hand { raise_in: Some(4), break_in: Some(6), ..Hand::default() };
        run(&mut fresh(), &policy(&hand), &config, &mut hand)
    });
    assert!(died.is_err());
    let (mut resumed, mut silent) = (other_process(), Hand::default());
    run(&mut resumed, &policy(&silent), &Fit { resume: true, ..config }, &mut silent);
    assert_eq!(silent.changes.len(), 1);
    assert!(silent.changes[0].starts_with("4: + embeddings "), "{:?}", silent.changes);
    assert!(bits(&resumed) == bits(&whole));
    assert_eq!(history(folder.path()), history(whole_folder.path()));
}

#[test]
fn each_change_is_said_and_written() {
    let (folder, mut hand, mut model) = (temporary(), Hand::default(), fresh());
    let report = run(&mut model, &refreeze(), &config(folder.path()), &mut hand);
    let table = |name: &str| weights(&model).iter().filter(|(path, _)| path.contains(name)).map(|(_, v)| v.len()).sum();
    let (embeddings, layer): (usize, usize) = (table(".embeddings."), table(".layer.0."));
    let k = |values: usize| format!("({:.1} k values)", values as f64 / 1e3);
    let expected = [
        format!("2: - embeddings {}, - encoder.layer.0 {}, - encoder.layer.1 {}", k(embeddings), k(layer), k(layer)),
        format!("5: + encoder.layer.0 {}, + encoder.layer.1 {}", k(layer), k(layer)),
    ];
    assert_eq!(hand.changes, expected);
    let text = history(folder.path());
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let plans: Vec<&Value> = lines.iter().filter(|line| line["event"] == "plan").collect();
    assert_eq!(plans.len(), 2);
    let count = |line: &Value, key: &str| line[key].as_array().unwrap().len();
    assert_eq!((plans[0]["step"].as_u64(), plans[0]["epoch"].as_u64()), (Some(2), Some(0)));
    assert_eq!((count(plans[0], "thawed"), count(plans[0], "frozen")), (0, 5 + 2 * 16));
    assert_eq!((count(plans[1], "thawed"), count(plans[1], "frozen")), (2 * 16, 0));
    assert_eq!(plans[1]["thawed"][0], "backbone.encoder.layer.0.attention.query.weight");
    assert_eq!(plans[1]["trainable"].as_u64(), Some(report.trainable_values as u64));
}

#[test]
fn what_is_frozen_keeps_its_bytes_under_each_policy() {
    type Trains = fn(&str) -> bool;
    let policies: [(Freeze, Trains); 4] = [
        (Freeze::BitFit, |path| path.ends_with(".bias")),
        (Freeze::Norm, |path| path.contains("norm.")),
        (Freeze::Every(2), |path| path.contains("layer.1.")),
        (Freeze::Surgical { stages: 3 }, |_| true),
    ];
    for (policy, trains) in policies {
        let (mut model, rows) = (classifier(2, 0.1), rows(32));
        let before = bits(&model);
        let mut config = fit_config(12, 1e-3);
        config.rates.weight_decay = 0.1;
        let data = Data { train: &rows, validation: &[] };
        let report = fit(&mut model, &task(), data, &policy, &config, &mut []).unwrap();
        for (path, values) in bits(&model) {
            let trains = path.starts_with("head.") || trains(&path);
            assert_eq!(values != before[&path], trains, "{policy:?} {path}");
            assert_eq!(report.optimizer_parameters.contains(&path), trains, "{policy:?} {path}");
        }
    }
}

#[test]
fn what_keeps_training_keeps_its_moments_to_the_bit() {
    // What thaws has a rate too small to move it, so that the head must train as if nothing had ever changed.
    let rows = equal_rows(24);
    let run = |policy: &dyn FreezePolicy, hand: &mut Hand| {
        let mut config = Fit { clip_norm: None, eval_every: Some(2), ..fit_config(9, 1e-2) };
        let select = "backbone".parse().unwrap();
        config.rates.groups = vec![GroupRule { select, lr: Some(1e-30), weight_decay: None }];
        let (mut model, data) = (classifier(2, 0.0), Data { train: &rows[..16], validation: &rows[16..] });
        let losses = fit(&mut model, &task(), data, policy, &config, &mut [hand]).unwrap().losses;
        let head: Vec<_> = bits(&model).into_iter().filter(|(path, _)| path.starts_with("head.")).collect();
        (losses, head)
    };
    let expected = run(&Freeze::Backbone, &mut Hand::default());
    let signal = Signal::new();
    let policies: [&dyn FreezePolicy; 5] = [
        &Freeze::LpFt { head: Span::Steps(3) },
        &refreeze(),
        &Freeze::GradualPlateau { patience: 1, min_delta: 1e3 },
        &Freeze::ChainThaw { each: Span::Steps(2) },
        &OnSignal::new(signal.clone(), Freeze::Backbone, [Freeze::Nothing]),
    ];
    for policy in policies {
        signal.take();
        let mut hand = Hand { signal: signal.clone(), raise_in: Some(4), ..Hand::default() };
        assert!(run(policy, &mut hand) == expected, "{policy:?}");
        assert!(!hand.changes.is_empty(), "{policy:?}");
    }
}

/// The same 8 rows in every step; the head has a rate too small to move it.
fn still_head(policy: &Freeze, steps: usize, warmup: usize, rewarm: usize) -> Vec<f32> {
    let rows = equal_rows(8);
    let schedule = Schedule::Constant { warmup: Warmup::Steps(warmup) };
    let mut config = Fit { schedule, rewarm_steps: rewarm, ..fit_config(steps, 1e-3) };
    let select = "head".parse().unwrap();
    config.rates.groups = vec![GroupRule { select, lr: Some(1e-30), weight_decay: Some(0.0) }];
    let (mut model, data) = (classifier(2, 0.0), Data { train: &rows, validation: &[] });
    fit(&mut model, &task(), data, policy, &config, &mut []).unwrap();
    weights(&model).into_iter().filter(|(path, _)| path.contains("query.weight")).flat_map(|(_, v)| v).collect()
}

#[test]
fn a_thawed_parameter_warms_up_as_a_run_does() {
    let thawed = Freeze::LpFt { head: Span::Steps(3) };
    for (steps, rewarm) in [(1, 4), (2, 4), (3, 4), (6, 4), (3, 1), (5, 0)] {
        // As from the start, with the schedule's warm-up, but three steps later.
        let expected = still_head(&Freeze::Nothing, steps, rewarm, 0);
        let found = still_head(&thawed, 3 + steps, 0, rewarm);
        assert!(difference(&found, &expected) < 1e-6, "{steps} {rewarm}");
    }
    let untouched = still_head(&Freeze::Backbone, 3, 0, 0);
    assert!(still_head(&thawed, 4, 0, 4) == untouched, "the first step has rate 0");
    assert!(still_head(&thawed, 5, 0, 4) != untouched);
    // What trains from the start has nothing to do with it.
    assert!(still_head(&Freeze::Nothing, 3, 0, 50) == still_head(&Freeze::Nothing, 3, 0, 0));
}

#[test]
fn a_plateau_needs_validations() {
    let (mut model, rows) = (classifier(1, 0.0), rows(8));
    let policy = Freeze::GradualPlateau { patience: 1, min_delta: 0.0 };
    let data = Data { train: &rows, validation: &[] };
    let error = fit(&mut model, &task(), data, &policy, &fit_config(1, 1e-3), &mut []).unwrap_err();
    assert!(matches!(error, rekindle::Error::Train(TrainError::NoData { set: "validation" })), "{error}");
}
