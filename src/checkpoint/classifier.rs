use super::pretrained::{read_json, write_json, write_model, write_tokenizer};
use super::{Checkpoint, CheckpointError, FromPretrained, write_folder};
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

/// The modelling code that lets Transformers compute what a `cls` or `mean` pooled model computes.
const MODELLING: &str = include_str!("modeling_rekindle.py");

/// Writes a text classifier's folder, atomically: everything that [`Predictor::load`](crate::predict::Predictor::load)
/// reads, in the layout of Transformers. What the folder held before is deleted.
///
/// `AutoModelForSequenceClassification` loads it unchanged where features are pooled by the pooler. Transformers' own
/// BERT has no other pooling, so with `cls` or `mean` the folder carries a small module for `trust_remote_code=True`.
///
/// # Errors
/// A file that cannot be written.
pub fn save_classifier<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, Classifier>,
    config: &B::Config,
    pooling: Pooling,
    task: &TextClassification,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    let card = Card {
        rekindle: env!("CARGO_PKG_VERSION").into(),
        burn: BURN.into(),
        head: HEAD.into(),
        pooling,
        max_length: task.max_length(),
        freeze: format!("{freeze:?}"),
    };
    write_folder(folder, |folder| {
        write_model(folder, model, config, &classifier_config(task.labels(), pooling))?;
        write_tokenizer(folder, task.tokenizer(), task.max_length())?;
        if pooling != Pooling::Pooler {
            let path = folder.join("modeling_rekindle.py");
            super::write_file(&path, |file| file.write_all(MODELLING.as_bytes()))?;
        }
        Ok(write_json(&folder.join(CARD), &card)?)
    })
}

/// The minor version that this crate is built on.
const BURN: &str = "0.22";

fn classifier_config(labels: &Labels, pooling: Pooling) -> Vec<(&'static str, Value)> {
    let names = || labels.names().iter().enumerate();
    let id2label: serde_json::Map<_, _> = names().map(|(id, name)| (id.to_string(), json!(name))).collect();
    let label2id: serde_json::Map<_, _> = names().map(|(id, name)| (name.to_string(), json!(id))).collect();
    let mut extra = vec![("id2label", id2label.into()), ("label2id", label2id.into())];
    if pooling == Pooling::Pooler {
        extra.push(("architectures", json!(["BertForSequenceClassification"])));
    } else {
        let class = "RekindleBertForSequenceClassification";
        extra.push(("architectures", json!([class])));
        let auto = format!("modeling_rekindle.{class}");
        extra.push(("auto_map", json!({ "AutoModelForSequenceClassification": auto })));
        extra.push(("rekindle_pooling", json!(pooling)));
    }
    extra
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
/// length limit the number of positions).
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown, labels that do not fit the head.
pub fn load_classifier<B: FromPretrained>(folder: &Path, device: &Device) -> Result<SavedClassifier<B>, Error> {
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    let card = folder.join(CARD).is_file().then(|| read_card(&folder.join(CARD))).transpose()?;
    let pooling = card.as_ref().map_or(Pooling::Pooler, |card| card.pooling);
    let names = checkpoint.label_names().ok_or_else(|| CheckpointError::UnsupportedConfig {
        field: "id2label".into(),
        value: "missing or not numbered from 0".into(),
        supported: "one name for each class, as a sequence classifier has".into(),
    })?;
    let head = Classifier::new(B::hidden_size(&config), names.len(), 0, device);
    let fresh = Model { backbone: B::build(&config, pooling, 0, device), head };
    let model = checkpoint.model(&fresh)?.module;
    let max_length = card.map_or_else(|| B::max_length(&config), |card| card.max_length);
    let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_names(names)?, max_length)?;
    Ok(SavedClassifier { model, task })
}

fn read_card(path: &Path) -> Result<Card, CheckpointError> {
    let card: Card =
        serde_json::from_value(read_json(path)?).map_err(|error| CheckpointError::bad_json(path, &error))?;
    match card.head == HEAD {
        true => Ok(card),
        false => Err(CheckpointError::UnsupportedConfig {
            field: "head".into(),
            value: card.head,
            supported: format!("`{HEAD}`"),
        }),
    }
}
