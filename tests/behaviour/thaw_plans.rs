//! What each policy lets train, at every moment of a run; no run is needed for that.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, Pooling, Stages};
use rekindle::head::{Classifier, Loss, TaskHead};
use rekindle::params::{
    Freeze, FreezeError, FreezePolicy, Inventory, Merit, OnSignal, Phase, Progress, Rates, RelativeGradient,
    RelativeGradients, Signal, Span, TrainPlan,
};

use super::support::*;

/// Embeddings, three layers, a pooler.
fn pooled() -> Model<Bert, Classifier> {
    Model::new(bert(3, 0.0, Pooling::Pooler), Classifier::new(32, 4, 7, &device()))
}

fn plan(policy: &dyn FreezePolicy, at: Progress) -> Result<TrainPlan, FreezeError> {
    TrainPlan::new(&Inventory::of(&pooled()).unwrap(), policy, &Rates::new(1e-3), at)
}

/// The groups that train: `e` for the embeddings, `0` to `2` for the layers, `p` for the pooler, `h` for the head.
fn groups(policy: &dyn FreezePolicy, at: Progress) -> String {
    let inventory = Inventory::of(&pooled()).unwrap();
    let plan = TrainPlan::new(&inventory, policy, &Rates::new(1e-3), at).unwrap();
    let of = |row: usize| inventory.group_name(&inventory.entries[row]).rsplit('.').next().unwrap_or_default();
    let mut letters: Vec<char> = plan.rows.iter().filter_map(|row| of(row.entry).chars().next()).collect();
    letters.dedup();
    letters.into_iter().collect()
}

/// Epochs of 4 steps.
fn at(step: usize) -> Progress<'static> {
    Progress { epoch: step / 4, step, steps: 100, steps_per_epoch: 4, ..Progress::default() }
}

fn at_steps(policy: &dyn FreezePolicy, steps: &[usize]) -> Vec<String> {
    steps.iter().map(|step| groups(policy, at(*step))).collect()
}

fn phases(phases: &[(Freeze, Span)], then: Freeze) -> Freeze {
    let phase = |(freeze, lasts): &(Freeze, Span)| Phase { freeze: freeze.clone(), lasts: *lasts };
    Freeze::Phases { phases: phases.iter().map(phase).collect(), then: Box::new(then) }
}

#[test]
fn stages_thaw_from_the_top_at_plateaus() {
    let policy = Freeze::GradualPlateau { patience: 2, min_delta: 0.1 };
    let values = [0.5, 0.7, 0.75, 0.79, 0.95, 0.9, 1.0, 1.04, 0.1, 0.1, 2.0, 2.0, 2.0];
    // Gains of less than 0.1 are none; the best figure stays when a stage thaws.
    let expected = ["h", "h", "h", "h", "ph", "ph", "ph", "2ph", "2ph", "12ph", "12ph", "12ph", "12ph", "012ph"];
    let merits: Vec<_> =
        values.iter().enumerate().map(|(step, value)| Merit { step: step + 1, value: *value }).collect();
    let seen: Vec<_> =
        (0..=merits.len()).map(|n| groups(&policy, Progress { merits: &merits[..n], ..at(n) })).collect();
    assert_eq!(seen, expected);
    let flat: Vec<_> = (1..40).map(|step| Merit { step, value: 0.0 }).collect();
    assert_eq!(groups(&policy, Progress { merits: &flat, ..at(40) }), "e012ph");
}

#[test]
fn the_head_goes_first_under_lp_ft() {
    let epochs = Freeze::LpFt { head: Span::Epochs(2) };
    assert_eq!(at_steps(&epochs, &[0, 7, 8, 99]), ["h", "h", "e012ph", "e012ph"]);
    let steps = Freeze::LpFt { head: Span::Steps(6) };
    assert_eq!(at_steps(&steps, &[0, 5, 6, 99]), ["h", "h", "e012ph", "e012ph"]);
    assert!(!epochs.asks_at(at(8)) && !steps.asks_at(at(5)) && steps.asks_at(at(6)));
}

#[test]
fn a_chain_thaws_one_stage_at_a_time() {
    let policy = Freeze::ChainThaw { each: Span::Epochs(1) };
    let expected = ["h", "eh", "0h", "1h", "2h", "ph", "e012ph", "e012ph"];
    assert_eq!(at_steps(&policy, &[0, 4, 8, 12, 16, 20, 24, 50]), expected);
    let policy = Freeze::ChainThaw { each: Span::Steps(3) };
    assert_eq!(at_steps(&policy, &[2, 3, 5, 6]), ["h", "eh", "eh", "0h"]);
    assert!(policy.asks_at(at(9)) && !policy.asks_at(at(10)));
}

