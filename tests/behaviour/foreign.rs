//! Folders as others leave them: other heads, other tasks, configurations with more or less in them.

use std::fs;
use std::path::Path;

use rekindle::backbone::{Bert, BertConfig, Pooling};
use rekindle::checkpoint::{
    Checkpoint, CheckpointError, check_model_folder, check_pooling, load_classifier, save_classifier, save_pretrained,
};
use rekindle::data::{DataError, Labels, TokenRow};
use rekindle::head::Classifier;
use rekindle::objective::{Draws, MaskedLanguage, Masking, Objective, TextClassification};
use rekindle::params::Freeze;
use rekindle::predict::Predictor;
use rekindle::{Error, Model};
use serde_json::{Map, Value, json};

use super::files::{read, saved_classifier, write};
use super::support::*;

fn saved(config: &BertConfig, pooling: Pooling) -> tempfile::TempDir {
    let folder = temporary();
    let model = Model::new(bert(2, 0.0, pooling), Classifier::new(32, 4, 7, &device()));
    save_classifier(folder.path(), &model, config, &task(), &Freeze::Nothing).unwrap();
    folder
}

fn read_config(folder: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// Sets fields of `config.json`; null takes one out.
fn set(folder: &Path, fields: Value) {
    let mut config = read_config(folder);
    for (field, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => config.remove(field),
            value => config.insert(field.clone(), value.clone()),
        };
    }
    fs::write(folder.join("config.json"), Value::Object(config).to_string()).unwrap();
}

