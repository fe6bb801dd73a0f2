//! Averaged weights: what is measured and kept is their average, training goes on without it, frozen bytes stay.

use std::collections::BTreeMap;
use std::path::Path;

use rekindle::Model;
use rekindle::backbone::Bert;
use rekindle::checkpoint::{Tensors, load_weights};
use rekindle::head::Classifier;
use rekindle::optim::{Averaging, EmaForm, Start};
use rekindle::params::{Freeze, FreezePolicy};
use rekindle::train::{Control, Data, Event, Fit, Keep, Observer, ObserverError, Report, SaveEvery, evaluate, fit};

use super::support::*;

fn run(policy: &dyn FreezePolicy, config: &Fit, stop: Option<usize>) -> (Model<Bert, Classifier>, Report) {
    let (mut model, rows) = (classifier(2, 0.1), rows(40));
    let data = Data { train: &rows[..24], validation: &rows[24..] };
    let report = fit(&mut model, &task(), data, policy, config, &mut [&mut StopAfter(stop)]).unwrap();
    (model, report)
}

/// 3 steps an epoch.
fn config(averaging: Option<Averaging>) -> Fit {
    Fit { averaging, epochs: 3, max_steps: None, ..fit_config(1, 3e-3) }
}

fn in_folder(folder: &Path, config: &Fit) -> Fit {
    let save_every = Some(SaveEvery::Steps(1));
    Fit { folder: Some(folder.into()), save_every, resume: true, keep_checkpoints: 99, ..config.clone() }
}

/// The weights after every step of a run that keeps a checkpoint of each, by step.
fn trace(folder: &Path, base: &Model<Bert, Classifier>) -> Vec<BTreeMap<String, Vec<f32>>> {
    let steps = std::fs::read_dir(folder.join("checkpoints")).unwrap().count();
    let paths: Vec<String> = weights(base).into_keys().collect();
    let read = |step| {
        let file = folder.join(format!("checkpoints/step-{step:08}/weights.safetensors"));
        let tensors = Tensors::open_file(file).unwrap();
        let trained = paths.iter().filter(|path| tensors.contains(path));
        trained.map(|path| (path.clone(), tensors.f32(path).unwrap())).collect()
    };
    (1..=steps).map(read).collect()
}

#[test]
fn the_model_is_left_with_the_average_of_what_training_went_through() {
    let plain_folder = temporary();
    let (plain, _) = run(&Freeze::Nothing, &in_folder(plain_folder.path(), &config(None)), None);
    let steps = trace(plain_folder.path(), &plain);
    assert_eq!(steps.len(), 9);
    let (folder, decay) = (temporary(), 0.7);
    let (model, report) = run(&Freeze::Nothing, &in_folder(folder.path(), &config(Some(Averaging::ema(decay)))), None);
    // Training itself is the same.
    assert_eq!(trace(folder.path(), &model), steps);
    let found = weights(&model);
    for (path, first) in &steps[0] {
        let mean = |values: Vec<f32>, new: &Vec<f32>| {
            values.iter().zip(new).map(|(old, new)| decay as f32 * old + (1.0 - decay as f32) * new).collect()
        };
        let expected = steps[1..].iter().map(|step| &step[path]).fold(first.clone(), mean);
        assert!(difference(&found[path], &expected) < 1e-6, "{path}");
    }
    assert!(bits(&model) != bits(&plain));
    // Validations are of the average too.
    let scores = evaluate(&model, &task(), &rows(40)[24..], 8, 5).unwrap().summary();
    assert!((scores.loss - report.evaluations.last().unwrap().summary.loss).abs() < 1e-6);
    let last = load_weights(&plain, folder.path().join("last.safetensors")).unwrap();
    assert!(bits(&last) == bits(&model));
}

#[test]
fn the_best_weights_are_averaged_ones() {
    let folder = temporary();
    let config = Fit { keep: Keep::Best, eval_every: Some(2), ..config(Some(Averaging::ema(0.5))) };
    let (model, report) = run(&Freeze::Nothing, &in_folder(folder.path(), &config), None);
    let best = load_weights(&model, folder.path().join("best.safetensors")).unwrap();
    assert!(bits(&best) == bits(&model));
    let scores = evaluate(&model, &task(), &rows(40)[24..], 8, 5).unwrap().summary();
    assert!((scores.loss - report.best.unwrap().summary.loss).abs() < 1e-6);
}

