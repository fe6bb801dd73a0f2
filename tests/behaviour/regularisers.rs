//! R-Drop, L2-SP and mixout in a run.

use burn::module::Module;
use burn::tensor::Tensor;
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, Pooling};
use rekindle::data::BatchOrder;
use rekindle::head::{Classifier, DistilledClassifier, TaskHead};
use rekindle::nn::RandomScope;
use rekindle::objective::{Distillation, Draws, LabelledRow, Objective};
use rekindle::params::{Freeze, Rates};
use rekindle::random::mix;
use rekindle::rows::RowsExt;
use rekindle::train::{Data, Fit, L2Sp, Regularisation, Report, RunError, TrainError, evaluate, fit};

use super::accumulation::check_with;
use super::resume::{Watch, config, run, same};
use super::support::*;

fn r_drop(alpha: f64) -> Regularisation {
    Regularisation { r_drop: Some(alpha), ..Regularisation::default() }
}

fn l2_sp(alpha: f64, beta: f64) -> Regularisation {
    Regularisation { l2_sp: Some(L2Sp { alpha, beta }), ..Regularisation::default() }
}

fn mixout(prob: f64) -> Regularisation {
    Regularisation { mixout: Some(prob), ..Regularisation::default() }
}

fn train(model: &mut Model<Bert, Classifier>, rows: &[LabelledRow], freeze: &Freeze, config: &Fit) -> Report {
    fit(model, &task(), Data { train: rows, validation: &[] }, freeze, config, &mut []).unwrap()
}

/// Log-probabilities of each row in float64.
fn log_probabilities(logits: Tensor<2>) -> Vec<Vec<f64>> {
    let classes = logits.dims()[1];
    let values: Vec<f64> = logits.into_data().iter::<f64>().collect();
    let row = |row: &[f64]| {
        let normaliser = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        row.iter().map(|logit| logit - normaliser).collect()
    };
    values.chunks_exact(classes).map(row).collect()
}

#[test]
fn r_drop_is_the_mean_of_two_passes_and_their_divergence() {
    let rows = rows(8);
    for freeze in [Freeze::Nothing, Freeze::Bottom(2), Freeze::Backbone] {
        let config = Fit { regularisation: r_drop(0.7), ..fit_config(1, 1e-3) };
        let mut model = classifier(2, 0.1);
        // What is frozen does not drop out: in the two passes by hand neither does it.
        let layers = match freeze {
            Freeze::Nothing => None,
            Freeze::Bottom(stages) => Some(stages),
            _ => Some(3),
        };
        let lengths: Vec<usize> = rows.iter().map(|row| row.row.len()).collect();
        let order = BatchOrder { batch_size: 8, max_tokens: None, seed: config.seed, shuffle: true, bucket: false };
        let indices = order.batches(&lengths, 0).remove(0);
        let chosen: Vec<_> = indices.iter().map(|index| &rows[*index]).collect();
        let batch = task().batch(&chosen, &Draws::new(config.seed, 0, &indices), &device()).unwrap();
        let training = model.clone().train();
        let autodiff = device().autodiff();
        let pass = || {
            let plain = model.valid().backbone;
            let frozen = |stage: usize| layers.is_some_and(|layers| stage < layers);
            let state = match frozen(0) {
                true => (1..3)
                    .filter(|stage| frozen(*stage))
                    .fold(plain.embed(batch.input.clone()), |state, stage| plain.stage(stage, state)),
                false => training.backbone.embed(batch.input.clone().lift(&autodiff)),
            };
            let rest = (1..3).filter(|stage| !frozen(*stage));
            training
                .backbone
                .finish(rest.fold(state.lift(&autodiff), |state, stage| training.backbone.stage(stage, state)))
        };
        let scope = RandomScope::new(mix(&[config.seed, 0, 0, 0]));
        let features = [pass(), pass()];
        let [first, second] = features.map(|features| log_probabilities(training.head.forward(features)));
        drop(scope);
        assert_ne!(first, second);
        let mut expected = 0.0;
        for (row, example) in chosen.iter().enumerate() {
            let (p, q, label) = (&first[row], &second[row], example.label.unwrap());
            let kl = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            expected += -(p[label] + q[label]) / 2.0 + 0.7 * (kl(p, q) + kl(q, p)) / 2.0;
        }
        let found = train(&mut model, &rows, &freeze, &config).losses[0];
        assert!((found - expected / 8.0).abs() < 1e-6, "{freeze:?}: {found} {}", expected / 8.0);
    }
}

