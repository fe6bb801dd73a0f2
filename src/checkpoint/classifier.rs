use super::pretrained::{Loaded, read_json, write_json, write_model, write_model_folder, write_tokenizer};
use super::{Checkpoint, CheckpointError, FromPretrained, KeyMap};
use crate::backbone::Pooling;
use crate::data::Labels;
use crate::error::Error;
use crate::head::Classifier;
use crate::model::Model;
use crate::objective::TextClassification;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::Path;

/// What Transformers has no place for, kept in `rekindle.json` beside its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of this crate that wrote the folder.
    pub rekindle: String,
    /// Version of Burn that it was built on.
    pub burn: String,
    /// The head.
    pub head: String,
    /// How the backbone's features are pooled.
    pub pooling: Pooling,
    /// Texts are cut to this many tokens.
    pub max_length: usize,
    /// The freeze policy that the model was trained under.
    pub freeze: String,
}

const CARD: &str = "rekindle.json";
const HEAD: &str = "classifier";
/// What Transformers calls a classifier of one class a row.
const ONE_CLASS_A_ROW: &str = "single_label_classification";

/// The modelling code that lets Transformers compute what a `cls` or `mean` pooled model computes.
const MODELLING: &str = include_str!("modeling_rekindle.py");

/// Writes a text classifier's folder, atomically: everything that [`Predictor::load`](crate::predict::Predictor::load)
/// reads, in the layout of Transformers. It replaces an earlier model folder with all that is in
/// it, but for a subfolder `run` in which [`fit`](crate::train::fit) keeps its run.
///
/// `AutoModelForSequenceClassification` loads it unchanged where features are pooled by the pooler. Transformers' own
/// BERT has no other pooling, so with `cls` or `mean` the folder carries a small module for `trust_remote_code=True`.
///
/// # Errors
/// A folder that holds something else than a model ([`CheckpointError::NotAModelFolder`]); a head with another number of
/// classes than there are labels; a file that cannot be written.
pub fn save_classifier<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, Classifier>,
    config: &B::Config,
    task: &TextClassification,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    task.labels().check_count(model.head.num_labels())?;
    let pooling = model.backbone.pooling();
    let card = Card {
        rekindle: env!("CARGO_PKG_VERSION").into(),
        burn: BURN.into(),
        head: HEAD.into(),
        pooling,
        max_length: task.max_length(),
        freeze: format!("{freeze:?}"),
    };
    write_model_folder(folder.as_ref(), |folder| {
        let mut extra = classifier_config::<B>(config, task.labels(), pooling)?;
        extra.push((B::DROPOUT_FIELD, json!(model.head.dropout())));
        write_model(folder, model, config, &extra)?;
        write_tokenizer(folder, task.tokenizer(), task.max_length(), B::INPUT_NAMES)?;
        if pooling != B::classification_pooling(config) {
            let path = folder.join("modeling_rekindle.py");
            super::write_file(&path, |file| file.write_all(MODELLING.as_bytes()))?;
        }
        Ok(write_json(&folder.join(CARD), &card)?)
    })
}

/// The minor version that this crate is built on.
const BURN: &str = "0.22";

fn classifier_config<B: FromPretrained>(
    config: &B::Config,
    labels: &Labels,
    pooling: Pooling,
) -> Result<Vec<(&'static str, Value)>, CheckpointError> {
    let (prefix, own) = (B::class_prefix(config), B::classification_pooling(config));
    let names = || labels.names().iter().enumerate();
    let id2label: serde_json::Map<_, _> = names().map(|(id, name)| (id.to_string(), json!(name))).collect();
    let label2id: serde_json::Map<_, _> = names().map(|(id, name)| (name.to_string(), json!(id))).collect();
    let mut extra = vec![
        ("id2label", id2label.into()),
        ("label2id", label2id.into()),
        ("problem_type", json!(ONE_CLASS_A_ROW)),
        // What the checkpoint that this one came from had; Transformers counts `id2label`.
        ("num_labels", Value::Null),
        ("_num_labels", Value::Null),
    ];
    if pooling == own {
        extra.push(("architectures", json!([format!("{prefix}ForSequenceClassification")])));
    } else if prefix != "Bert" || pooling == Pooling::LastToken {
        return Err(unsupported(
            "pooling",
            pooling,
            &format!("{own}, with which Transformers loads a {prefix} classifier"),
        ));
    } else {
        let class = "RekindleBertForSequenceClassification";
        extra.push(("architectures", json!([class])));
        let auto = format!("modeling_rekindle.{class}");
        extra.push(("auto_map", json!({ "AutoModelForSequenceClassification": auto })));
        extra.push(("rekindle_pooling", json!(pooling)));
    }
    Ok(extra)
}