#[test]
fn phases_follow_each_other_and_freeze_again() {
    let except = Freeze::Except(vec!["backbone.encoder.layer.1".parse().unwrap()]);
    let list = [(Freeze::Nothing, Span::Epochs(1)), (except, Span::Steps(3)), (Freeze::Bottom(3), Span::Epochs(1))];
    let policy = phases(&list, Freeze::Backbone);
    // The third phase begins in the middle of an epoch, at step 7, and lasts for the whole epoch after that.
    let expected = ["e012ph", "e012ph", "1h", "1h", "2ph", "2ph", "h"];
    assert_eq!(at_steps(&policy, &[0, 3, 4, 6, 7, 11, 12]), expected);
    let asked: Vec<usize> = (1..30).filter(|step| policy.asks_at(at(*step))).collect();
    assert_eq!(asked, [4, 7, 12]);
}

#[test]
fn a_phase_counts_from_its_own_start() {
    let list = [(Freeze::Nothing, Span::Epochs(1)), (Freeze::LpFt { head: Span::Steps(2) }, Span::Epochs(2))];
    let policy = phases(&list, Freeze::Gradual { epochs: 1 });
    let expected = ["e012ph", "h", "h", "e012ph", "e012ph", "h", "ph", "2ph"];
    assert_eq!(at_steps(&policy, &[0, 4, 5, 6, 11, 12, 16, 20]), expected);
    assert!(policy.asks_at(at(6)));

    // From the middle of an epoch: the first whole epoch from step 6 ends with step 12, and steps count from there.
    let list = [(Freeze::Backbone, Span::Steps(6)), (Freeze::Bottom(4), Span::Epochs(1))];
    let policy = phases(&list, Freeze::LpFt { head: Span::Steps(3) });
    assert_eq!(at_steps(&policy, &[5, 6, 11, 12, 14, 15]), ["h", "ph", "ph", "h", "h", "e012ph"]);
    assert!(policy.asks_at(at(15)) && !policy.asks_at(at(14)));

    let plateau = Freeze::GradualPlateau { patience: 1, min_delta: 0.0 };
    let policy = phases(&[(Freeze::Backbone, Span::Steps(8))], plateau);
    let merits: Vec<_> = (1..7).map(|n| Merit { step: 2 * n, value: 0.0 }).collect();
    let seen = [4, 5, 6].map(|n| groups(&policy, Progress { merits: &merits[..n], ..at(2 * n) }));
    assert_eq!(seen, ["h", "h", "ph"]);
    assert!(policy.needs_validation() && !policy.needs_gradients());
}

#[test]
fn a_signal_brings_the_next_policy() {
    let signal = Signal::new();
    let policy = OnSignal::new(signal.clone(), Freeze::Backbone, [Freeze::Gradual { epochs: 1 }, Freeze::Bottom(1)]);
    let seen = |signals: &[usize], step| groups(&policy, Progress { signals, ..at(step) });
    assert_eq!(seen(&[], 90), "h");
    // Gradual counts whole epochs from the signal in step 6: the first ends with step 12.
    assert_eq!([6, 8, 11, 12, 16].map(|step| seen(&[6], step)), ["h", "h", "h", "ph", "2ph"]);
    assert_eq!([seen(&[6, 9], 9), seen(&[6, 9, 9], 50)], ["012ph", "012ph"]);
    signal.raise();
    signal.clone().raise();
    assert_eq!((policy.take_signals(), policy.take_signals()), (2, 0));
    assert!(!format!("{policy:?}").contains('2'), "{policy:?}");
}

#[test]
fn biases_and_norms_are_told_by_what_they_are() {
    let paths = |policy: Freeze| {
        let plan = plan(&policy, at(0)).unwrap();
        let inventory = Inventory::of(&pooled()).unwrap();
        plan.rows.iter().map(|row| inventory.entries[row.entry].path.clone()).collect::<Vec<_>>()
    };
    let biases = paths(Freeze::BitFit);
    // Six linear layers and two norms a layer; the embeddings' norm; the pooler; the head, which trains whole.
    assert_eq!(biases.len(), 3 * 8 + 1 + 1 + 2);
    assert!(biases.iter().all(|path| path.ends_with(".bias") || path == "head.linear.weight"));
    let norms = paths(Freeze::Norm);
    assert_eq!(norms.len(), 2 * (3 * 2 + 1) + 2);
    assert!(norms.iter().all(|path| path.contains("norm.") || path.starts_with("head.")));

    let plan = plan(&Freeze::BitFit, at(0)).unwrap();
    assert!(!plan.plain.contains(&true));
    let reason = "no stage is plain and cached: `backbone.embeddings.norm.bias` trains in `embeddings`";
    assert!(plan.to_string().contains(reason), "{plan}");
}

#[test]
fn every_nth_layer_counts_from_the_top() {
    let seen = [1, 2, 3, 9].map(|n| groups(&Freeze::Every(n), at(0)));
    assert_eq!(seen, ["012ph", "02ph", "2ph", "2ph"]);
}

fn measured(ratios: &[(&str, f64)]) -> RelativeGradients {
    let row = |(group, ratio): &(&str, f64)| RelativeGradient {
        name: format!("{group}.weight"),
        group: group.to_string(),
        gradient: *ratio,
        weight: 1.0,
    };
    RelativeGradients { parameters: ratios.iter().map(row).collect() }
}

