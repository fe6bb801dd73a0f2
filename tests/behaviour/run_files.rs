//! What a run leaves on disk.

use rekindle::Model;
use rekindle::backbone::Pooling;
use rekindle::checkpoint::{CheckpointError, load_weights};
use rekindle::head::Classifier;
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, RunError, TrainError, evaluate, fit};
use serde_json::Value;

use super::support::*;

#[test]
fn the_history_has_a_line_for_each_step_and_validation() {
    let (folder, mut model, rows) = (temporary(), classifier(2, 0.0), rows(24));
    let runs = folder.path().join("runs/one");
    let config = Fit { eval_every: Some(2), folder: Some(runs.clone()), ..fit_config(5, 1e-3) };
    let data = Data { train: &rows[..16], validation: &rows[16..] };
    let report = fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut []).unwrap();
    let text = std::fs::read_to_string(runs.join("history.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert_eq!((of("step").len(), of("evaluation").len(), lines.len()), (5, 3, 8));
    // serde_json reads floats to within one unit in the last place.
    let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() <= 1e-12 * expected.abs();
    for (index, line) in of("step").into_iter().enumerate() {
        assert_eq!((line["step"].as_u64(), line["examples"].as_u64()), (Some(index as u64 + 1), Some(8)));
        assert!(near(&line["loss"], report.losses[index]) && near(&line["grad_norm"], report.grad_norms[index]));
    }
    for (line, evaluation) in of("evaluation").into_iter().zip(&report.evaluations) {
        assert!(near(&line["loss"], evaluation.summary.loss));
        assert!(near(&line["accuracy"], evaluation.summary.accuracy.unwrap()));
        assert_eq!(line["step"].as_u64(), Some(evaluation.step as u64));
    }
    // A second run starts the file anew.
    let data = Data { train: &rows[..16], validation: &[] };
    fit(&mut model, &task(), data, &Freeze::Nothing, &Fit { max_steps: Some(1), ..config }, &mut []).unwrap();
    assert_eq!(std::fs::read_to_string(runs.join("history.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn best_and_last_load_and_give_their_figures_again() {
    let (folder, mut model, rows) = (temporary(), classifier(2, 0.0), rows(40));
    let config = Fit { eval_every: Some(1), folder: Some(folder.path().into()), ..fit_config(10, 3.0) };
    let data = Data { train: &rows[..32], validation: &rows[32..] };
    let report = fit(&mut model, &task(), data, &Freeze::Backbone, &config, &mut []).unwrap();
    let (best, last) = (report.best.unwrap(), report.evaluations.last().copied().unwrap());
    assert!(best.step < last.step);
    for (name, evaluation) in [("best", best), ("last", last)] {
        let fresh = Model::new(bert(2, 0.0, Pooling::Mean), Classifier::new(32, 4, 99, &device()));
        let loaded = load_weights(&fresh, folder.path().join(format!("{name}.safetensors"))).unwrap();
        let summary = evaluate(&loaded, &task(), &rows[32..], 8, 5).unwrap().summary();
        assert!((summary.loss - evaluation.summary.loss).abs() < 1e-6 * summary.loss, "{name}");
        assert_eq!(summary.accuracy, evaluation.summary.accuracy, "{name}");
        if name == "last" {
            assert!(bits(&loaded) == bits(&model));
        }
    }
}

#[test]
fn weights_of_another_model_are_refused() {
    let folder = temporary();
    let path = folder.path().join("a.safetensors");
    rekindle::checkpoint::save_weights(&classifier(2, 0.0), &path).unwrap();
    let error = load_weights(&classifier(3, 0.0), &path).unwrap_err();
    assert!(matches!(&error, CheckpointError::MissingKey { keys, .. } if keys[0].contains("layer.2")), "{error}");
    let error = load_weights(&classifier(1, 0.0), &path).unwrap_err();
    assert!(matches!(&error, CheckpointError::UnknownKey { keys, .. } if keys[0].contains("layer.1")), "{error}");
    let wide = Model::new(bert(2, 0.0, Pooling::Mean), Classifier::new(32, 5, 7, &device()));
    let error = load_weights(&wide, &path).unwrap_err();
    assert!(matches!(&error, CheckpointError::WrongShape { key, .. } if key.starts_with("head.linear")), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named_before_the_first_step() {
    let (folder, mut model, rows) = (temporary(), classifier(1, 0.0), rows(8));
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let before = bits(&model);
    let config = Fit { folder: Some(file.join("run")), ..fit_config(1, 1e-3) };
    let data = Data { train: &rows, validation: &[] };
    let error = fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut []).unwrap_err();
    assert!(matches!(error, rekindle::Error::Train(TrainError::Run(RunError::Io { .. }))), "{error}");
    assert!(bits(&model) == before);
}
