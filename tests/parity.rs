//! Outputs, gradients and training runs against Transformers and PyTorch, and that a difference is noticed.

#[path = "../examples/verify/check/mod.rs"]
mod check;

use check::{Findings, Limits, Options, check_folder};
use rekindle::checkpoint::{Tensors, save_tensors};
use std::fs;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 34] = [
    "bert",
    "bert_mlm",
    "bert_pretraining",
    "bert_seqcls",
    "bert_seqcls_train",
    "bert_seqcls_llrd",
    "bert_seqcls_recipe",
    "bert_tokcls",
    "bert_qa",
    "bert_regression",
    "bert_multilabel",
    "bert_choice",
    "roberta",
    "roberta_mlm",
    "roberta_number",
    "roberta_choice",
    "xlm_roberta_seqcls",
    "xlm_roberta_tokcls",
    "distilbert",
    "electra_generator",
    "electra_discriminator",
    "electra_multilabel",
    "albert_mlm",
    "mpnet_qa",
    "esm_mlm",
    "vit_interpolated",
    "deit",
    "dinov2_cls",
    "swin_cls",
    "convnext",
    "resnet",
    "resnet_train",
    "clip_loss",
    "siglip",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn options(device: &str) -> Options {
    Options {
        device: rekindle::device(device).expect("a device of this build"),
        limits: Limits::default(),
        outputs_only: false,
        weights: std::env::var_os("REKINDLE_MINILM").map(Into::into),
    }
}

fn check_all(device: &str) {
    let options = options(device);
    for name in FOLDERS {
        let findings = check_folder(&fixtures().join(name), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{findings}");
        assert!(findings.passed(), "on {device}:\n{findings}");
    }
}

#[test]
#[cfg(feature = "flex")]
fn flex_agrees_with_transformers() {
    check_all("flex");
}

#[test]
#[cfg(feature = "ndarray")]
fn ndarray_agrees_with_transformers() {
    check_all("ndarray");
}

#[test]
#[cfg(feature = "flex")]
fn a_published_checkpoint_agrees() {
    let shared = std::env::var_os("REKINDLE_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(shared).join("fixtures/minilm");
    let options = options("flex");
    if options.weights.is_none() || !folder.is_dir() {
        eprintln!("skipped: needs REKINDLE_MINILM (the checkpoint) and {} (set REKINDLE_SHARED)", folder.display());
        return;
    }
    let findings = check_folder(&folder, &options).expect("readable");
    println!("{findings}");
    assert!(findings.passed(), "{findings}");
}

/// A copy of fixtures in which one value of one tensor is `by` more.
fn altered(folders: &[&str], file: &str, key: &str, by: f32) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    for name in folders {
        fs::create_dir(root.path().join(name)).expect("created");
        for entry in fs::read_dir(fixtures().join(name)).expect("a folder").flatten() {
            fs::copy(entry.path(), root.path().join(name).join(entry.file_name())).expect("copied");
        }
    }
    let path = root.path().join(file);
    let tensors = Tensors::open_file(&path).expect("sound");
    let changed = tensors.keys().map(|name| {
        let mut values = tensors.f32(name).expect("floats");
        if name == key {
            values[1] += by;
        }
        (name.to_string(), tensors.shape(name).expect("there").to_vec(), values)
    });
    save_tensors(&path, changed.collect::<Vec<_>>(), &[]).expect("saved");
    root
}

fn failures(folder: &Path) -> Vec<String> {
    let findings: Findings = check_folder(folder, &options("flex")).expect("readable");
    let text = findings.to_string();
    let failed = text.lines().filter(|line| line.trim_start().starts_with("FAIL "));
    failed.filter_map(|line| line.split("  ").nth(1)).map(|row| row.trim_start_matches("FAIL ").to_string()).collect()
}

#[test]
#[cfg(feature = "flex")]
fn differences_are_noticed_and_named() {
    let seqcls = ["bert_seqcls"];
    let root = altered(&seqcls, "bert_seqcls/expected.safetensors", "hidden_states.1", 1e-4);
    assert_eq!(failures(&root.path().join("bert_seqcls")), ["hidden_states.1"]);

    let key = "bert.encoder.layer.0.output.LayerNorm.bias";
    let root = altered(&seqcls, "bert_seqcls/grads.safetensors", key, 1e-4);
    assert_eq!(failures(&root.path().join("bert_seqcls")), [format!("grad {key}")]);

    let (both, key) = (["bert_seqcls", "bert_seqcls_train"], "bert.encoder.layer.1.output.dense.weight");
    let root = altered(&both, "bert_seqcls_train/frozen_embeddings_layer0.safetensors", key, 3e-5);
    let expected = [format!("frozen_embeddings_layer0: {key}")];
    assert_eq!(failures(&root.path().join("bert_seqcls_train")), expected);

    let root =
        altered(&["bert"], "bert/model.safetensors", "encoder.layer.1.attention.self.query.weight", f32::MIN_POSITIVE);
    assert_eq!(failures(&root.path().join("bert")), Vec::<String>::new());
    let root = altered(&["bert"], "bert/model.safetensors", "encoder.layer.1.attention.self.query.weight", 0.01);
    assert_eq!(failures(&root.path().join("bert")), ["hidden_states.2", "last_hidden_state", "pooler_output"]);
}

#[test]
#[cfg(feature = "flex")]
fn what_cannot_be_checked_is_named() {
    let root = altered(&["bert"], "bert/model.safetensors", "none", 0.0);
    let folder = root.path().join("bert");
    let config = fs::read_to_string(folder.join("config.json")).expect("text").replace("BertModel", "RwkvModel");
    fs::write(folder.join("config.json"), config).expect("written");
    let error = check_folder(&folder, &options("flex")).expect_err("an unknown architecture").to_string();
    assert!(error.contains("RwkvModel") && error.contains("BertForPreTraining"), "{error}");

    fs::remove_file(folder.join("config.json")).expect("removed");
    let error = check_folder(&folder, &options("flex")).expect_err("no form").to_string();
    assert!(error.contains("config.json") && error.contains("losses"), "{error}");
}