#[test]
fn r_drop_needs_dropout_and_a_head_that_can_tell() {
    let config = Fit { regularisation: r_drop(1.0), ..fit_config(2, 1e-3) };
    let (mut model, rows) = (classifier(2, 0.0), rows(8));
    let before = bits(&model);
    let data = Data { train: &rows, validation: &[] };
    let error = fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut []).unwrap_err();
    assert!(matches!(error, rekindle::Error::Train(TrainError::NothingDropsOut)), "{error}");
    assert!(bits(&model) == before);
    let Model { backbone, head } = classifier(2, 0.1);
    let distillation = Distillation::new(task(), &classifier(1, 0.0));
    let taught = distillation.examples(rows.clone(), 8).unwrap();
    let data = Data { train: &taught, validation: &[] };
    let mut model = Model::new(backbone, DistilledClassifier::new(head, 1.0, 0.5).unwrap());
    let error = fit(&mut model, &distillation, data, &Freeze::Nothing, &config, &mut []).unwrap_err();
    assert!(matches!(error, rekindle::Error::Train(TrainError::NoRDrop)), "{error}");
}

#[test]
fn masked_language_models_drop_twice_too() {
    let rows = token_rows(16);
    let run = |alpha| {
        let body = bert(2, 0.1, Pooling::Mean);
        let mut model = Model::new(body, masked_lm(1, Pooling::Mean).head);
        let config = Fit { regularisation: r_drop(alpha), ..fit_config(2, 1e-3) };
        let data = Data { train: &rows, validation: &[] };
        fit(&mut model, &masking(), data, &Freeze::Nothing, &config, &mut []).unwrap().losses
    };
    let (plain, drawn) = (run(0.0), run(2.0));
    assert!(plain[0] < drawn[0] && drawn[0] < 2.0 * plain[0], "{plain:?} {drawn:?}");
}

#[test]
fn the_reported_loss_holds_the_penalty() {
    let (alpha, beta) = (3.0, 0.5);
    let rows = rows(8);
    let config = |steps| Fit { regularisation: l2_sp(alpha, beta), ..fit_config(steps, 1e-2) };
    for freeze in [Freeze::Nothing, Freeze::Bottom(2)] {
        let start = weights(&classifier(2, 0.0));
        let mut one = classifier(2, 0.0);
        train(&mut one, &rows, &freeze, &config(1));
        let report = train(&mut classifier(2, 0.0), &rows, &freeze, &config(2));
        for (model, found) in [(classifier(2, 0.0), report.losses[0]), (one, report.losses[1])] {
            let plain = evaluate(&model, &task(), &rows, 8, 0).unwrap().summary().loss;
            let squares = |of_head: bool| -> f64 {
                let chosen = weights(&model).into_iter().filter(|(path, _)| path.starts_with("head.") == of_head);
                let apart = |path: &str, values: Vec<f32>| -> f64 {
                    let from = start[path].iter().map(|value| if of_head { 0.0 } else { f64::from(*value) });
                    values.iter().zip(from).map(|(value, from)| (f64::from(*value) - from).powi(2)).sum()
                };
                chosen.map(|(path, values)| apart(&path, values)).sum()
            };
            let expected = plain + alpha / 2.0 * squares(false) + beta / 2.0 * squares(true);
            assert!((found - expected).abs() < 1e-5 * expected, "{freeze:?}: {found} {expected}");
        }
    }
}

#[test]
fn l2_sp_keeps_the_backbone_near_its_start() {
    let rows = rows(24);
    let start = weights(&classifier(2, 0.0));
    let way = |alpha| {
        let mut model = classifier(2, 0.0);
        train(&mut model, &rows, &Freeze::Nothing, &Fit { regularisation: l2_sp(alpha, 0.0), ..fit_config(20, 3e-3) });
        let moved = weights(&model).into_iter().filter(|(path, _)| path.starts_with("backbone."));
        let square = |(path, values): (String, Vec<f32>)| -> f32 {
            values.iter().zip(&start[&path]).map(|(now, before)| (now - before).powi(2)).sum()
        };
        moved.map(square).sum::<f32>()
    };
    let (free, held) = (way(0.0), way(10.0));
    assert!(held < free / 3.0, "{held} {free}");
}

