use super::apply::mapped;
use super::card::{Card, check_class, class_names, label_maps, load_whole, unsupported};
use super::pretrained::{write_model_folder, write_tokenizer, write_weights};
use super::{Checkpoint, CheckpointError, FromPretrained, SaveFormat};
use crate::backbone::Pooling;
use crate::data::Labels;
use crate::error::Error;
use crate::head::Classifier;
use crate::model::Model;
use crate::objective::TextClassification;
use burn::tensor::Device;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::Path;

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
    save_classifier_as(folder, model, config, task, freeze, &SaveFormat::default())
}

/// As [`save_classifier`], in another number type or several files.
///
/// # Errors
/// As [`save_classifier`], and [`CheckpointError::OutOfRange`] for a weight that the number type cannot hold.
pub fn save_classifier_as<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, Classifier>,
    config: &B::Config,
    task: &TextClassification,
    freeze: &dyn Debug,
    format: &SaveFormat,
) -> Result<(), Error> {
    task.labels().check_count(model.head.num_labels())?;
    let pooling = model.backbone.pooling();
    let card = Card::new(HEAD, pooling, task.max_length(), freeze);
    write_model_folder(folder.as_ref(), |folder| {
        let mut extra = classifier_config::<B>(config, task.labels(), pooling)?;
        extra.push((B::DROPOUT_FIELD, json!(model.head.dropout())));
        write_weights(folder, mapped(model, "", &B::key_map(config))?, config, &extra, format)?;
        write_tokenizer(folder, task.tokenizer(), task.max_length(), B::INPUT_NAMES)?;
        if pooling != B::classification_pooling(config) {
            let path = folder.join("modeling_rekindle.py");
            super::write_file(&path, |file| file.write_all(MODELLING.as_bytes()))?;
        }
        Ok(card.write(folder)?)
    })
}

fn classifier_config<B: FromPretrained>(
    config: &B::Config,
    labels: &Labels,
    pooling: Pooling,
) -> Result<Vec<(&'static str, Value)>, CheckpointError> {
    let (prefix, own) = (B::class_prefix(config), B::classification_pooling(config));
    let mut extra = label_maps(labels);
    extra.push(("problem_type", json!(ONE_CLASS_A_ROW)));
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
    let card = Card::read(folder, HEAD)?;
    let pooling = card.as_ref().map_or_else(
        || pooling_without_card(&checkpoint, B::classification_pooling(&config)),
        |card| Ok(card.pooling),
    )?;
    let names = class_names(&checkpoint, &B::key_map(&config))?;
    if names.len() == 1 {
        let supported = "two classes or more";
        return Err(unsupported("id2label", "of one class, which stands for regression", supported).into());
    }
    let head = B::classifier(&config, names.len(), 0, device);
    let fresh = Model { backbone: B::build(&config, pooling, 0, device), head };
    let model = load_whole(&checkpoint, &fresh)?;
    let max_length = card.map_or_else(|| B::max_length(&config), |card| card.max_length);
    let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_names(names)?, max_length)?;
    Ok(SavedClassifier { model, task })
}

/// Refuses models whose outputs mean something else than one class a text.
fn check_task(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    check_class(checkpoint, "ForSequenceClassification")?;
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
