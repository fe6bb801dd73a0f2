//! Model folders with something wrong in them: the thing is named, and nothing is half loaded.

use std::path::Path;

use rekindle::Error;
use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::{Checkpoint, CheckpointError, load_classifier, save_classifier};
use rekindle::head::{Classifier, MaskedLm};
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, SaveEvery, fit};
use serde_json::{Value, json};

use super::files::{Named, other, read, saved_classifier, saved_masked_lm, write};
use super::support::*;

/// The error of loading a classifier from its folder after `change`; the model that is passed in must stay as it was.
fn after(change: impl FnOnce(&mut Vec<Named>)) -> CheckpointError {
    let folder = temporary();
    saved_classifier(folder.path());
    let mut tensors = read(folder.path());
    change(&mut tensors);
    write(folder.path(), tensors);
    let model = other(Classifier::new(32, 4, 123, &device()));
    let before = bits(&model);
    let error = Checkpoint::open(folder.path()).unwrap().model(&model).unwrap_err();
    assert!(bits(&model) == before);
    error
}

fn find<'a>(tensors: &'a mut [Named], key: &str) -> &'a mut Named {
    tensors.iter_mut().find(|(name, ..)| name == key).unwrap()
}

const VALUE: &str = "bert.encoder.layer.1.attention.self.value.weight";

#[test]
fn a_number_that_is_not_finite_is_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = after(|tensors| find(tensors, VALUE).2[37] = bad);
        assert!(matches!(&error, CheckpointError::NotFinite { key, index: 37, .. } if key == VALUE), "{error}");
    }
}

#[test]
fn a_wrong_shape_is_named() {
    let error = after(|tensors| {
        let tensor = find(tensors, VALUE);
        (tensor.1, tensor.2) = (vec![31, 32], vec![0.0; 31 * 32]);
    });
    let CheckpointError::WrongShape { key, expected, found } = &error else { panic!("{error}") };
    assert_eq!((key.as_str(), expected.as_slice(), found.as_slice()), (VALUE, &[32, 32][..], &[31, 32][..]));
    // A linear map is [out, in] in files.
    let key = "bert.encoder.layer.0.intermediate.dense.weight";
    let error = after(|tensors| find(tensors, key).1.reverse());
    assert!(
        matches!(&error, CheckpointError::WrongShape { expected, found, .. } if expected == &[64, 32] && found == &[32, 64]),
        "{error}"
    );
}

#[test]
fn missing_and_unknown_keys_are_named() {
    for missing in [VALUE, "classifier.weight", "bert.embeddings.LayerNorm.bias"] {
        let error = after(|tensors| tensors.retain(|(key, ..)| key != missing));
        assert!(matches!(&error, CheckpointError::MissingKey { keys, .. } if keys == &[missing]), "{error}");
    }
    for unknown in ["bert.encoder.layer.1.adapter.weight", "lm_head.weight", "classifier2.weight"] {
        let error = after(|tensors| tensors.push((unknown.into(), vec![1], vec![0.0])));
        assert!(matches!(&error, CheckpointError::UnknownKey { keys, .. } if keys == &[unknown]), "{error}");
    }
}

#[test]
fn both_the_old_and_the_new_name_of_a_norm_are_too_many() {
    let error = after(|tensors| tensors.push(("bert.embeddings.LayerNorm.gamma".into(), vec![32], vec![0.0; 32])));
    assert!(
        matches!(&error, CheckpointError::DuplicateKey { key, .. } if key.ends_with("LayerNorm.weight")),
        "{error}"
    );
}

#[test]
fn more_layers_than_the_configuration_says_are_not_dropped() {
    let error = after(|tensors| {
        let layer: Vec<Named> = tensors.iter().filter(|(key, ..)| key.contains("layer.1.")).cloned().collect();
        tensors
            .extend(layer.into_iter().map(|(key, shape, values)| (key.replace("layer.1.", "layer.2."), shape, values)));
    });
    assert!(matches!(&error, CheckpointError::UnknownKey { keys, .. } if keys[0].contains("layer.2.")), "{error}");
}

#[test]
fn a_decoder_that_is_not_a_copy_is_refused() {
    let folder = temporary();
    let model = saved_masked_lm(folder.path());
    let tied = "bert.embeddings.word_embeddings.weight";
    let tensors = read(folder.path());
    let copy = |change: f32| {
        let mut tensors = tensors.clone();
        let (_, shape, mut values) = find(&mut tensors, tied).clone();
        values[5] += change;
        tensors.push(("cls.predictions.decoder.weight".into(), shape, values));
        write(folder.path(), tensors);
        let head = MaskedLm::new(32, tokenizer().vocab_size(), 123, &device());
        let fresh = rekindle::Model::new(bert(2, 0.0, Pooling::Pooler), head);
        Checkpoint::open(folder.path()).unwrap().model(&fresh)
    };
    let loaded = copy(0.0).unwrap();
    assert!(bits(&loaded.module) == bits(&model));
    assert_eq!(loaded.report.ignored, ["cls.predictions.decoder.weight"]);
    let error = copy(0.5).unwrap_err();
    assert!(error.to_string().contains("cls.predictions.decoder.weight"), "{error}");
    assert!(matches!(error, CheckpointError::UnsupportedConfig { .. }));
}