#[test]
fn mixout_holds_values_of_weights_that_train_and_of_nothing_else() {
    let rows = rows(8);
    let rates = Rates { weight_decay: 0.0, ..Rates::new(1e-3) };
    let config = Fit { regularisation: mixout(0.3), rates, ..fit_config(1, 1e-3) };
    let (before, mut model) = (weights(&classifier(2, 0.0)), classifier(2, 0.0));
    let mixed = train(&mut model, &rows, &Freeze::Bottom(2), &config);
    let plain = Fit { regularisation: Regularisation::default(), ..config };
    let mut other = classifier(2, 0.0);
    let unmixed = train(&mut other, &rows, &Freeze::Bottom(2), &plain);
    // At the start there is no way to drop: the loss is the same, and only gradients differ.
    assert!((mixed.losses[0] - unmixed.losses[0]).abs() < 1e-6);
    let (mut held, mut all) = (0, 0);
    let moved = weights(&other);
    for (path, values) in weights(&model) {
        let stays = values.iter().zip(&before[&path]).filter(|(now, before)| now == before).count();
        let stayed = moved[&path].iter().zip(&before[&path]).filter(|(now, before)| now == before).count();
        let weight = path.starts_with("backbone.encoder.layer.1.") && path.ends_with("weight") && !path.contains("orm");
        if weight {
            (held, all) = (held + stays, all + values.len());
        } else {
            assert_eq!(stays, stayed, "{path}");
        }
    }
    let share = f64::from(held as u32) / f64::from(all as u32);
    assert!(all > 5000 && (share - 0.3).abs() < 0.03, "{share} of {all}");
}

#[test]
fn regularised_steps_add_up_over_micro_batches() {
    let both = Regularisation { mixout: Some(0.2), ..l2_sp(0.5, 0.1) };
    let config = Fit { regularisation: both, ..fit_config(6, 1e-3) };
    check_with(&config, || classifier(2, 0.0), &task(), &rows(20));
}

#[test]
fn a_regularised_run_goes_on_to_the_same_bits_from_another_start() {
    let all = Regularisation { r_drop: Some(0.5), l2_sp: Some(L2Sp::new(0.3)), mixout: Some(0.2) };
    for policy in [Freeze::Nothing, Freeze::Bottom(2), Freeze::Gradual { epochs: 1 }] {
        let config = |folder: &std::path::Path| Fit { regularisation: all, ..config(folder) };
        let whole_folder = temporary();
        let mut whole = classifier(2, 0.1);
        let expected = run(&mut whole, &policy, &config(whole_folder.path()), &mut Watch::default()).unwrap();
        for stop_after in [1, 4, 7] {
            let folder = temporary();
            let mut watch = Watch { stop_after: Some(stop_after), ..Watch::default() };
            run(&mut classifier(2, 0.1), &policy, &config(folder.path()), &mut watch).unwrap();
            // Nothing of this model's own values may count.
            let body = Bert::new(&super::support::config(2, 0.1), Pooling::Mean, 99, &device());
            let mut resumed = Model::new(body, Classifier::new(32, 4, 99, &device()).with_dropout(0.1));
            let again = Fit { resume: true, ..config(folder.path()) };
            let report = run(&mut resumed, &policy, &again, &mut Watch::default()).unwrap();
            same(&report, &expected);
            assert!(bits(&resumed) == bits(&whole), "{policy:?} stopped after {stop_after}");
        }
    }
}

#[test]
fn starting_weights_that_were_changed_are_not_believed() {
    let folder = temporary();
    let config = Fit { regularisation: mixout(0.2), ..config(folder.path()) };
    let mut watch = Watch { stop_after: Some(3), ..Watch::default() };
    run(&mut classifier(2, 0.1), &Freeze::Nothing, &config, &mut watch).unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let start: Vec<_> = files.filter(|path| path.to_string_lossy().contains("start-")).collect();
    assert_eq!(start.len(), 1);
    let mut bytes = std::fs::read(&start[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&start[0], bytes).unwrap();
    let again = Fit { resume: true, ..config };
    let error = run(&mut classifier(2, 0.1), &Freeze::Nothing, &again, &mut Watch::default()).unwrap_err();
    let rekindle::Error::Train(TrainError::Run(RunError::NothingWhole { newest, .. })) = &error else {
        panic!("{error}")
    };
    assert!(newest.contains("start-"), "{newest}");
}

#[test]
fn strengths_that_mean_nothing_are_named() {
    let rows = rows(8);
    for (regularisation, named) in [
        (r_drop(-1.0), "regularisation.r_drop"),
        (l2_sp(f64::NAN, 0.0), "regularisation.l2_sp.alpha"),
        (l2_sp(1.0, -0.1), "regularisation.l2_sp.beta"),
        (mixout(1.0), "regularisation.mixout"),
    ] {
        let config = Fit { regularisation, ..fit_config(1, 1e-3) };
        let data = Data { train: &rows, validation: &[] };
        let error = fit(&mut classifier(1, 0.1), &task(), data, &Freeze::Nothing, &config, &mut []).unwrap_err();
        let rekindle::Error::Train(TrainError::BadOption { option, .. }) = &error else { panic!("{error}") };
        assert_eq!(*option, named);
    }
}