#[test]
fn surgery_takes_the_stages_with_the_largest_relative_gradients() {
    let names = ["embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2", "pooler", "head"];
    let ratios: Vec<_> = names.into_iter().zip([0.2, 0.5, 0.1, 0.5, 0.3, 9.0]).collect();
    let gradients = measured(&ratios);
    let at = Progress { gradients: Some(&gradients), ..at(0) };
    let seen = [1, 2, 3, 5].map(|stages| groups(&Freeze::Surgical { stages }, at));
    // Of equals the lower one; the head is not chosen, it trains anyway.
    assert_eq!(seen, ["0h", "02h", "02ph", "e012ph"]);
    let error = plan(&Freeze::Surgical { stages: 6 }, at).unwrap_err();
    assert!(matches!(error, FreezeError::TooMany { asked: 6, stages: 5, .. }), "{error}");
    let error = plan(&Freeze::Surgical { stages: 1 }, self::at(0)).unwrap_err();
    assert!(error.to_string().contains("`relative_gradients`"), "{error}");
}

#[test]
fn numbers_that_mean_nothing_are_refused_by_name() {
    let refused = |policy: &Freeze| plan(policy, at(0)).unwrap_err().to_string();
    for (policy, part) in [
        (Freeze::GradualPlateau { patience: 0, min_delta: 0.0 }, "Freeze::GradualPlateau needs at least 1 validation"),
        (Freeze::GradualPlateau { patience: 1, min_delta: -1.0 }, "min_delta -1"),
        (Freeze::LpFt { head: Span::Epochs(0) }, "Freeze::LpFt needs at least 1 epoch or step"),
        (Freeze::ChainThaw { each: Span::Steps(0) }, "Freeze::ChainThaw needs at least 1"),
        (Freeze::Every(0), "Freeze::Every needs at least 1 layer"),
        (Freeze::Surgical { stages: 0 }, "Freeze::Surgical needs at least 1 stage"),
        (phases(&[(Freeze::Nothing, Span::Steps(0))], Freeze::Nothing), "for each phase"),
        (phases(&[], phases(&[], Freeze::Nothing)), "all phases in one list"),
        // Also where its time has not come.
        (phases(&[(Freeze::Nothing, Span::Epochs(9))], Freeze::Every(0)), "Freeze::Every"),
        (phases(&[(Freeze::Nothing, Span::Epochs(9))], Freeze::Bottom(7)), "5 stages"),
        (phases(&[(Freeze::Nothing, Span::Epochs(9))], Freeze::Except(vec!["x".parse().unwrap()])), "matches no"),
    ] {
        assert!(refused(&policy).contains(part), "{policy:?}: {}", refused(&policy));
    }
    let policy = OnSignal::new(Signal::new(), Freeze::Nothing, [Freeze::Bottom(7)]);
    assert!(plan(&policy, at(0)).is_err());
}

/// One stage of one parameter, which is neither a bias nor a norm.
#[derive(Module, Debug)]
struct Unbiased {
    scale: Param<Tensor<1>>,
}

impl Backbone for Unbiased {
    type Input = Tensor<2>;
    type State = Tensor<2>;
    type Features = Tensor<2>;

    fn stages(&self) -> Stages {
        Stages::new().stage("scale")
    }
    fn embed(&self, input: Tensor<2>) -> Tensor<2> {
        input * self.scale.val().unsqueeze()
    }
    fn stage(&self, _: usize, state: Tensor<2>) -> Tensor<2> {
        state
    }
    fn finish(&self, state: Tensor<2>) -> Tensor<2> {
        state
    }
}

#[derive(Module, Debug)]
struct Sum {
    bias: Param<Tensor<1>>,
}

impl TaskHead<Tensor<2>> for Sum {
    type Output = Tensor<1>;
    type Targets = ();
    fn forward(&self, features: Tensor<2>) -> Tensor<1> {
        features.sum() + self.bias.val()
    }
    fn loss(&self, features: Tensor<2>, (): ()) -> Loss {
        Loss { sum: self.forward(features), weight: 1.0 }
    }
}

#[test]
fn a_backbone_without_what_a_policy_trains_is_named() {
    let vector = || Param::from_tensor(Tensor::ones([3], &device()));
    let inventory = Inventory::of(&Model::new(Unbiased { scale: vector() }, Sum { bias: vector() })).unwrap();
    for (policy, what) in [
        (Freeze::BitFit, "Freeze::BitFit trains biases"),
        (Freeze::Norm, "Freeze::Norm trains normalisation layers"),
        (Freeze::Every(1), "Freeze::Every trains layers above stage 0"),
    ] {
        let error = policy.trainable(&inventory, at(0)).unwrap_err();
        assert!(matches!(error, FreezeError::NoneOfKind { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("the backbone `Unbiased` has none"), "{text}");
    }
}