fn refusal(folder: &Path) -> CheckpointError {
    match load_classifier::<Bert>(folder, &device()).map(|_| ()) {
        Err(Error::Checkpoint(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_body_loads_from_under_any_head() {
    let folder = temporary();
    let model = saved_classifier(folder.path());
    let mut tensors = read(folder.path());
    tensors.iter_mut().for_each(|tensor| tensor.0 = tensor.0.replace("classifier", "qa_outputs"));
    write(folder.path(), tensors.clone());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let body = checkpoint.backbone::<Bert>(Pooling::Mean, &device()).unwrap();
    assert_eq!(body.report.unused, ["qa_outputs.bias", "qa_outputs.weight"]);
    assert!(bits(&Model::new(body.module, Classifier::new(32, 4, 7, &device()))) == bits(&model));
    // With a head of our own the file's must be it, and what is of the body must be known.
    assert!(matches!(checkpoint.model(&model), Err(CheckpointError::MissingKey { .. })));
    tensors.push(("bert.adapter.weight".into(), vec![1], vec![0.0]));
    write(folder.path(), tensors);
    let error = Checkpoint::open(folder.path()).unwrap().backbone::<Bert>(Pooling::Mean, &device()).unwrap_err();
    assert!(matches!(&error, CheckpointError::UnknownKey { keys, .. } if keys == &["bert.adapter.weight"]), "{error}");
}

#[test]
fn classifiers_of_another_kind_are_refused() {
    let cases = [
        ("problem_type", json!("regression")),
        ("problem_type", json!("multi_label_classification")),
        ("architectures", json!(["BertForTokenClassification"])),
        ("id2label", json!({ "0": "score" })),
    ];
    for (field, value) in cases {
        let folder = saved(&config(2, 0.0), Pooling::Pooler);
        set(folder.path(), json!({ field: value }));
        let error = refusal(folder.path());
        assert!(matches!(&error, CheckpointError::UnsupportedConfig { field: found, .. } if found == field), "{error}");
    }
}

#[test]
fn a_pooler_is_never_made_up() {
    let folder = saved(&config(2, 0.0), Pooling::Pooler);
    let kept: Vec<_> = read(folder.path()).into_iter().filter(|(key, ..)| !key.contains("pooler")).collect();
    write(folder.path(), kept);
    let error = refusal(folder.path());
    assert!(matches!(&error, CheckpointError::MissingKey { keys, .. } if keys[0].contains("pooler")), "{error}");
}

#[test]
fn without_the_card_the_configuration_tells_the_pooling() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Pooler] {
        let folder = saved(&config(2, 0.0), pooling);
        let logits =
            || Predictor::<Bert>::load_as(folder.path(), &device()).unwrap().logits(&["my router drops"]).unwrap();
        let expected = logits();
        fs::remove_file(folder.path().join("rekindle.json")).unwrap();
        assert_eq!(logits(), expected, "{pooling}");
    }
}

#[test]
fn default_class_names_may_be_left_out() {
    let folder = saved(&config(2, 0.0), Pooling::Pooler);
    set(folder.path(), json!({ "id2label": null, "label2id": null, "classifier_dropout": 0.5 }));
    let saved = load_classifier::<Bert>(folder.path(), &device()).unwrap();
    assert_eq!(saved.task.labels().names(), ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"]);
    assert!(format!("{:?}", saved.model.head).contains("prob: 0.5"), "{:?}", saved.model.head);
}

#[test]
fn a_saved_configuration_keeps_what_holds_and_drops_what_does_not() {
    let mut config = config(2, 0.0);
    let more = json!({
        "num_labels": 7, "problem_type": "regression", "torch_dtype": "bfloat16", "rekindle_pooling": "cls",
        "auto_map": { "AutoModel": "theirs.Model" }, "transformers_version": "4.6", "own": { "a": [1, null] },
    });
    config.extra.extend(more.as_object().unwrap().clone());
    let written = read_config(saved(&config, Pooling::Pooler).path());
    for gone in ["num_labels", "torch_dtype", "rekindle_pooling", "auto_map"] {
        assert!(!written.contains_key(gone), "{gone}");
    }
    assert_eq!(written["problem_type"], "single_label_classification");
    assert_eq!((&written["own"], &written["dtype"]), (&more["own"], &json!("float32")));
    assert_eq!(written["id2label"].as_object().unwrap().len(), 4);

    let folder = temporary();
    save_pretrained(folder.path(), &classifier(2, 0.0), &config, "BertForMaskedLM", &tokenizer()).unwrap();
    let written = read_config(folder.path());
    assert_eq!((&written["num_labels"], &written["own"]), (&json!(7), &more["own"]));
    assert!(!written.contains_key("auto_map"));
}

#[test]
fn what_old_configurations_leave_out_is_as_in_transformers() {
    let mut fields = serde_json::to_value(config(1, 0.0)).unwrap();
    fields["pad_token_id"] = Value::Null;
    assert_eq!(serde_json::from_value::<BertConfig>(fields.clone()).unwrap().pad_token_id, None);
    for field in ["pad_token_id", "model_type"] {
        fields.as_object_mut().unwrap().remove(field);
    }
    let config: BertConfig = serde_json::from_value(fields).unwrap();
    assert_eq!(config.pad_token_id, Some(0));
    assert_eq!(serde_json::to_value(config).unwrap()["model_type"], "bert");
}

#[test]
fn where_a_model_can_be_saved_is_known_before_it_is_trained() {
    let folder = temporary();
    check_model_folder(folder.path().join("new")).unwrap();
    check_model_folder(folder.path()).unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(check_model_folder(folder.path()), Err(CheckpointError::NotAModelFolder { .. })));
    let file = check_model_folder(folder.path().join("notes.txt")).unwrap_err().to_string();
    assert!(file.contains("notes.txt") && file.contains("not a directory"), "{file}");
    let below = check_model_folder(folder.path().join("notes.txt/new/model")).unwrap_err().to_string();
    assert!(below.contains("notes.txt") && below.contains("not a directory"), "{below}");
    check_model_folder(folder.path().join("some/new/model")).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "asking leaves nothing");
}

/// Nobody may write into `/proc`, whoever runs the tests.
#[cfg(target_os = "linux")]
#[test]
fn where_nothing_can_be_written_is_known_before_it_is_trained() {
    let error = check_model_folder("/proc/new/model").unwrap_err();
    assert!(error.to_string().contains("cannot write into `/proc`"), "{error}");
}

#[test]
fn a_pooling_that_cannot_be_saved_is_known_before_it_is_trained() {
    let config = config(2, 0.0);
    for (pooling, can) in
        [(Pooling::Mean, true), (Pooling::Cls, true), (Pooling::Pooler, true), (Pooling::LastToken, false)]
    {
        let asked = check_pooling::<Bert>(&config, pooling);
        assert_eq!(asked.is_ok(), can, "{pooling}");
        if let Err(error) = asked {
            assert!(
                matches!(&error, CheckpointError::UnsupportedConfig { field, .. } if field == "pooling"),
                "{error}"
            );
        }
    }
}

#[test]
fn saving_replaces_a_model_and_nothing_else() {
    for others in [&["notes.txt"][..], &["config.json", ".git"][..]] {
        let folder = temporary();
        others.iter().for_each(|name| fs::write(folder.path().join(name), "mine").unwrap());
        let model = classifier(2, 0.0);
        let config = config(2, 0.0);
        let by_name = save_pretrained(folder.path(), &model, &config, "BertForSequenceClassification", &tokenizer());
        let with_labels = save_classifier(folder.path(), &model, &config, &task(), &Freeze::Nothing);
        for saved in [by_name, with_labels] {
            assert!(matches!(saved, Err(Error::Checkpoint(CheckpointError::NotAModelFolder { .. }))), "{saved:?}");
        }
        assert!(others.iter().all(|name| fs::read(folder.path().join(name)).unwrap() == b"mine"));
    }
    let folder = saved(&config(2, 0.0), Pooling::Mean);
    fs::write(folder.path().join("old.txt"), "").unwrap();
    saved_classifier(folder.path());
    assert!(!folder.path().join("old.txt").exists() && !folder.path().join("rekindle.json").exists());
}

#[test]
fn a_head_has_a_class_for_each_label() {
    let two = Labels::from_names(["no", "yes"]).unwrap();
    let task = TextClassification::new(tokenizer(), two, 24).unwrap();
    let model = classifier(2, 0.0);
    let folder = temporary();
    let predicted = Predictor::new(&model, task.clone()).predict(&["my router"]).map(|_| ());
    let saved = save_classifier(folder.path(), &model, &config(2, 0.0), &task, &Freeze::Nothing);
    assert_eq!(Predictor::new(&model, task.clone()).labels(), task.labels());
    for result in [predicted, saved] {
        assert!(matches!(result, Err(Error::Data(DataError::ClassCount { labels: 2, classes: 4 }))), "{result:?}");
    }
}

#[test]
fn rows_of_ones_own_need_ids_alone() {
    let row = TokenRow { ids: vec![2, 9, 10, 11, 3], ..TokenRow::default() };
    for whole_word in [false, true] {
        let objective = MaskedLanguage::new(&tokenizer(), Masking { probability: 1.0, whole_word }).unwrap();
        let batch = objective.batch(&[&row], &Draws::new(1, 0, &[0]), &device()).unwrap();
        assert_eq!(batch.targets.at.into_data().iter::<i64>().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
