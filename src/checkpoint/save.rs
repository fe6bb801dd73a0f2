//! Writing model folders as Transformers lays them out.

use super::apply::{BACKBONE, mapped};
use super::save_format::{Named, SaveFormat, save_shards};
use super::{CheckpointError, FromPretrained};
use crate::data::TextTokenizer;
use crate::error::Error;
use crate::file::{beside, link_tree, parent};
use crate::model::Model;
use crate::train::is_run;
use burn::module::{Module, ModuleDisplay};
use serde::Serialize;
use serde_json::{Map, Value};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;

/// The files that stand beside a model's weights for what makes its inputs: none (`()`), a tokenizer (`&tokenizer`), the
/// content of `preprocessor_config.json` (`&value`), or both for a model of images and text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Companions<'a> {
    /// Becomes `tokenizer.json`.
    pub tokenizer: Option<&'a TextTokenizer>,
    /// Becomes `preprocessor_config.json`.
    pub preprocessor: Option<&'a Value>,
}

impl From<()> for Companions<'_> {
    fn from(_: ()) -> Self {
        Self::default()
    }
}

impl<'a> From<&'a TextTokenizer> for Companions<'a> {
    fn from(tokenizer: &'a TextTokenizer) -> Self {
        Self { tokenizer: Some(tokenizer), preprocessor: None }
    }
}

impl<'a> From<&'a Value> for Companions<'a> {
    fn from(preprocessor: &'a Value) -> Self {
        Self { tokenizer: None, preprocessor: Some(preprocessor) }
    }
}

/// Writes a pretrained model's folder, atomically: `config.json`, `model.safetensors`, and what `with` gives. It replaces an
/// earlier model folder with all that is in it.
///
/// `architecture` is Transformers' class for backbone and head together, such as `BertForMaskedLM` or
/// `ViTForImageClassification`.
///
/// # Errors
/// A folder that holds something else than a model ([`CheckpointError::NotAModelFolder`]); a parameter that the backbone's
/// key map does not name; a file that cannot be written.
pub fn save_pretrained<'a, B: FromPretrained, H: Module + ModuleDisplay>(
    folder: impl AsRef<Path>,
    model: &Model<B, H>,
    config: &B::Config,
    architecture: &str,
    with: impl Into<Companions<'a>>,
) -> Result<(), Error> {
    save_pretrained_as(folder, model, config, architecture, with, &SaveFormat::default())
}

/// As [`save_pretrained`], in another number type or several files: `model-00001-of-00003.safetensors` and so on, beside
/// `model.safetensors.index.json`, as Transformers names them.
///
/// # Errors
/// As [`save_pretrained`], and [`CheckpointError::OutOfRange`] for a weight that the number type cannot hold.
pub fn save_pretrained_as<'a, B: FromPretrained, H: Module + ModuleDisplay>(
    folder: impl AsRef<Path>,
    model: &Model<B, H>,
    config: &B::Config,
    architecture: &str,
    with: impl Into<Companions<'a>>,
    format: &SaveFormat,
) -> Result<(), Error> {
    let tensors = mapped(model, "", &B::key_map(config))?;
    write_pretrained::<B>(folder.as_ref(), tensors, config, architecture, with.into(), format)
}

/// Writes the folder of a backbone alone, as [`save_pretrained`] does that of a model: Transformers' bare class, such as
/// `BertModel`, whose weights stand under the names that only it gives them. Any class of the architecture loads it, its head
/// fresh.
///
/// A backbone that pools without a pooler has none to save; Transformers then makes one.
///
/// # Errors
/// As [`save_pretrained_as`].
pub fn save_backbone<'a, B: FromPretrained>(
    folder: impl AsRef<Path>,
    backbone: &B,
    config: &B::Config,
    with: impl Into<Companions<'a>>,
    format: &SaveFormat,
) -> Result<(), Error> {
    let tensors = mapped_backbone(backbone, config)?;
    write_pretrained::<B>(folder.as_ref(), tensors, config, &B::body_class(config), with.into(), format)
}

/// A backbone's weights as files of the body alone name them.
pub(super) fn mapped_backbone<B: FromPretrained>(
    backbone: &B,
    config: &B::Config,
) -> Result<Vec<Named>, CheckpointError> {
    mapped(backbone, BACKBONE, &B::key_map(config).written_bare())
}

fn write_pretrained<B: FromPretrained>(
    folder: &Path,
    tensors: Vec<Named>,
    config: &B::Config,
    architecture: &str,
    with: Companions<'_>,
    format: &SaveFormat,
) -> Result<(), Error> {
    write_model_folder(folder, |folder| {
        let extra = [("architectures", vec![architecture].into())];
        write_weights(folder, tensors, config, &extra, format)?;
        if let Some(preprocessor) = with.preprocessor {
            write_json(&folder.join("preprocessor_config.json"), preprocessor)?;
        }
        match with.tokenizer {
            Some(tokenizer) => write_tokenizer(folder, tokenizer, B::max_length(config), B::input_names(config)),
            None => Ok(()),
        }
    })
}

