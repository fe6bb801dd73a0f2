use super::apply::mapped;
use super::card::{Card, check_class, class_names, label_maps, load_whole};
use super::saved::{Saved, TaskFolder};
use super::{Checkpoint, FromPretrained, SaveFormat};
use crate::backbone::Pooling;
use crate::data::Labels;
use crate::error::Error;
use crate::head::TokenClassifier;
use crate::model::Model;
use crate::objective::TokenTagging;
use burn::tensor::Device;
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;

const HEAD: &str = "tags";
const CLASS: &str = "ForTokenClassification";

/// Writes a token classifier's folder, atomically: everything that [`Tagger::load`](crate::predict::Tagger::load) reads, in
/// the layout of Transformers, whose `AutoModelForTokenClassification` loads it. It replaces an earlier model folder as
/// [`save_classifier`](super::save_classifier) does.
///
/// # Errors
/// As [`save_classifier`](super::save_classifier).
pub fn save_tagger<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, TokenClassifier>,
    config: &B::Config,
    task: &TokenTagging,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    task.labels().check_count(model.head.num_labels())?;
    let mut fields = label_maps(task.labels().names());
    fields.push(("architectures", json!([format!("{}{CLASS}", B::class_prefix(config))])));
    fields.push((B::dropout_field(config), json!(model.head.dropout())));
    let card = Card::new(HEAD, model.backbone.pooling(), task.max_length(), freeze);
    let saved = TaskFolder { card, tokenizer: task.tokenizer(), fields, format: SaveFormat::default() };
    saved.write::<B>(folder.as_ref(), mapped(model, "", &B::key_map(config))?, config, |_| Ok(()))
}

/// A token classifier as it was saved.
pub type SavedTagger<B> = Saved<B, TokenClassifier, TokenTagging>;

/// Loads what [`save_tagger`] wrote, or a token classifier that Transformers saved (its length limit the number of
/// positions).
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown, labels that do not fit the head; a model for something
/// else.
pub fn load_tagger<B: FromPretrained>(folder: impl AsRef<Path>, device: &Device) -> Result<SavedTagger<B>, Error> {
    let folder = folder.as_ref();
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    check_class(&checkpoint, CLASS)?;
    let card = Card::read(folder, HEAD)?;
    let map = B::key_map(&config).of_module(["head.linear.weight"]);
    let names = class_names(&checkpoint, &map)?;
    let pooling = card.as_ref().map_or(Pooling::Cls, |card| card.pooling);
    let head = B::token_classifier(&config, names.len(), 0, device);
    let fresh = Model { backbone: B::build(&config, pooling, 0, device), head };
    let model = load_whole(&checkpoint, &fresh)?;
    let max_length = card.map_or_else(|| B::max_length(&config), |card| card.max_length);
    let task = TokenTagging::new(checkpoint.tokenizer()?, Labels::from_names(names)?, max_length)?;
    Ok(Saved { model, task })
}
