//! The folders of sentence-transformers.

use super::card::{Card, load_whole_backbone, unsupported};
use super::pretrained::read_json;
use super::save::{mapped_backbone, write_json};
use super::saved::{Saved, TaskFolder};
use super::{Checkpoint, CheckpointError, FromPretrained, SaveFormat, sentence_dense};
use crate::backbone::Pooling;
use crate::error::Error;
use crate::head::{PairLoss, Projection, SentenceEmbedder};
use crate::model::Model;
use crate::objective::TextSimilarity;
use burn::tensor::Device;
use serde_json::{Map, Value, json};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

const HEAD: &str = "sentences";
const MODULES: &str = "modules.json";
const LENGTH: &str = "sentence_bert_config.json";
const CONFIG: &str = "config.json";
const POOLING: &str = "Pooling";
const DENSE: &str = "Dense";
const NORMALIZE: &str = "Normalize";

/// The poolings that sentence-transformers has too: by the name of `pooling_mode`, and by the older field of each.
const POOLINGS: [(Pooling, &str, &str); 3] = [
    (Pooling::Cls, "cls", "pooling_mode_cls_token"),
    (Pooling::Mean, "mean", "pooling_mode_mean_tokens"),
    (Pooling::LastToken, "lasttoken", "pooling_mode_lasttoken"),
];

/// Writes the folder of a model that turns texts into vectors, atomically, in the layout of sentence-transformers, whose
/// `SentenceTransformer` loads it; `AutoModel` loads the body alone. It replaces an earlier model folder as
/// [`save_classifier`](super::save_classifier) does.
///
/// # Errors
/// As [`save_classifier`](super::save_classifier); a pooling other than cls, mean and lasttoken.
pub fn save_embedder<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, SentenceEmbedder>,
    config: &B::Config,
    task: &TextSimilarity,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    let pooling = model.backbone.pooling();
    if !POOLINGS.iter().any(|(own, ..)| *own == pooling) {
        let supported = "cls, mean or lasttoken, which sentence-transformers has too";
        return Err(unsupported("pooling", pooling, supported).into());
    }
    let card = Card::new(HEAD, pooling, task.max_length(), freeze);
    let fields = vec![("architectures", json!([B::body_class(config)]))];
    let saved = TaskFolder { card, tokenizer: task.tokenizer(), fields, format: SaveFormat::default() };
    saved.write::<B>(folder.as_ref(), mapped_backbone(&model.backbone, config)?, config, |folder| {
        let sizes = (B::hidden_size(config), task.max_length());
        Ok(write_modules(folder, pooling, model.head.projections(), sizes)?)
    })
}