/// The subfolder of a model folder in which [`fit`](crate::train::fit) may keep its run.
const RUN: &str = "run";

/// Says whether a model can be saved at `folder`: nothing is there, an empty folder, or a model, which is replaced (what
/// else it holds goes with it, but for a subfolder `run` of [`fit`](crate::train::fit)). `.` or a home folder is not deleted
/// by mistake, nor the history of a repository. A file is made beside it and removed, to see whether one can be. Ask before
/// a long training; saving asks too.
///
/// # Errors
/// [`CheckpointError::NotAModelFolder`] for a folder with other files, [`CheckpointError::Io`] for a file, or where nothing
/// can be written.
pub fn check_model_folder(folder: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let folder = folder.as_ref();
    if folder.is_file() {
        return Err(CheckpointError::io("replace by a folder", folder)(ErrorKind::NotADirectory.into()));
    }
    let holds_run = is_run(&folder.join(RUN));
    let is_other = |name: &OsStr| !(holds_run && name == RUN);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let holds_something = entries.into_iter().any(|entry| is_other(&entry.file_name()));
    let is_model = folder.join("config.json").is_file() && !folder.join(".git").exists();
    match holds_something && !is_model {
        true => Err(CheckpointError::NotAModelFolder { dir: folder.into() }),
        false => check_writable(parent(folder)),
    }
}

/// Whether a folder, or the one that it would be made in, takes files.
fn check_writable(folder: &Path) -> Result<(), CheckpointError> {
    let mut place = folder;
    while !place.exists() && parent(place) != place {
        place = parent(place);
    }
    match place.is_dir() {
        true => beside(&place.join("file"), 0o600, |builder, place| builder.tempfile_in(place))
            .map(drop)
            .map_err(CheckpointError::io("write into", place)),
        false => Err(CheckpointError::io("make a folder in", place)(ErrorKind::NotADirectory.into())),
    }
}

/// [`write_folder`](super::write_folder) after [`check_model_folder`]. The run that made the model stays.
pub(super) fn write_model_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    check_model_folder(folder)?;
    let run = folder.join(RUN);
    let holds_run = is_run(&run);
    super::write_folder(folder, |new| {
        fill(new)?;
        match holds_run {
            true => Ok(link_tree(&run, &new.join(RUN)).map_err(CheckpointError::io("keep", &run))?),
            false => Ok(()),
        }
    })
}

/// Keys of `config.json` that speak of another file or of how the weights were stored before.
const OUTDATED: [&str; 3] = ["auto_map", "rekindle_pooling", "torch_dtype"];

/// [`write_weights`] of a model, in one file of float32.
pub(super) fn write_model<B: FromPretrained, H: Module + ModuleDisplay>(
    folder: &Path,
    model: &Model<B, H>,
    config: &B::Config,
    extra: &[(&str, Value)],
) -> Result<(), Error> {
    write_weights(folder, mapped(model, "", &B::key_map(config))?, config, extra, &SaveFormat::default())
}

/// Writes weights and configuration into `folder`, with `extra` keys in the configuration; null takes a key out.
pub(super) fn write_weights<C: Serialize>(
    folder: &Path,
    tensors: Vec<Named>,
    config: &C,
    extra: &[(&str, Value)],
    format: &SaveFormat,
) -> Result<(), Error> {
    let path = folder.join("config.json");
    let config = serde_json::to_value(config).and_then(serde_json::from_value::<Map<String, Value>>);
    let mut config = config.map_err(|error| CheckpointError::bad_json(&path, &error))?;
    let outdated = OUTDATED.map(|key| (key, Value::Null));
    let dtype = ("dtype", format.dtype.to_string().into());
    for (key, value) in outdated.into_iter().chain(extra.iter().cloned()).chain([dtype]) {
        match value {
            Value::Null => config.shift_remove(key),
            value => config.insert(key.into(), value),
        };
    }
    write_json(&path, &config)?;
    Ok(save_shards(folder, tensors, format)?)
}

/// Writes `tokenizer.json` and the settings that Transformers wants beside it.
///
/// Of its tokenizer classes, 4.x and 5.x read `tokenizer.json` as it stands only through this one; `BertTokenizer` makes
/// the normalizer anew from settings. In return it has to be told which inputs the model takes, and the length limit.
pub(super) fn write_tokenizer(
    folder: &Path,
    tokenizer: &TextTokenizer,
    max_length: usize,
    input_names: &[&str],
) -> Result<(), Error> {
    tokenizer.save(folder.join("tokenizer.json"))?;
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    let settings = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": input_names,
        "pad_token": name(tokenizer.pad_id()),
        "unk_token": name(tokenizer.unk_id()),
        "cls_token": name(tokenizer.cls_id()),
        "sep_token": name(tokenizer.sep_id()),
        "mask_token": name(tokenizer.mask_id()),
    });
    write_json(&folder.join("tokenizer_config.json"), &settings)?;
    Ok(())
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), CheckpointError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| CheckpointError::bad_json(path, &error))?;
    super::write_file(path, |file| file.write_all(&text))
}
