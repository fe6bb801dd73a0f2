//! Model folders: what is saved comes back to the bit, and the layouts that others write are read.

use std::path::Path;

use burn::module::ModuleDisplay;
use half::{bf16, f16};
use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::{Checkpoint, Dtype, Tensors, save_classifier, save_pretrained, save_tensors};
use rekindle::head::{Classifier, MaskedLm};
use rekindle::params::Freeze;
use rekindle::predict::Predictor;
use rekindle::train::{Data, fit};
use safetensors::tensor::TensorView;

use super::support::*;

pub(super) type Named = (String, Vec<usize>, Vec<f32>);

/// A classifier's folder as Transformers would have it.
pub(super) fn saved_classifier(folder: &Path) -> Model<Bert, Classifier> {
    let model = classifier(2, 0.0);
    save_pretrained(folder, &model, &config(2, 0.0), "BertForSequenceClassification", &tokenizer()).unwrap();
    model
}

/// A masked-language model's folder.
pub(super) fn saved_masked_lm(folder: &Path) -> Model<Bert, MaskedLm> {
    let model = masked_lm(2, Pooling::Pooler);
    save_pretrained(folder, &model, &config(2, 0.0), "BertForMaskedLM", &tokenizer()).unwrap();
    model
}

pub(super) fn read(folder: &Path) -> Vec<Named> {
    let tensors = Tensors::open_folder(folder).unwrap();
    let named = |key: &str| (key.to_string(), tensors.shape(key).unwrap().to_vec(), tensors.f32(key).unwrap());
    tensors.keys().map(named).collect()
}

pub(super) fn write(folder: &Path, tensors: Vec<Named>) {
    save_tensors(folder.join("model.safetensors"), tensors, &[]).unwrap();
}

/// Other weights than every saved model's.
pub(super) fn other<H: ModuleDisplay>(head: H) -> Model<Bert, H> {
    Model { backbone: Bert::new(&config(2, 0.0), Pooling::Mean, 123, &device()), head }
}

fn fresh() -> Model<Bert, Classifier> {
    other(Classifier::new(32, 4, 123, &device()))
}

#[test]
fn a_saved_model_comes_back_to_the_bit() {
    let (folder, rows) = (temporary(), rows(16));
    let folder = folder.path().join("deep/model");
    let mut model = classifier(2, 0.0);
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, &task(), data, &Freeze::Nothing, &fit_config(3, 1e-2), &mut []).unwrap();
    save_pretrained(&folder, &model, &config(2, 0.0), "BertForSequenceClassification", &tokenizer()).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let model_in = fresh();
    let before = bits(&model_in);
    let loaded = checkpoint.model(&model_in).unwrap();
    assert!(bits(&loaded.module) == bits(&model));
    assert!(bits(&model_in) == before, "loading touched the model that was passed in");
    assert!(loaded.report.is_complete(), "{}", loaded.report);
    assert_eq!(checkpoint.architectures(), ["BertForSequenceClassification"]);
    assert_eq!(checkpoint.config::<Bert>().unwrap().hidden_size, 32);
    let body = checkpoint.backbone::<Bert>(Pooling::Mean, &device()).unwrap();
    assert_eq!(body.report.unused, ["classifier.bias", "classifier.weight"]);
    let again = Model::new(body.module, Classifier::new(32, 4, 7, &device()));
    assert!(bits(&again).iter().all(|(path, values)| path.starts_with("head.") || *values == bits(&model)[path]));
    assert_eq!(checkpoint.tokenizer().unwrap().to_json().unwrap(), tokenizer().to_json().unwrap());
}

#[test]
fn masked_language_and_pretraining_heads_come_back() {
    let folder = temporary();
    let model = saved_masked_lm(folder.path());
    let fresh = Model::new(bert(2, 0.0, Pooling::Pooler), MaskedLm::new(32, tokenizer().vocab_size(), 9, &device()));
    let loaded = Checkpoint::open(folder.path()).unwrap().model(&fresh).unwrap();
    assert!(bits(&loaded.module) == bits(&model));
    // The same file without its pooler's reader.
    let body = Checkpoint::open(folder.path()).unwrap().backbone::<Bert>(Pooling::Mean, &device()).unwrap();
    assert!(body.report.unused.iter().any(|key| key == "bert.pooler.dense.weight"), "{}", body.report);
}

