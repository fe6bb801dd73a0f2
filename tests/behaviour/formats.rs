//! Models saved in other number types and in several files.

use std::path::Path;

use half::{bf16, f16};
use rekindle::backbone::Bert;
use rekindle::checkpoint::{
    Checkpoint, CheckpointError, Dtype, SaveDtype, SaveFormat, ShardSize, Tensors, save_classifier_as,
    save_pretrained_as,
};
use rekindle::head::Classifier;
use rekindle::params::Freeze;
use rekindle::{Error, Model};
use serde_json::Value;

use super::files::{other, read, saved_classifier};
use super::support::*;

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.contains("safetensors")).collect();
    names.sort();
    names
}

fn loaded(folder: &Path) -> Model<Bert, Classifier> {
    Checkpoint::open(folder).unwrap().model(&other(Classifier::new(32, 4, 123, &device()))).unwrap().module
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn shards_have_the_names_and_the_index_of_transformers() {
    let (whole, sharded) = (temporary(), temporary());
    let model = saved_classifier(whole.path());
    assert_eq!(names(whole.path()), ["model.safetensors"]);
    let limit = 40_000;
    let format = SaveFormat { max_shard_size: ShardSize::bytes(limit), ..SaveFormat::default() };
    let save = |format| {
        let architecture = "BertForSequenceClassification";
        save_pretrained_as(sharded.path(), &model, &config(2, 0.0), architecture, &tokenizer(), format)
    };
    save(&format).unwrap();
    let names_of_shards = names(sharded.path());
    let count = names_of_shards.len() - 1;
    assert!(count > 2, "{names_of_shards:?}");
    assert_eq!(names_of_shards[0], format!("model-00001-of-{count:05}.safetensors"));
    assert_eq!(names_of_shards[count - 1], format!("model-{count:05}-of-{count:05}.safetensors"));
    assert_eq!(names_of_shards[count], "model.safetensors.index.json");
    assert!(read(sharded.path()) == read(whole.path()));
    let index = json(&sharded.path().join("model.safetensors.index.json"));
    let values: usize = read(whole.path()).iter().map(|(_, _, values)| values.len()).sum();
    assert_eq!(index["metadata"]["total_size"], 4 * values);
    assert_eq!(index["metadata"]["total_parameters"], values);
    for name in &names_of_shards[..count] {
        let tensors = Tensors::open_file(sharded.path().join(name)).unwrap();
        let bytes: usize = tensors.keys().map(|key| tensors.bytes(key).unwrap().len()).sum();
        assert!(bytes as u64 <= limit || tensors.len() == 1, "{name}: {bytes}");
    }
    assert!(bits(&loaded(sharded.path())) == bits(&model));
    // The next save leaves none of the shards behind.
    save(&SaveFormat::default()).unwrap();
    assert_eq!(names(sharded.path()), ["model.safetensors"]);
}

#[test]
fn halves_are_rounded_to_nearest_even_and_told_in_the_configuration() {
    let whole = temporary();
    let model = saved_classifier(whole.path());
    let exact = read(whole.path());
    for (dtype, stored, name, round) in [
        (SaveDtype::F16, Dtype::F16, "float16", (|value| f16::from_f32(value).to_f32()) as fn(f32) -> f32),
        (SaveDtype::Bf16, Dtype::BF16, "bfloat16", |value| bf16::from_f32(value).to_f32()),
    ] {
        let folder = temporary();
        let format = SaveFormat { dtype, ..SaveFormat::default() };
        save_classifier_as(folder.path(), &model, &config(2, 0.0), &task(), &Freeze::Nothing, &format).unwrap();
        assert_eq!(json(&folder.path().join("config.json"))["dtype"], name);
        let tensors = Tensors::open_folder(folder.path()).unwrap();
        for ((key, shape, values), (_, exact_shape, exact)) in read(folder.path()).iter().zip(&exact) {
            assert_eq!(tensors.dtype(key).unwrap(), stored);
            assert_eq!(shape, exact_shape);
            assert!(values.iter().zip(exact).all(|(value, exact)| *value == round(*exact)), "{key}");
        }
        assert!(Checkpoint::open(folder.path()).unwrap().model(&model).unwrap().report.is_complete());
    }
}

#[test]
fn a_value_beyond_float16_is_an_error_and_nothing_is_written() {
    let (whole, folder) = (temporary(), temporary());
    saved_classifier(whole.path());
    let mut tensors = read(whole.path());
    tensors[3].2[5] = 70_000.0;
    let key = tensors[3].0.clone();
    super::files::write(whole.path(), tensors);
    let model = loaded(whole.path());
    let save = |dtype| {
        let format = SaveFormat { dtype, ..SaveFormat::default() };
        save_classifier_as(folder.path().join("a"), &model, &config(2, 0.0), &task(), &Freeze::Nothing, &format)
    };
    let Err(Error::Checkpoint(CheckpointError::OutOfRange { key: found, value, .. })) = save(SaveDtype::F16) else {
        panic!("saved")
    };
    assert_eq!((found, value), (key, 70_000.0));
    assert!(!folder.path().join("a").exists());
    save(SaveDtype::Bf16).unwrap();
}