fn write_modules(
    folder: &Path,
    pooling: Pooling,
    projections: &[Projection],
    (width, max_length): (usize, usize),
) -> Result<(), CheckpointError> {
    let kinds = ["Transformer", POOLING].into_iter().chain(projections.iter().map(|_| DENSE)).chain([NORMALIZE]);
    let path = |index: usize, kind: &str| if index == 0 { String::new() } else { format!("{index}_{kind}") };
    let steps: Vec<(String, &str)> = kinds.enumerate().map(|(index, kind)| (path(index, kind), kind)).collect();
    let module = |(index, (path, kind)): (usize, &(String, &str))| json!({ "idx": index, "name": index.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}") });
    write_json(&folder.join(MODULES), &steps.iter().enumerate().map(module).collect::<Vec<_>>())?;
    write_json(&folder.join(LENGTH), &json!({ "max_seq_length": max_length, "do_lower_case": false }))?;
    let mut fields = Map::from_iter([("word_embedding_dimension".to_string(), json!(width))]);
    fields.extend(POOLINGS.iter().map(|(own, _, field)| (field.to_string(), json!(*own == pooling))));
    let mut projections = projections.iter();
    for (path, kind) in &steps[1..] {
        let path = folder.join(path);
        std::fs::create_dir(&path).map_err(CheckpointError::io("make the folder", &path))?;
        match *kind {
            POOLING => write_json(&path.join(CONFIG), &fields)?,
            DENSE => projections.next().map_or(Ok(()), |dense| sentence_dense::write(&path, dense))?,
            _ => {}
        }
    }
    Ok(())
}

/// A model that turns texts into vectors, as it was saved.
pub type SavedEmbedder<B> = Saved<B, SentenceEmbedder, TextSimilarity>;

/// Loads what [`save_embedder`] wrote, or a model of sentence-transformers: a Transformer, one pooling, dense layers
/// if it has any, perhaps a normalisation. Vectors have length 1 either way.
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown; modules and poolings that there are not here, by name.
pub fn load_embedder<B: FromPretrained>(folder: impl AsRef<Path>, device: &Device) -> Result<SavedEmbedder<B>, Error> {
    let modules = Modules::read(folder.as_ref())?;
    let checkpoint = Checkpoint::open(&modules.body)?;
    let config = checkpoint.config::<B>()?;
    let mut head = SentenceEmbedder::new(PairLoss::default())?;
    let mut width = B::hidden_size(&config);
    for path in &modules.dense {
        let dense = sentence_dense::read(path, width, device)?;
        width = dense.widths()[1];
        head = head.with_projection(dense);
    }
    let model = Model { backbone: load_whole_backbone(&checkpoint, modules.pooling, device)?, head };
    let longest = B::max_length(&config);
    let max_length = modules.max_length.map_or(longest, |limit| limit.min(longest));
    Ok(Saved { model, task: TextSimilarity::new(checkpoint.tokenizer()?, max_length)? })
}

/// What `modules.json` and the files that it names say.
struct Modules {
    body: PathBuf,
    pooling: Pooling,
    dense: Vec<PathBuf>,
    max_length: Option<usize>,
}

impl Modules {
    fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let list = read_json(&folder.join(MODULES))?;
        let modules = list.as_array().into_iter().flatten();
        let named: Vec<(&str, &str)> = modules.map(|module| (kind(module), text(module, "path"))).collect();
        let other = || {
            let found: Vec<&str> = named.iter().map(|(kind, _)| *kind).collect();
            let supported = "Transformer, Pooling, any number of Dense, and perhaps Normalize";
            unsupported("the modules of modules.json", found.join(", "), supported)
        };
        let [("Transformer", body), (POOLING, pooling), rest @ ..] = &named[..] else { return Err(other()) };
        let dense = if let [dense @ .., (NORMALIZE, _)] = rest { dense } else { rest };
        if dense.iter().any(|(kind, _)| *kind != DENSE) {
            return Err(other());
        }
        let dense = dense.iter().map(|(_, path)| folder.join(path)).collect();
        let body = folder.join(body);
        let pooling = pooling_of(&read_json(&folder.join(pooling).join(CONFIG))?)?;
        let length = body.join(LENGTH);
        let settings = if length.is_file() { read_json(&length)? } else { Value::Null };
        if settings["do_lower_case"] == true {
            return Err(unsupported("do_lower_case", true, "false; the tokenizer itself says what it lowers"));
        }
        // Where newer versions keep it.
        let tokenizer = body.join("tokenizer_config.json");
        let of_tokenizer = if tokenizer.is_file() { read_json(&tokenizer)? } else { Value::Null };
        let limits = [&settings["max_seq_length"], &of_tokenizer["model_max_length"]];
        let max_length = limits.into_iter().find_map(Value::as_u64).map(|tokens| tokens as usize);
        Ok(Self { body, pooling, dense, max_length })
    }
}

fn text<'a>(module: &'a Value, field: &str) -> &'a str {
    module[field].as_str().unwrap_or_default()
}

/// The last part of the type, such as `Pooling` of `sentence_transformers.models.Pooling`.
fn kind(module: &Value) -> &str {
    text(module, "type").rsplit('.').next().unwrap_or_default()
}

fn pooling_of(config: &Value) -> Result<Pooling, CheckpointError> {
    let fields = config.as_object().into_iter().flatten();
    let set = fields.filter(|(name, value)| name.starts_with("pooling_mode_") && **value == true);
    let mut names: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
    names.extend(config["pooling_mode"].as_str());
    let known = |name: &str| POOLINGS.iter().find(|(_, own, field)| *own == name || *field == name);
    let only = if let [name] = names[..] { known(name) } else { None };
    let found = only.map(|(pooling, ..)| *pooling);
    found.ok_or_else(|| unsupported("pooling_mode", names.join(", "), "one of cls, mean and lasttoken"))
}
