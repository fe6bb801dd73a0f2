use super::apply::mapped;
use super::card::{Card, check_class, class_names, label_maps, load_whole, unsupported};
use super::saved::{Saved, TaskFolder};
use super::{Checkpoint, CheckpointError, FromPretrained, SaveFormat};
use crate::backbone::Pooling;
use crate::data::{Labels, TextTokenizer};
use crate::error::Error;
use crate::head::{Classifier, LabelLoss, MultiLabel, NumberLoss, Regressor, RowLoss};
use crate::model::Model;
use crate::objective::{TextClassification, TextNumbers};
use burn::tensor::Device;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::Path;

/// What the outputs of a classifier mean.
#[derive(Clone, Copy, PartialEq)]
enum Problem {
    OneClass,
    Numbers,
    Labels,
}

impl Problem {
    /// The head's name on the card, and what Transformers calls the problem.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::OneClass => ("classifier", "single_label_classification"),
            Self::Numbers => ("numbers", "regression"),
            Self::Labels => ("labels", "multi_label_classification"),
        }
    }
}

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
    let names = task.labels().names();
    let texts = Texts { problem: Problem::OneClass, names, tokenizer: task.tokenizer(), max_length: task.max_length() };
    texts.save(folder.as_ref(), model, config, freeze, *format)
}

/// Writes the folder of a model that predicts numbers, as [`save_classifier`] does that of a classifier: `problem_type` is
/// `regression`, and `id2label` has a name for each output.
///
/// # Errors
/// As [`save_classifier`].
pub fn save_regressor<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, Regressor>,
    config: &B::Config,
    task: &TextNumbers,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    task.check_outputs(model.head.num_labels())?;
    let names: Vec<String> = (0..task.outputs()).map(|output| format!("LABEL_{output}")).collect();
    let (tokenizer, max_length) = (task.tokenizer(), task.max_length());
    let texts = Texts { problem: Problem::Numbers, names: &names, tokenizer, max_length };
    texts.save(folder.as_ref(), model, config, freeze, SaveFormat::default())
}

/// Writes the folder of a model whose texts have several labels or none, as [`save_classifier`] does that of a classifier:
/// `problem_type` is `multi_label_classification`.
///
/// # Errors
/// As [`save_classifier`].
pub fn save_multi_label<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, MultiLabel>,
    config: &B::Config,
    task: &TextNumbers,
    labels: &Labels,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    labels.check_count(model.head.num_labels())?;
    task.check_outputs(labels.len())?;
    let (tokenizer, max_length) = (task.tokenizer(), task.max_length());
    let texts = Texts { problem: Problem::Labels, names: labels.names(), tokenizer, max_length };
    texts.save(folder.as_ref(), model, config, freeze, SaveFormat::default())
}

/// How texts are read, and what is said of them.
struct Texts<'a> {
    problem: Problem,
    names: &'a [String],
    tokenizer: &'a TextTokenizer,
    max_length: usize,
}

impl Texts<'_> {
    fn save<B: FromPretrained, L: RowLoss>(
        &self,
        folder: &Path,
        model: &Model<B, Classifier<L>>,
        config: &B::Config,
        freeze: &dyn Debug,
        format: SaveFormat,
    ) -> Result<(), Error> {
        let pooling = model.backbone.pooling();
        let (head, problem) = self.problem.names();
        let mut fields = label_maps(self.names);
        fields.push(("problem_type", json!(problem)));
        fields.extend(class_of::<B>(config, pooling)?);
        fields.push((B::dropout_field(config), json!(model.head.dropout())));
        let card = Card::new(head, pooling, self.max_length, freeze);
        let saved = TaskFolder { card, tokenizer: self.tokenizer, fields, format };
        saved.write::<B>(folder, mapped(model, "", &B::key_map(config))?, config, |folder| {
            if pooling != B::classification_pooling(config) {
                let path = folder.join("modeling_rekindle.py");
                super::write_file(&path, |file| file.write_all(MODELLING.as_bytes()))?;
            }
            Ok(())
        })
    }
}

/// Says whether a classifier with this pooling can be saved so that Transformers computes the same. Ask before a long
/// training; [`save_classifier`] asks too.
///
/// # Errors
/// [`CheckpointError::UnsupportedConfig`] names the pooling that can.
pub fn check_pooling<B: FromPretrained>(config: &B::Config, pooling: Pooling) -> Result<(), CheckpointError> {
    class_of::<B>(config, pooling).map(drop)
}

/// The keys of `config.json` that say which class computes this pooling.
fn class_of<B: FromPretrained>(
    config: &B::Config,
    pooling: Pooling,
) -> Result<Vec<(&'static str, Value)>, CheckpointError> {
    let (prefix, own) = (B::class_prefix(config), B::classification_pooling(config));
    if pooling == own {
        return Ok(vec![("architectures", json!([format!("{prefix}ForSequenceClassification")]))]);
    }
    if prefix != "Bert" || pooling == Pooling::LastToken {
        let supported = format!("{own}, with which Transformers loads a {prefix} classifier");
        return Err(unsupported("pooling", pooling, &supported));
    }
    let class = "RekindleBertForSequenceClassification";
    let auto = format!("modeling_rekindle.{class}");
    Ok(vec![
        ("architectures", json!([class])),
        ("auto_map", json!({ "AutoModelForSequenceClassification": auto })),
        ("rekindle_pooling", json!(pooling)),
    ])
}

