//! A saved, frozen backbone: the same vectors in one line, and a signature that is believed only where it fits.

use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::{Checkpoint, CheckpointError};
use rekindle::extract::FeatureExtractor;
use rekindle::head::Classifier;
use rekindle::params::Freeze;
use rekindle::train::{Data, fit};
use rekindle::{Error, Model};
use serde_json::Value;

use super::support::*;

fn texts() -> Vec<String> {
    (0..9).map(|index| text(index).0).collect()
}

#[test]
fn a_saved_extractor_gives_the_same_vectors() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Pooler] {
        let folder = temporary();
        let rows = rows(16);
        let mut model = Model::new(bert(2, 0.1, pooling), Classifier::new(32, 4, 7, &device()));
        let data = Data { train: &rows, validation: &[] };
        fit(&mut model, &task(), data, &Freeze::Nothing, &fit_config(3, 1e-2), &mut []).unwrap();
        let extractor = FeatureExtractor::new(&model.backbone, &config(2, 0.1), tokenizer(), 24);
        let expected = extractor.features(&texts()).unwrap();
        extractor.save(folder.path(), &config(2, 0.1)).unwrap();
        let loaded = FeatureExtractor::load(folder.path(), &device()).unwrap();
        assert_eq!(loaded.features(&texts()).unwrap(), expected, "{pooling}");
        assert_eq!(loaded.signature(), extractor.signature());
        assert_eq!((loaded.signature().width, loaded.signature().max_length), (32, 24));
        assert_eq!(loaded.signature().inputs, ["input_ids", "token_type_ids", "attention_mask"]);
        assert_eq!(expected.len(), 9);
        assert!(expected.iter().all(|vector| vector.len() == 32) && expected[0] != expected[1]);
        // Training goes on, the extractor does not.
        fit(&mut model, &task(), data, &Freeze::Nothing, &fit_config(3, 1e-2), &mut []).unwrap();
        assert_eq!(extractor.features(&texts()).unwrap(), expected);
        // It is a checkpoint like another.
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.architectures(), ["BertModel"]);
        let body = checkpoint.backbone::<Bert>(pooling, &device()).unwrap();
        assert!(body.report.is_complete(), "{}", body.report);
    }
}

#[test]
fn a_signature_that_does_not_fit_is_named() {
    let folder = temporary();
    let config = config(1, 0.0);
    let extractor = FeatureExtractor::new(&bert(1, 0.0, Pooling::Mean), &config, tokenizer(), 24);
    extractor.save(folder.path(), &config).unwrap();
    let path = folder.path().join("features.json");
    let sound: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (field, value) in [
        ("width", 16.into()),
        ("max_length", 0.into()),
        ("max_length", 33.into()),
        ("inputs", serde_json::json!(["pixels"])),
    ] {
        let mut changed = sound.clone();
        changed[field] = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        let error = FeatureExtractor::load(folder.path(), &device()).unwrap_err();
        let Error::Checkpoint(CheckpointError::UnsupportedConfig { field: found, .. }) = &error else {
            panic!("{error}")
        };
        assert_eq!(*found, format!("{field} of features.json"));
    }
    // The file has no pooler.
    let mut changed = sound.clone();
    changed["pooling"] = "pooler".into();
    std::fs::write(&path, changed.to_string()).unwrap();
    let error = FeatureExtractor::load(folder.path(), &device()).unwrap_err();
    assert!(matches!(error, Error::Checkpoint(CheckpointError::MissingKey { .. })), "{error}");
    let long = FeatureExtractor::new(&bert(1, 0.0, Pooling::Mean), &config, tokenizer(), 33);
    assert!(long.save(temporary().path(), &config).is_err());
}