fn change_config(folder: &Path, field: &str, value: Value) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn configurations_that_compute_something_else_are_refused_by_field() {
    let cases = [
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("add_cross_attention", json!(true)),
        ("model_type", json!("roberta")),
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", json!(0)),
        ("hidden_size", json!(0)),
        ("layer_norm_eps", json!(-1.0)),
        ("hidden_dropout_prob", json!(1.0)),
        ("pad_token_id", json!(100_000)),
        ("layer_norm_eps", json!(1e300)),
        ("layer_norm_eps", json!(1e-60)),
        ("initializer_range", json!(-0.02)),
        ("initializer_range", json!(1e300)),
        ("pooler_dropout", json!(-0.1)),
        ("pruned_heads", json!({ "0": [1] })),
    ];
    for (field, value) in cases {
        let folder = temporary();
        saved_classifier(folder.path());
        change_config(folder.path(), field, value.clone());
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let error = checkpoint.backbone::<Bert>(Pooling::Mean, &device()).unwrap_err();
        assert!(matches!(&error, CheckpointError::UnsupportedConfig { field: found, .. } if found == field), "{error}");
    }
    for (field, value) in [("hidden_act", json!("no_such")), ("hidden_size", json!("wide")), ("vocab_size", json!(-1))]
    {
        let folder = temporary();
        saved_classifier(folder.path());
        change_config(folder.path(), field, value);
        let error = Checkpoint::open(folder.path()).unwrap().config::<Bert>().unwrap_err();
        assert!(matches!(error, CheckpointError::BadJson { .. }), "{error}");
    }
}

#[test]
fn a_configuration_of_other_sizes_than_the_weights_is_an_error() {
    for (field, value) in [("hidden_size", 64), ("vocab_size", 200), ("num_hidden_layers", 3), ("intermediate_size", 8)]
    {
        let folder = temporary();
        saved_classifier(folder.path());
        change_config(folder.path(), field, json!(value));
        let error = Checkpoint::open(folder.path()).unwrap().backbone::<Bert>(Pooling::Mean, &device()).unwrap_err();
        let named = matches!(error, CheckpointError::WrongShape { .. } | CheckpointError::MissingKey { .. });
        assert!(named, "{field}: {error}");
    }
}

#[test]
fn missing_files_are_named() {
    for (file, part) in [("config.json", "config.json"), ("model.safetensors", "no weights")] {
        let folder = temporary();
        saved_classifier(folder.path());
        std::fs::remove_file(folder.path().join(file)).unwrap();
        let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let folder = temporary();
    saved_classifier(folder.path());
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(Checkpoint::open(folder.path()).unwrap().tokenizer().is_err());
}

#[test]
fn a_classifier_whose_labels_do_not_fit_is_an_error() {
    let save = || {
        let (folder, model) = (temporary(), classifier(2, 0.0));
        save_classifier(folder.path(), &model, &config(2, 0.0), &task(), &Freeze::Backbone).unwrap();
        folder
    };
    let load = |folder: &Path| load_classifier::<Bert>(folder, &device()).map(|saved| saved.task);
    assert_eq!(load(save().path()).unwrap().labels(), task().labels());
    let cases = [
        ("id2label", json!({ "0": "a", "1": "b", "2": "c" })),
        ("id2label", json!({ "0": "a", "1": "b", "2": "c", "3": "c" })),
        ("id2label", json!({ "1": "a", "2": "b", "3": "c", "4": "d" })),
        ("id2label", json!({ "0": "a", "1": "b", "2": "c", "3": 4 })),
        ("id2label", Value::Null),
    ];
    for (field, value) in cases {
        let folder = save();
        change_config(folder.path(), field, value.clone());
        let error = load(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Checkpoint(_) | Error::Data(_)), "{value} {error}");
    }
    for card in ["{", "{}", r#"{"rekindle": 1}"#] {
        let folder = save();
        std::fs::write(folder.path().join("rekindle.json"), card).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("rekindle.json"), "{error}");
    }
}

#[test]
fn saving_a_model_keeps_the_run_that_made_it_and_nothing_else() {
    let (folder, rows, mut model) = (temporary(), rows(16), classifier(1, 0.0));
    let run = folder.path().join("run");
    let fit_config = Fit { folder: Some(run.clone()), save_every: Some(SaveEvery::Steps(1)), ..fit_config(2, 1e-3) };
    let data = || Data { train: &rows[..], validation: &[] };
    fit(&mut model, &task(), data(), &Freeze::Nothing, &fit_config, &mut []).unwrap();
    let save = |model| save_classifier(folder.path(), model, &config(1, 0.0), &task(), &Freeze::Nothing);
    for _ in 0..2 {
        save(&model).unwrap();
        std::fs::write(folder.path().join("old.txt"), "old").unwrap();
    }
    save(&model).unwrap();
    assert!(!folder.path().join("old.txt").exists());
    // The run goes on: it was at its end.
    let again = Fit { resume: true, ..fit_config.clone() };
    let report = fit(&mut classifier(1, 0.0), &task(), data(), &Freeze::Nothing, &again, &mut []).unwrap();
    assert_eq!(report.steps, 2);
    assert!(run.join("checkpoints/step-00000002/state.json").is_file());

    // A folder of that name in which no run was kept is part of what is replaced.
    let folder = temporary();
    let save = |model| save_classifier(folder.path(), model, &config(1, 0.0), &task(), &Freeze::Nothing);
    save(&model).unwrap();
    std::fs::create_dir(folder.path().join("run")).unwrap();
    save(&model).unwrap();
    assert!(!folder.path().join("run").exists());
}
