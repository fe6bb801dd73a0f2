use super::apply::{load_mapped, mapped};
use super::card::{Card, label_maps, load_whole_backbone, unsupported};
use super::save::mapped_backbone;
use super::saved::{Saved, TaskFolder};
use super::write::save_tensors;
use super::{Checkpoint, FromPretrained, KeyMap, SaveFormat, Tensors};
use crate::data::Labels;
use crate::error::Error;
use crate::head::PairClassifier;
use crate::model::Model;
use crate::objective::TwoTextClassification;
use burn::tensor::Device;
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;

const HEAD: &str = "pairs";
/// The head's weights, `linear.weight` and `linear.bias` as PyTorch keeps them.
const WEIGHTS: &str = "head.safetensors";

/// Writes the folder of a classifier of two texts that are read one by one, atomically. Transformers has no class for it:
/// the folder is that of the body, which `AutoModel` loads, and the head's weights stand beside it in `head.safetensors`.
/// It replaces an earlier model folder as [`save_classifier`](super::save_classifier) does.
///
/// # Errors
/// As [`save_classifier`](super::save_classifier).
pub fn save_pair_classifier<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, PairClassifier>,
    config: &B::Config,
    task: &TwoTextClassification,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    task.labels().check_count(model.head.num_labels())?;
    let mut fields = label_maps(task.labels().names());
    fields.push(("architectures", json!([B::body_class(config)])));
    let card = Card::new(HEAD, model.backbone.pooling(), task.max_length(), freeze);
    let saved = TaskFolder { card, tokenizer: task.tokenizer(), fields, format: SaveFormat::default() };
    saved.write::<B>(folder.as_ref(), mapped_backbone(&model.backbone, config)?, config, |folder| {
        Ok(save_tensors(folder.join(WEIGHTS), mapped(&model.head, "", &head_map())?, &[])?)
    })
}

fn head_map() -> KeyMap {
    KeyMap::new("").rule("linear", "linear")
}

/// A classifier of two texts as it was saved.
pub type SavedPairClassifier<B> = Saved<B, PairClassifier, TwoTextClassification>;

/// Loads what [`save_pair_classifier`] wrote.
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown, labels that do not fit the head; a folder of something
/// else.
pub fn load_pair_classifier<B: FromPretrained>(
    folder: impl AsRef<Path>,
    device: &Device,
) -> Result<SavedPairClassifier<B>, Error> {
    let folder = folder.as_ref();
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    let card = Card::read(folder, HEAD)?.ok_or_else(|| {
        unsupported("rekindle.json", "missing", "a folder that `save_pair_classifier` wrote, which says how it pools")
    })?;
    let names = checkpoint.label_names().unwrap_or_default();
    let labels = Labels::from_names(names)?;
    let head = PairClassifier::new(B::hidden_size(&config), labels.len(), 0, device);
    let (head, _) = load_mapped(&head, "", &Tensors::open_file(folder.join(WEIGHTS))?, &head_map())?;
    let model = Model { backbone: load_whole_backbone(&checkpoint, card.pooling, device)?, head };
    Ok(Saved { model, task: TwoTextClassification::new(checkpoint.tokenizer()?, labels, card.max_length)? })
}
