use super::pretrained::read_json;
use super::save::write_json;
use super::{Checkpoint, CheckpointError, FromPretrained, KeyMap, Loaded};
use crate::backbone::Pooling;
use crate::data::Windows;
use crate::error::Error;
use crate::model::Model;
use burn::module::{Module, ModuleDisplay};
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
    /// The head: `classifier`, `numbers`, `labels`, `choices`, `pairs`, `sentences`, `tags`, `spans` or
    /// `images`.
    pub head: String,
    /// How the backbone's features are pooled.
    pub pooling: Pooling,
    /// Texts are cut to this many tokens; 0 where none are read.
    pub max_length: usize,
    /// How contexts of questions are read, for `spans`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// Channels, height and width of images, for `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<[usize; 3]>,
    /// Choices of a question, for `choices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<usize>,
    /// The freeze policy that the model was trained under.
    pub freeze: String,
}

const CARD: &str = "rekindle.json";
/// The minor version that this crate is built on.
const BURN: &str = "0.22";

impl Card {
    pub(super) fn new(head: &str, pooling: Pooling, max_length: usize, freeze: &dyn Debug) -> Self {
        Self {
            rekindle: env!("CARGO_PKG_VERSION").into(),
            burn: BURN.into(),
            head: head.into(),
            pooling,
            max_length,
            windows: None,
            image: None,
            choices: None,
            freeze: format!("{freeze:?}"),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), CheckpointError> {
        write_json(&folder.join(CARD), self)
    }

    /// The folder's card, where it has one; it must be of this head.
    pub(super) fn read(folder: &Path, head: &str) -> Result<Option<Self>, CheckpointError> {
        let path = folder.join(CARD);
        if !path.is_file() {
            return Ok(None);
        }
        let card: Card =
            serde_json::from_value(read_json(&path)?).map_err(|error| CheckpointError::bad_json(&path, &error))?;
        match card.head == head {
            true => Ok(Some(card)),
            false => Err(unsupported("head", card.head, &format!("`{head}`"))),
        }
    }
}

/// Refuses checkpoints of another class than one whose name ends in `suffix`.
pub(super) fn check_class(checkpoint: &Checkpoint, suffix: &str) -> Result<(), CheckpointError> {
    let architectures = checkpoint.architectures();
    if architectures.is_empty() || architectures.iter().any(|name| name.ends_with(suffix)) {
        return Ok(());
    }
    let supported = format!("a class that ends in `{suffix}`; `Checkpoint::backbone` loads the body of others");
    Err(unsupported("architectures", architectures.join(", "), &supported))
}

/// The names of the classes of a head with a last layer at `head.linear`, whose key `map` knows. Transformers leaves both
/// maps out where they are its default for two classes.
pub(super) fn class_names(checkpoint: &Checkpoint, map: &KeyMap) -> Result<Vec<String>, CheckpointError> {
    match (checkpoint.field("id2label"), map.to_file("head.linear.weight")) {
        (None, Some(key)) if checkpoint.field("label2id").is_none() => {
            let classes = checkpoint.tensors().shape(&key)?.first().copied().unwrap_or(0);
            Ok((0..classes).map(|class| format!("LABEL_{class}")).collect())
        }
        _ => checkpoint.label_names().ok_or_else(|| {
            let supported = "one name for each class, as a classifier has";
            unsupported("id2label", "missing, not numbered from 0, or holds something else than names", supported)
        }),
    }
}

/// The keys of `config.json` that name the classes.
pub(super) fn label_maps(names: &[String]) -> Vec<(&'static str, Value)> {
    let names = || names.iter().enumerate();
    let id2label: serde_json::Map<_, _> = names().map(|(id, name)| (id.to_string(), json!(name))).collect();
    let label2id: serde_json::Map<_, _> = names().map(|(id, name)| (name.to_string(), json!(id))).collect();
    vec![
        ("id2label", id2label.into()),
        ("label2id", label2id.into()),
        // What the checkpoint that this one came from had; Transformers counts `id2label`.
        ("num_labels", Value::Null),
        ("_num_labels", Value::Null),
    ]
}

/// Fills a model that is to answer: unlike a backbone that is to be trained, no part of it may be fresh.
pub(super) fn load_whole<B, H>(checkpoint: &Checkpoint, fresh: &Model<B, H>) -> Result<Model<B, H>, Error>
where
    B: FromPretrained,
    H: Module + ModuleDisplay,
{
    Ok(whole(checkpoint, checkpoint.model(fresh)?)?)
}

/// A backbone that is to answer.
pub(super) fn load_whole_backbone<B: FromPretrained>(
    checkpoint: &Checkpoint,
    pooling: Pooling,
    device: &Device,
) -> Result<B, CheckpointError> {
    whole(checkpoint, checkpoint.backbone::<B>(pooling, device)?)
}

fn whole<M>(checkpoint: &Checkpoint, Loaded { module, report }: Loaded<M>) -> Result<M, CheckpointError> {
    if report.reinitialised.is_empty() {
        return Ok(module);
    }
    Err(CheckpointError::MissingKey { keys: report.reinitialised, path: checkpoint.tensors().path().into() })
}

pub(super) fn unsupported(field: &str, value: impl ToString, supported: &str) -> CheckpointError {
    CheckpointError::UnsupportedConfig { field: field.into(), value: value.to_string(), supported: supported.into() }
}