#[test]
fn what_is_frozen_keeps_its_bytes() {
    let before = bits(&classifier(2, 0.1));
    let averaging = Some(Averaging::Ema { decay: 0.99, form: EmaForm::Warmup });
    let (model, _) = run(&Freeze::Bottom(2), &config(averaging), None);
    let frozen = |path: &str| path.starts_with("backbone.embeddings") || path.contains("layer.0.");
    for (path, values) in bits(&model) {
        assert_eq!(values == before[&path], frozen(&path), "{path}");
    }
}

#[test]
fn what_thaws_is_averaged_from_then_on() {
    let folder = temporary();
    let config = config(Some(Averaging::Swa { start: Start::Step(1), every: 1 }));
    let (model, _) = run(&Freeze::Gradual { epochs: 1 }, &in_folder(folder.path(), &config), None);
    let (steps, found) = (trace(folder.path(), &model), weights(&model));
    // The head trains in all 9 steps, layer 1 from the 4th on, layer 0 from the 7th on.
    for (prefix, first) in [("head.", 0), ("backbone.encoder.layer.1.", 3), ("backbone.encoder.layer.0.", 6)] {
        for (path, values) in found.iter().filter(|(path, _)| path.starts_with(prefix)) {
            let taken: Vec<_> = steps[first..].iter().map(|step| &step[path]).collect();
            let mean = |at| taken.iter().map(|values| values[at]).sum::<f32>() / taken.len() as f32;
            let expected: Vec<f32> = (0..values.len()).map(mean).collect();
            assert!(difference(values, &expected) < 1e-6, "{path}");
        }
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let cases = [
        (Averaging::ema(0.9), Freeze::Gradual { epochs: 1 }),
        (Averaging::Ema { decay: 0.99, form: EmaForm::BiasCorrected }, Freeze::Nothing),
        (Averaging::Swa { start: Start::Epoch(1), every: 2 }, Freeze::Bottom(1)),
        (Averaging::Last { count: 3, every: 1 }, Freeze::Gradual { epochs: 1 }),
    ];
    for (averaging, policy) in cases {
        let config = Fit { keep: Keep::Best, eval_every: Some(2), ..config(Some(averaging)) };
        let (whole, expected) = run(&policy, &config, None);
        for stop in [1, 2, 4, 8] {
            let folder = temporary();
            let config = in_folder(folder.path(), &config);
            let (_, first) = run(&policy, &config, Some(stop));
            assert_eq!(first.steps, stop);
            let (resumed, report) = run(&policy, &config, None);
            assert!(bits(&resumed) == bits(&whole), "{averaging:?} {policy:?} stopped after {stop}");
            assert_eq!((report.best, report.evaluations), (expected.best, expected.evaluations.clone()));
        }
    }
}

#[test]
fn a_damaged_average_is_noticed() {
    struct Skips(Vec<String>);
    impl Observer for Skips {
        fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
            if let Event::Skipped { error } = event {
                self.0.push(error.to_string());
            }
            Ok(Control::Continue)
        }
    }
    let config = config(Some(Averaging::ema(0.9)));
    let (whole, _) = run(&Freeze::Nothing, &config, None);
    let folder = temporary();
    let config = in_folder(folder.path(), &config);
    run(&Freeze::Nothing, &config, Some(5));
    std::fs::remove_file(folder.path().join("checkpoints/step-00000005/average.safetensors")).unwrap();
    let (mut model, rows, mut skips) = (classifier(2, 0.1), rows(40), Skips(vec![]));
    let data = Data { train: &rows[..24], validation: &rows[24..] };
    fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut [&mut skips]).unwrap();
    assert!(skips.0.len() == 1 && skips.0[0].contains("average.safetensors"), "{:?}", skips.0);
    assert!(bits(&model) == bits(&whole));
}
