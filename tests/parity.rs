//! Outputs, gradients and training runs against Transformers and PyTorch, and that a difference is noticed: by the `verify`
//! example, which `cargo test` builds. Alone: `cargo test --release --example verify --test parity`.

use rekindle::checkpoint::{Tensors, save_tensors};
use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// What the example says of each of these folders.
fn verify(device: &str, folders: &[PathBuf]) -> Vec<Value> {
    let binary = env::current_exe().expect("this test");
    let name = format!("examples/verify{}", env::consts::EXE_SUFFIX);
    let binary = binary.ancestors().nth(2).expect("the folder of the build").join(name);
    assert!(binary.is_file(), "no {}; build it: cargo build --release --example verify", binary.display());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("report.json");
    let output = Command::new(binary).args(["--device", device, "--json"]).arg(&report).args(folders).output();
    let output = output.expect("started");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let text = fs::read(&report).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let report: Value = serde_json::from_slice(&text).expect("JSON");
    report["folders"].as_array().expect("a list").clone()
}

fn check_all(device: &str) {
    let folders = FOLDERS.map(|name| fixtures().join(name));
    let results = verify(device, &folders);
    assert_eq!(results.len(), FOLDERS.len());
    let failed: Vec<_> = results.iter().filter(|result| result["passed"] != true).collect();
    assert!(failed.is_empty(), "on {device}: {failed:#?}");
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
    let shared = env::var_os("REKINDLE_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(shared).join("fixtures/minilm");
    if env::var_os("REKINDLE_MINILM").is_none() || !folder.is_dir() {
        eprintln!("skipped: needs REKINDLE_MINILM (the checkpoint) and {} (set REKINDLE_SHARED)", folder.display());
        return;
    }
    assert_eq!(verify("flex", &[folder])[0]["passed"], true);
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

/// The comparisons that failed.
fn failures(folder: &Path) -> Vec<String> {
    let result = verify("flex", &[folder.into()]).remove(0);
    let rows = result["findings"]["rows"].as_array().unwrap_or_else(|| panic!("{result}"));
    // What is infinite is null.
    let failed =
        |row: &&Value| row["difference"].as_f64().is_none_or(|off| off > row["limit"].as_f64().expect("a limit"));
    rows.iter().filter(failed).map(|row| row["name"].as_str().expect("a name").into()).collect()
}

/// Why a folder was not compared.
fn refusal(folder: &Path) -> String {
    verify("flex", &[folder.into()])[0]["error"].as_str().expect("an error").into()
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
    let error = refusal(&folder);
    assert!(error.contains("RwkvModel") && error.contains("BertForPreTraining"), "{error}");

    fs::remove_file(folder.join("config.json")).expect("removed");
    let error = refusal(&folder);
    assert!(error.contains("config.json") && error.contains("losses"), "{error}");
}