/// A text classifier as it was saved.
#[derive(Debug)]
pub struct SavedClassifier<B> {
    /// Backbone and head.
    pub model: Model<B, Classifier>,
    /// Tokenizer, labels, length limit.
    pub task: TextClassification,
}

/// Loads what [`save_classifier`] wrote, or a sequence classifier that Transformers saved (pooled by its pooler, its
/// length limit the number of positions; two or more classes of which a text has one).
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown, labels that do not fit the head; a model for something
/// else, such as regression, several labels a text, or one label a token.
pub fn load_classifier<B: FromPretrained>(folder: &Path, device: &Device) -> Result<SavedClassifier<B>, Error> {
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    check_task(&checkpoint)?;
    let card = folder.join(CARD).is_file().then(|| read_card(&folder.join(CARD))).transpose()?;
    let pooling = card.as_ref().map_or_else(
        || pooling_without_card(&checkpoint, B::classification_pooling(&config)),
        |card| Ok(card.pooling),
    )?;
    let names = class_names(&checkpoint, &B::key_map(&config))?;
    let head = B::classifier(&config, names.len(), 0, device);
    let fresh = Model { backbone: B::build(&config, pooling, 0, device), head };
    let Loaded { module: model, report } = checkpoint.model(&fresh)?;
    // A backbone may start with a fresh part; what is to answer may not.
    if !report.reinitialised.is_empty() {
        let path = checkpoint.tensors().path().into();
        return Err(CheckpointError::MissingKey { keys: report.reinitialised, path }.into());
    }
    let max_length = card.map_or_else(|| B::max_length(&config), |card| card.max_length);
    let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_names(names)?, max_length)?;
    Ok(SavedClassifier { model, task })
}

/// Refuses models whose outputs mean something else than one class a text.
fn check_task(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    let architectures = checkpoint.architectures();
    if !architectures.is_empty() && !architectures.iter().any(|name| name.ends_with("ForSequenceClassification")) {
        let supported =
            "a class that ends in `ForSequenceClassification`; `Checkpoint::backbone` loads the body of others";
        return Err(unsupported("architectures", architectures.join(", "), supported));
    }
    match checkpoint.field("problem_type") {
        Some(kind) if kind != ONE_CLASS_A_ROW => {
            Err(unsupported("problem_type", kind, &format!("`{ONE_CLASS_A_ROW}`")))
        }
        _ => Ok(()),
    }
}

/// Transformers keeps the configuration when it saves a folder of ours again, but not the card.
fn pooling_without_card(checkpoint: &Checkpoint, own: Pooling) -> Result<Pooling, CheckpointError> {
    let Some(name) = checkpoint.field("rekindle_pooling") else { return Ok(own) };
    let known = name.as_str().and_then(|name| name.parse().ok());
    known.ok_or_else(|| unsupported("rekindle_pooling", name, "cls, mean, pooler or lasttoken"))
}

/// The names of `id2label`. Transformers leaves both maps out where they are its default for two classes.
fn class_names(checkpoint: &Checkpoint, map: &KeyMap) -> Result<Vec<String>, CheckpointError> {
    let names = match (checkpoint.field("id2label"), map.to_file("head.linear.weight")) {
        (None, Some(key)) if checkpoint.field("label2id").is_none() => {
            let classes = checkpoint.tensors().shape(&key)?.first().copied().unwrap_or(0);
            (0..classes).map(|class| format!("LABEL_{class}")).collect()
        }
        _ => checkpoint.label_names().ok_or_else(|| {
            let supported = "one name for each class, as a sequence classifier has";
            unsupported("id2label", "missing, not numbered from 0, or holds something else than names", supported)
        })?,
    };
    match names.len() {
        1 => Err(unsupported("id2label", "of one class, which stands for regression", "two classes or more")),
        _ => Ok(names),
    }
}

fn unsupported(field: &str, value: impl ToString, supported: &str) -> CheckpointError {
    CheckpointError::UnsupportedConfig { field: field.into(), value: value.to_string(), supported: supported.into() }
}

fn read_card(path: &Path) -> Result<Card, CheckpointError> {
    let card: Card =
        serde_json::from_value(read_json(path)?).map_err(|error| CheckpointError::bad_json(path, &error))?;
    match card.head == HEAD {
        true => Ok(card),
        false => Err(unsupported("head", card.head, &format!("`{HEAD}`"))),
    }
}
