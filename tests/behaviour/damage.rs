//! Files cut short and bytes changed, through the whole way from folder to model: an error or a correct load.

use std::path::Path;

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::{Checkpoint, CheckpointError, load_classifier, load_weights, save_classifier, save_weights};
use rekindle::head::Classifier;
use rekindle::params::Freeze;
use rekindle::random::{mix, permutation};

use super::files::{other, saved_classifier};
use super::support::*;

fn load(folder: &Path, into: &Model<Bert, Classifier>) -> Result<Model<Bert, Classifier>, CheckpointError> {
    let checkpoint = Checkpoint::open(folder)?;
    checkpoint.config::<Bert>()?;
    Ok(checkpoint.model(into)?.module)
}

/// A byte that differs from `byte`, drawn for `place`.
fn changed(byte: u8, place: usize) -> u8 {
    byte ^ (1 + mix(&[place as u64, 11]) % 255) as u8
}

#[test]
fn a_truncated_checkpoint_is_an_error() {
    let folder = temporary();
    saved_classifier(folder.path());
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let into = other(Classifier::new(32, 4, 123, &device()));
    let before = bits(&into);
    for part in 0..64 {
        let length = whole.len() * part / 64 + (mix(&[part as u64]) as usize) % (whole.len() / 64);
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = load(folder.path(), &into).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{length} bytes: {error}");
    }
    assert!(bits(&into) == before);
}

#[test]
fn a_changed_header_is_an_error_or_a_correct_load() {
    let folder = temporary();
    let expected = bits(&saved_classifier(folder.path()));
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let into = other(Classifier::new(32, 4, 123, &device()));
    let before = bits(&into);
    let (mut errors, mut loads) = (0, 0);
    for place in (0..8).chain(permutation(header, &[5]).into_iter().take(256)) {
        let mut bytes = whole.clone();
        bytes[place] = changed(bytes[place], place);
        std::fs::write(&path, bytes).unwrap();
        match load(folder.path(), &into) {
            Ok(model) => {
                assert!(bits(&model) == expected, "byte {place} was changed and other values were loaded");
                loads += 1;
            }
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 200, "{errors} errors, {loads} correct loads");
    assert!(bits(&into) == before);
}

#[test]
fn changed_data_is_loaded_as_it_stands_or_refused() {
    // The format has no checksum; what must not happen is a panic, or another tensor that changes.
    let folder = temporary();
    let expected = bits(&saved_classifier(folder.path()));
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let into = other(Classifier::new(32, 4, 123, &device()));
    for place in permutation(whole.len() - header, &[6]).into_iter().take(32) {
        let mut bytes = whole.clone();
        bytes[header + place] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let model = bits(&load(folder.path(), &into).unwrap());
        assert_eq!(model.iter().filter(|(key, values)| expected[*key] != **values).count(), 1);
    }
}

#[test]
fn a_changed_text_file_is_an_error_or_loads() {
    let folder = temporary();
    let model = classifier(2, 0.0);
    save_classifier(folder.path(), &model, &config(2, 0.0), &task(), &Freeze::Backbone).unwrap();
    for name in ["config.json", "rekindle.json", "tokenizer_config.json", "tokenizer.json"] {
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        for place in permutation(whole.len(), &[7]).into_iter().take(128) {
            let mut bytes = whole.clone();
            bytes[place] = changed(bytes[place], place);
            std::fs::write(&path, bytes).unwrap();
            if let Ok(saved) = load_classifier::<Bert>(folder.path(), &device()) {
                assert!(bits(&saved.model) == bits(&model), "{name} {place}");
            }
        }
        for part in 0..16 {
            std::fs::write(&path, &whole[..whole.len() * part / 16]).unwrap();
            assert!(load_classifier::<Bert>(folder.path(), &device()).is_err(), "{name} {part}");
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert!(load_classifier::<Bert>(folder.path(), &device()).is_ok());
}

#[test]
fn damaged_weights_of_a_run_are_an_error_or_a_correct_load() {
    let (folder, model) = (temporary(), classifier(1, 0.0));
    let path = folder.path().join("last.safetensors");
    save_weights(&model, &path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let into =
        Model::new(Bert::new(&config(1, 0.0), Pooling::Mean, 55, &device()), Classifier::new(32, 4, 5, &device()));
    let before = bits(&into);
    for place in 0..128 {
        let mut bytes = whole.clone();
        bytes[place] = changed(bytes[place], place);
        std::fs::write(&path, bytes).unwrap();
        if let Ok(loaded) = load_weights(&into, &path) {
            assert!(bits(&loaded) == bits(&model), "{place}");
        }
        std::fs::write(&path, &whole[..whole.len() * place / 128]).unwrap();
        assert!(load_weights(&into, &path).is_err());
    }
    assert!(bits(&into) == before);
}