#[test]
fn a_saved_classifier_predicts_the_same() {
    let (rows, texts) = (rows(32), (0..12).map(|index| text(index).0).collect::<Vec<_>>());
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Pooler] {
        let folder = temporary();
        let mut model = Model::new(bert(2, 0.1, pooling), Classifier::new(32, 4, 7, &device()));
        let data = Data { train: &rows, validation: &[] };
        fit(&mut model, &task(), data, &Freeze::Nothing, &fit_config(20, 2e-3), &mut []).unwrap();
        let expected = Predictor::new(&model, task()).predict(&texts).unwrap();
        save_classifier(folder.path(), &model, &config(2, 0.1), &task(), &Freeze::Nothing).unwrap();
        let loaded = Predictor::load(folder.path(), &device()).unwrap();
        assert_eq!(loaded.predict(&texts).unwrap(), expected, "{pooling}");
        // In another batch a row has other padding, and so other last bits.
        let alone = Predictor::load(folder.path(), &device()).unwrap().with_batch_size(1);
        for (alone, expected) in alone.predict(&texts).unwrap().iter().zip(&expected) {
            assert_eq!(alone.label, expected.label);
            assert!((alone.probability - expected.probability).abs() < 1e-5);
            assert!((alone.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}

fn loads(folder: &Path) -> Model<Bert, Classifier> {
    Checkpoint::open(folder).unwrap().model(&fresh()).unwrap().module
}

#[test]
fn old_names_and_bare_bodies_are_read() {
    let folder = temporary();
    let expected = bits(&saved_classifier(folder.path()));
    let tensors = read(folder.path());
    let rename = |change: &dyn Fn(&str) -> String| {
        write(
            folder.path(),
            tensors.iter().map(|(key, shape, values)| (change(key), shape.clone(), values.clone())).collect(),
        );
    };
    rename(&|key| key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"));
    assert!(bits(&loads(folder.path())) == expected);
    rename(&|key| key.trim_start_matches("bert.").to_string());
    assert!(bits(&loads(folder.path())) == expected);
}

/// A number type, its bytes, and what is left of a value in it.
type Half = (Dtype, fn(f32) -> [u8; 2], fn(f32) -> f32);

#[test]
fn half_precision_is_read() {
    let folder = temporary();
    let model = saved_classifier(folder.path());
    let tensors = read(folder.path());
    let halves: [Half; 2] = [
        (Dtype::F16, |value| f16::from_f32(value).to_le_bytes(), |value| f16::from_f32(value).to_f32()),
        (Dtype::BF16, |value| bf16::from_f32(value).to_le_bytes(), |value| bf16::from_f32(value).to_f32()),
    ];
    for (dtype, bytes, rounded) in halves {
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(key, shape, values)| (key.clone(), shape.clone(), values.iter().flat_map(|v| bytes(*v)).collect()))
            .collect();
        let views =
            stored.iter().map(|(key, shape, bytes)| (key, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
        std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
        let loaded = weights(&loads(folder.path()));
        for (path, values) in weights(&model) {
            assert_eq!(loaded[&path], values.into_iter().map(rounded).collect::<Vec<_>>(), "{dtype} {path}");
        }
    }
}

#[test]
fn shards_are_read() {
    let folder = temporary();
    let expected = bits(&saved_classifier(folder.path()));
    let tensors = read(folder.path());
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    for (number, shard) in tensors.chunks(7).enumerate() {
        let name = format!("model-{:05}-of-00006.safetensors", number + 1);
        map.extend(shard.iter().map(|(key, ..)| (key.clone(), name.clone().into())));
        save_tensors(folder.path().join(name), shard.to_vec(), &[]).unwrap();
    }
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    assert!(bits(&loads(folder.path())) == expected);
}

#[test]
fn a_missing_pooler_is_fresh_and_reported() {
    let folder = temporary();
    saved_classifier(folder.path());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let loaded = checkpoint.backbone::<Bert>(Pooling::Pooler, &device()).unwrap();
    assert_eq!(loaded.report.reinitialised, ["backbone.pooler.dense.weight", "backbone.pooler.dense.bias"]);
    let model = Model::new(loaded.module, Classifier::new(32, 4, 7, &device()));
    let pooler = &weights(&model)["backbone.pooler.dense.weight"];
    assert!(pooler.iter().any(|value| *value != 0.0) && pooler.iter().all(|value| value.abs() < 0.2));
}

#[test]
fn saving_replaces_the_folder_whole() {
    let folder = temporary();
    saved_classifier(folder.path());
    std::fs::write(folder.path().join("leftover"), "x").unwrap();
    saved_classifier(folder.path());
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
}
