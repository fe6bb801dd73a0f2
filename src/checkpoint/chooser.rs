use super::apply::mapped;
use super::card::{Card, check_class, load_whole, unsupported};
use super::saved::{Saved, TaskFolder};
use super::{Checkpoint, FromPretrained, SaveFormat};
use crate::error::Error;
use crate::head::MultipleChoice;
use crate::model::Model;
use crate::objective::Choosing;
use burn::tensor::Device;
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;

const HEAD: &str = "choices";
const CLASS: &str = "ForMultipleChoice";

/// Writes the folder of a model that chooses among answers, atomically, in the layout of Transformers, whose
/// `AutoModelForMultipleChoice` loads it. It replaces an earlier model folder as
/// [`save_classifier`](super::save_classifier) does.
///
/// # Errors
/// As [`save_classifier`](super::save_classifier); a pooling that Transformers does not have for this head.
pub fn save_chooser<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, MultipleChoice>,
    config: &B::Config,
    task: &Choosing,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    let (found, pooling, own) = (model.head.choices(), model.backbone.pooling(), B::choice_pooling(config));
    let prefix = B::class_prefix(config);
    if found != task.choices() {
        return Err(unsupported("choices of the head", found, &format!("{}, as the task has", task.choices())).into());
    }
    if pooling != own {
        return Err(unsupported("pooling", pooling, &format!("{own}, as {prefix}{CLASS} pools")).into());
    }
    let mut fields = vec![("architectures", json!([format!("{prefix}{CLASS}")]))];
    fields.push((B::dropout_field(config), json!(model.head.dropout())));
    let card = Card { choices: Some(found), ..Card::new(HEAD, pooling, task.max_length(), freeze) };
    let saved = TaskFolder { card, tokenizer: task.tokenizer(), fields, format: SaveFormat::default() };
    saved.write::<B>(folder.as_ref(), mapped(model, "", &B::key_map(config))?, config, |_| Ok(()))
}

/// A model that chooses among answers, as it was saved.
pub type SavedChooser<B> = Saved<B, MultipleChoice, Choosing>;

/// Loads what [`save_chooser`] wrote, or a model for multiple choice that Transformers saved, whose files do not say how many
/// choices its questions have: `choices` does, and of a folder of ours may say another number.
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown; a model for something else; a number of choices that
/// nobody says.
pub fn load_chooser<B: FromPretrained>(
    folder: impl AsRef<Path>,
    choices: Option<usize>,
    device: &Device,
) -> Result<SavedChooser<B>, Error> {
    let folder = folder.as_ref();
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    check_class(&checkpoint, CLASS)?;
    let card = Card::read(folder, HEAD)?;
    let choices = choices.or(card.as_ref().and_then(|card| card.choices));
    let choices =
        choices.ok_or_else(|| unsupported("choices", "not in the folder", "a number that the caller gives"))?;
    let pooling = card.as_ref().map_or(B::choice_pooling(&config), |card| card.pooling);
    let head = B::multiple_choice(&config, choices, 0, device);
    let model = load_whole(&checkpoint, &Model { backbone: B::build(&config, pooling, 0, device), head })?;
    let max_length = card.map_or_else(|| B::max_length(&config), |card| card.max_length);
    Ok(Saved { model, task: Choosing::new(checkpoint.tokenizer()?, choices, max_length)? })
}
