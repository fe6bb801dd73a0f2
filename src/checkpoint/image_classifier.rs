use super::card::{Card, check_class, class_names, label_maps, load_whole, unsupported};
use super::save::{write_json, write_model, write_model_folder};
use super::{Checkpoint, CheckpointError, FromPretrained};
use crate::backbone::{Backbone, ImageInput, Pooled};
use crate::data::Labels;
use crate::error::Error;
use crate::head::Classifier;
use crate::model::Model;
use crate::objective::ImageClassification;
use burn::tensor::Device;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::Path;

const HEAD: &str = "images";
const CLASS: &str = "ForImageClassification";

/// Writes the folder of a classifier of images, atomically, in the layout of Transformers, whose
/// `AutoModelForImageClassification` loads it. It replaces an earlier model folder as
/// [`save_classifier`](super::save_classifier) does. `preprocessor` is the content of `preprocessor_config.json`, which says
/// how images are scaled and normalised; [`Checkpoint::preprocessor`] gives that of the checkpoint that was trained.
///
/// Dropout of the head is not kept: Transformers' image classifiers have none.
///
/// # Errors
/// As [`save_classifier`](super::save_classifier); a pooling that Transformers does not have for this head.
pub fn save_image_classifier<B>(
    folder: impl AsRef<Path>,
    model: &Model<B, Classifier>,
    config: &B::Config,
    task: &ImageClassification,
    preprocessor: Option<&Value>,
    freeze: &dyn Debug,
) -> Result<(), Error>
where
    B: FromPretrained + Backbone<Input = ImageInput, Features: Pooled>,
{
    task.labels().check_count(model.head.num_labels())?;
    let (prefix, pooling, own) = (B::class_prefix(config), model.backbone.pooling(), B::classification_pooling(config));
    if pooling != own {
        return Err(unsupported("pooling", pooling, &format!("{own}, as {prefix}{CLASS} pools")).into());
    }
    let mut fields = label_maps(task.labels().names());
    fields.push(("architectures", json!([format!("{prefix}{CLASS}")])));
    fields.push(("problem_type", json!("single_label_classification")));
    let card = Card { image: Some(task.size()), ..Card::new(HEAD, pooling, 0, freeze) };
    write_model_folder(folder.as_ref(), |folder| {
        write_model(folder, model, config, &fields)?;
        if let Some(preprocessor) = preprocessor {
            write_json(&folder.join("preprocessor_config.json"), preprocessor)?;
        }
        Ok(card.write(folder)?)
    })
}

/// A classifier of images as it was saved.
#[derive(Debug)]
pub struct SavedImageClassifier<B> {
    /// Backbone and head.
    pub model: Model<B, Classifier>,
    /// Labels, and the size of images.
    pub task: ImageClassification,
    /// The content of `preprocessor_config.json`, where there is one.
    pub preprocessor: Option<Value>,
}

/// Loads what [`save_image_classifier`] wrote, or a classifier of images that Transformers saved. The size of images
/// (channels, height, width) is that of the card, or else what `num_channels` and `image_size` of `config.json` say; `size`
/// wins over both.
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown, labels that do not fit the head; a model for something
/// else; a size that nobody says.
pub fn load_image_classifier<B>(
    folder: impl AsRef<Path>,
    size: Option<[usize; 3]>,
    device: &Device,
) -> Result<SavedImageClassifier<B>, Error>
where
    B: FromPretrained + Backbone<Input = ImageInput, Features: Pooled>,
{
    let folder = folder.as_ref();
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    check_class(&checkpoint, CLASS)?;
    let card = Card::read(folder, HEAD)?;
    let size = size.or(card.and_then(|card| card.image)).map_or_else(|| size_of(&checkpoint), Ok)?;
    let labels = Labels::from_names(class_names(&checkpoint, &B::key_map(&config))?)?;
    let head = B::classifier(&config, labels.len(), 0, device);
    let backbone = B::build(&config, B::classification_pooling(&config), 0, device);
    let model = load_whole(&checkpoint, &Model { backbone, head })?;
    Ok(SavedImageClassifier {
        model,
        task: ImageClassification::new(labels, size),
        preprocessor: checkpoint.preprocessor()?,
    })
}

fn size_of(checkpoint: &Checkpoint) -> Result<[usize; 3], CheckpointError> {
    let whole = |value: &Value| value.as_u64().map(|value| value as usize);
    // Models of images and texts say it of their vision tower.
    let field = |name: &str| checkpoint.field(name).or_else(|| checkpoint.field("vision_config")?.get(name));
    let channels = field("num_channels").map_or(Some(3), whole);
    let sides = field("image_size").and_then(|size| match size {
        Value::Array(sides) => Some((whole(sides.first()?)?, whole(sides.get(1)?)?)),
        side => whole(side).map(|side| (side, side)),
    });
    let size = channels.zip(sides).map(|(channels, (height, width))| [channels, height, width]);
    size.ok_or_else(|| unsupported("image_size", "missing", "a number or two, unless the caller gives a size"))
}
