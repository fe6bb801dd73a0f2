//! Every optimizer in a run: it learns, owns state for what trains, and goes on from a checkpoint.

use rekindle::Model;
use rekindle::backbone::Bert;
use rekindle::head::Classifier;
use rekindle::optim::{Adafactor, AdamW, Lion, NormType, OptimizerConfig, Sgd};
use rekindle::params::{Freeze, FreezePolicy};
use rekindle::train::{Data, Fit, Report, SaveEvery, fit};

use super::support::*;

fn run(policy: &dyn FreezePolicy, config: &Fit, stop: Option<usize>) -> (Model<Bert, Classifier>, Report) {
    let (mut model, rows) = (classifier(2, 0.1), rows(40));
    let data = Data { train: &rows, validation: &[] };
    let report = fit(&mut model, &task(), data, policy, config, &mut [&mut StopAfter(stop)]).unwrap();
    (model, report)
}

/// Optimizers with rates at which the small classifier learns, and whether they remember anything.
fn optimizers() -> Vec<(OptimizerConfig, f64, bool)> {
    let fixed = Adafactor { relative_step: false, scale_parameter: false, ..Adafactor::default() };
    vec![
        (AdamW::default().into(), 3e-3, true),
        (AdamW { amsgrad: true, ..AdamW::default() }.into(), 3e-3, true),
        (AdamW { decoupled: false, ..AdamW::default() }.into(), 3e-3, true),
        (Sgd::default().into(), 0.2, false),
        (Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(), 0.05, true),
        (fixed.into(), 3e-3, true),
        (Adafactor { beta1: Some(0.9), ..fixed }.into(), 3e-3, true),
        (Adafactor::default().into(), 1.0, true),
        (Lion::default().into(), 3e-3, true),
    ]
}

#[test]
fn every_optimizer_learns_and_owns_state_for_what_trains() {
    for (optimizer, lr, remembers) in optimizers() {
        let before = bits(&classifier(2, 0.1));
        let (model, report) = run(&Freeze::Bottom(2), &Fit { optimizer, ..fit_config(40, lr) }, None);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (start, end) = (mean(&report.losses[..5]), mean(&report.losses[35..]));
        // Adafactor's own rate is 1 % of a parameter's size a step at most.
        let share = if lr == 1.0 { 0.95 } else { 0.85 };
        assert!(end < share * start, "{optimizer:?}: {start} to {end}");
        let trained = bits(&model).into_iter().filter(|(path, values)| *values != before[path]);
        let trained: Vec<String> = trained.map(|(path, _)| path).collect();
        assert!(trained.iter().all(|path| path.starts_with("head.") || path.contains("layer.1.")), "{trained:?}");
        let mut owned = report.optimizer_parameters;
        owned.sort();
        assert_eq!(owned, if remembers { trained } else { vec![] }, "{optimizer:?}");
    }
}

#[test]
fn every_optimizer_goes_on_to_the_same_bits() {
    for (optimizer, lr, _) in optimizers() {
        for policy in [Freeze::Nothing, Freeze::Gradual { epochs: 1 }] {
            let config = Fit { optimizer, ..fit_config(9, lr) };
            let (whole, expected) = run(&policy, &config, None);
            for stop in [1, 6] {
                let folder = temporary();
                let save_every = Some(SaveEvery::Steps(1));
                let config = Fit { folder: Some(folder.path().into()), resume: true, save_every, ..config.clone() };
                run(&policy, &config, Some(stop));
                let (resumed, report) = run(&policy, &config, None);
                assert!(bits(&resumed) == bits(&whole), "{optimizer:?} {policy:?} stopped after {stop}");
                assert_eq!(report.losses, expected.losses);
            }
        }
    }
}

#[test]
fn gradients_are_clipped_by_value_and_by_other_norms() {
    // SGD with a rate of 1 moves a parameter by its very gradient.
    let moved = |config: Fit| {
        let before = weights(&classifier(2, 0.1));
        let mut config = Fit { optimizer: Sgd::default().into(), ..config };
        config.rates.weight_decay = 0.0;
        let after = weights(&run(&Freeze::Nothing, &config, None).0);
        let differences = after.into_iter().flat_map(|(path, values)| {
            values.into_iter().zip(before[&path].clone()).map(|(new, old)| f64::from((new - old).abs()))
        });
        differences.collect::<Vec<f64>>()
    };
    let config = Fit { clip_norm: None, accumulation: 2, ..fit_config(1, 1.0) };
    let largest = |moved: &[f64]| moved.iter().fold(0.0_f64, |most, value| most.max(*value));
    let whole = moved(config.clone());
    let bound = 0.1 * largest(&whole);
    for (found, whole) in moved(Fit { clip_value: Some(bound), ..config.clone() }).into_iter().zip(&whole) {
        assert!((found - whole.min(bound)).abs() < 1e-6, "{found} {whole}");
    }
    let most = moved(Fit { clip_norm: Some(bound), clip_norm_type: NormType::Max, ..config.clone() });
    assert!((largest(&most) / bound - 1.0).abs() < 1e-3, "{} {bound}", largest(&most));
    let sum: f64 = moved(Fit { clip_norm: Some(bound), clip_norm_type: NormType::P(1.0), ..config }).iter().sum();
    assert!((sum / bound - 1.0).abs() < 0.05, "{sum} {bound}");
}