/// A text classifier as it was saved.
pub type SavedClassifier<B> = Saved<B, Classifier, TextClassification>;

/// A model that predicts numbers, as it was saved.
pub type SavedRegressor<B> = Saved<B, Regressor, TextNumbers>;

/// A model whose texts have several labels or none, as it was saved.
#[derive(Debug)]
pub struct SavedMultiLabel<B> {
    /// Backbone and head.
    pub model: Model<B, MultiLabel>,
    /// Tokenizer and length limit.
    pub task: TextNumbers,
    /// The labels, in the order of the outputs.
    pub labels: Labels,
}

/// Loads what [`save_classifier`] wrote, or a sequence classifier that Transformers saved (pooled by its pooler, its
/// length limit the number of positions; two or more classes of which a text has one).
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown, labels that do not fit the head; a model for something
/// else, such as regression, several labels a text, or one label a token.
pub fn load_classifier<B: FromPretrained>(
    folder: impl AsRef<Path>,
    device: &Device,
) -> Result<SavedClassifier<B>, Error> {
    let Read { model, names, tokenizer, max_length } = read(folder.as_ref(), Problem::OneClass, device)?;
    let task = TextClassification::new(tokenizer, Labels::from_names(names)?, max_length)?;
    Ok(Saved { model, task })
}

/// Loads what [`save_regressor`] wrote, or a sequence classifier that Transformers saved for regression.
///
/// # Errors
/// As [`load_classifier`], of which it reads what that refuses.
pub fn load_regressor<B: FromPretrained>(
    folder: impl AsRef<Path>,
    device: &Device,
) -> Result<SavedRegressor<B>, Error> {
    let Read { model: Model { backbone, head }, names, tokenizer, max_length } =
        read(folder.as_ref(), Problem::Numbers, device)?;
    let model = Model { backbone, head: head.for_numbers(NumberLoss::default())? };
    Ok(Saved { model, task: TextNumbers::new(tokenizer, names.len(), max_length)? })
}

/// Loads what [`save_multi_label`] wrote, or a sequence classifier that Transformers saved for several labels a text.
///
/// # Errors
/// As [`load_classifier`], of which it reads what that refuses.
pub fn load_multi_label<B: FromPretrained>(
    folder: impl AsRef<Path>,
    device: &Device,
) -> Result<SavedMultiLabel<B>, Error> {
    let Read { model: Model { backbone, head }, names, tokenizer, max_length } =
        read(folder.as_ref(), Problem::Labels, device)?;
    let model = Model { backbone, head: head.for_labels(LabelLoss::default())? };
    let (task, labels) = (TextNumbers::new(tokenizer, names.len(), max_length)?, Labels::from_names(names)?);
    Ok(SavedMultiLabel { model, task, labels })
}

/// A classifier's parts as a folder holds them.
struct Read<B> {
    model: Model<B, Classifier>,
    names: Vec<String>,
    tokenizer: TextTokenizer,
    max_length: usize,
}

fn read<B: FromPretrained>(folder: &Path, problem: Problem, device: &Device) -> Result<Read<B>, Error> {
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    check_class(&checkpoint, "ForSequenceClassification")?;
    let map = B::key_map(&config);
    let names = class_names(&checkpoint, &map).or_else(|error| {
        // A head without a bias may have a name of its own.
        class_names(&checkpoint, &map.of_module(["head.linear.weight"])).map_err(|_| error)
    })?;
    check_problem(&checkpoint, problem, names.len())?;
    let card = Card::read(folder, problem.names().0)?;
    let pooling = card.as_ref().map_or_else(
        || pooling_without_card(&checkpoint, B::classification_pooling(&config)),
        |card| Ok(card.pooling),
    )?;
    let head = B::classifier(&config, names.len(), 0, device);
    let model = load_whole(&checkpoint, &Model { backbone: B::build(&config, pooling, 0, device), head })?;
    let max_length = card.map_or_else(|| B::max_length(&config), |card| card.max_length);
    Ok(Read { model, names, tokenizer: checkpoint.tokenizer()?, max_length })
}

/// Refuses models whose outputs mean something else. Where the configuration does not say, one output is a number, as in
/// Transformers.
fn check_problem(checkpoint: &Checkpoint, problem: Problem, outputs: usize) -> Result<(), CheckpointError> {
    let wanted = problem.names().1;
    match checkpoint.field("problem_type") {
        Some(kind) if kind != wanted => Err(unsupported("problem_type", kind, &format!("`{wanted}`"))),
        _ if problem == Problem::OneClass && outputs == 1 => {
            Err(unsupported("id2label", "of one class, which stands for regression", "two classes or more"))
        }
        None if problem == Problem::Labels || problem == Problem::Numbers && outputs != 1 => {
            Err(unsupported("problem_type", "missing", &format!("`{wanted}`")))
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
