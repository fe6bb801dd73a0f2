//! Schedules, groups, layer-wise rates, decay and clipping, seen in what they do to parameters.

use std::collections::BTreeMap;

use rekindle::optim::{AdamW, Schedule, Warmup};
use rekindle::params::{Freeze, GroupRule};
use rekindle::train::{Data, Fit, fit};

use super::support::*;

type Weights = BTreeMap<String, Vec<f32>>;

/// A classifier before and after a run.
fn trained(config: &Fit) -> (Weights, Weights) {
    let (mut model, rows) = (classifier(3, 0.0), rows(16));
    let before = weights(&model);
    fit(&mut model, &task(), Data { train: &rows, validation: &[] }, &Freeze::Nothing, config, &mut []).unwrap();
    (before, weights(&model))
}

/// Distance that the parameters under `prefix` moved, per value.
fn moved((before, after): &(Weights, Weights), prefix: &str) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for (path, values) in after.iter().filter(|(path, _)| path.starts_with(prefix)) {
        sum += values.iter().zip(&before[path]).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        count += values.len();
    }
    assert!(count > 0, "{prefix}");
    (sum / count as f64).sqrt()
}

#[test]
fn warm_up_starts_at_0() {
    let schedule = Schedule::Constant { warmup: Warmup::Steps(4) };
    let (before, after) = trained(&Fit { schedule, ..fit_config(1, 1e-2) });
    assert_eq!(before, after);
    let [two, four] = [2, 4].map(|steps| moved(&trained(&Fit { schedule, ..fit_config(steps, 1e-2) }), "head."));
    assert!(two > 0.0 && four > 3.0 * two, "{two} {four}");
}

#[test]
fn a_group_has_a_rate_of_its_own() {
    let rule = |select: &str, lr| GroupRule { select: select.parse().unwrap(), lr: Some(lr), weight_decay: None };
    let mut config = fit_config(4, 1e-3);
    config.rates.groups = vec![rule("backbone.encoder", 1e-4), rule("backbone.encoder.layer.1", 1e-9)];
    let both = trained(&config);
    let [head, layer_0, layer_1] =
        ["head.", "backbone.encoder.layer.0.", "backbone.encoder.layer.1."].map(|prefix| moved(&both, prefix));
    assert!(head > 3.0 * layer_0 && layer_0 > 1e3 * layer_1, "{head} {layer_0} {layer_1}");
}

#[test]
fn lower_layers_move_less_under_layer_decay() {
    let mut config = fit_config(4, 1e-3);
    let even = trained(&config);
    config.rates.layer_decay = Some(0.1);
    let layered = trained(&config);
    let ratio = |prefix: &str| moved(&layered, prefix) / moved(&even, prefix);
    let ratios =
        ["head.", "backbone.encoder.layer.2.", "backbone.encoder.layer.1.", "backbone.encoder.layer.0."].map(ratio);
    for (depth, ratio) in ratios.into_iter().enumerate() {
        let expected = 0.1_f64.powi(depth as i32);
        assert!((ratio / expected - 1.0).abs() < 0.2, "{ratio} where {expected} is expected");
    }
    assert!(ratio("backbone.embeddings.") < 2e-4);
}

#[test]
fn weights_decay_and_biases_and_norms_do_not() {
    let mut config = fit_config(1, 0.1);
    config.rates.weight_decay = 0.0;
    let plain = trained(&config).1;
    config.rates.weight_decay = 0.5;
    let (before, decayed) = trained(&config);
    for (path, values) in &decayed {
        let decays = path.ends_with("weight") && !path.contains("norm");
        assert_eq!(values != &plain[path], decays, "{path}");
        // Decoupled: lr * decay * value is taken off, whatever the gradient.
        let expected: Vec<f32> = plain[path].iter().zip(&before[path]).map(|(new, old)| new - 0.05 * old).collect();
        assert!(!decays || difference(values, &expected) < 1e-5, "{path}");
    }
}

#[test]
fn a_group_may_decay_what_does_not_decay_by_default() {
    let mut config = fit_config(3, 0.1);
    let select = "**.norm.weight".parse().unwrap();
    config.rates.groups = vec![GroupRule { select, lr: None, weight_decay: Some(0.9) }];
    let ruled = trained(&config).1;
    config.rates.groups.clear();
    let plain = trained(&config).1;
    let path = "backbone.embeddings.norm.weight";
    assert!(ruled[path].iter().sum::<f32>() < 0.9 * plain[path].iter().sum::<f32>());
}

#[test]
fn clipping_bounds_the_gradient_of_all_parameters_together() {
    // With an eps far above every gradient, AdamW's first step is lr * gradient / eps.
    let run = |clip_norm| {
        let mut config = Fit { clip_norm, ..fit_config(1, 1.0) };
        config.optimizer = AdamW { eps: 1e3, ..AdamW::default() }.into();
        config.rates.weight_decay = 0.0;
        let (before, after) = trained(&config);
        let square = |path: &String| -> f64 {
            after[path].iter().zip(&before[path]).map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        1e3 * after.keys().map(square).sum::<f64>().sqrt()
    };
    let whole = run(None);
    assert!((run(Some(1e6)) / whole - 1.0).abs() < 1e-3);
    assert!((run(Some(0.5 * whole)) / (0.5 * whole) - 1.0).abs() < 0.05, "{whole}");
}
