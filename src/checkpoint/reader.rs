use super::card::{Card, check_class, load_whole};
use super::save::{write_model, write_model_folder, write_tokenizer};
use super::saved::Saved;
use super::{Checkpoint, FromPretrained};
use crate::backbone::Pooling;
use crate::data::Windows;
use crate::error::Error;
use crate::head::SpanHead;
use crate::model::Model;
use crate::objective::QuestionAnswering;
use burn::tensor::Device;
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;

const HEAD: &str = "spans";
const CLASS: &str = "ForQuestionAnswering";

/// Writes the folder of a model that finds answers in texts, atomically: everything that
/// [`Answerer::load`](crate::predict::Answerer::load) reads, in the layout of Transformers, whose
/// `AutoModelForQuestionAnswering` loads it. It replaces an earlier model folder as
/// [`save_classifier`](super::save_classifier) does.
///
/// # Errors
/// A folder that holds something else than a model ([`NotAModelFolder`](super::CheckpointError::NotAModelFolder)); a file
/// that cannot be written.
pub fn save_reader<B: FromPretrained>(
    folder: impl AsRef<Path>,
    model: &Model<B, SpanHead>,
    config: &B::Config,
    task: &QuestionAnswering,
    freeze: &dyn Debug,
) -> Result<(), Error> {
    let windows = task.windows();
    let card = Card::new(HEAD, model.backbone.pooling(), windows.max_length, freeze);
    let card = Card { windows: Some(windows), ..card };
    write_model_folder(folder.as_ref(), |folder| {
        let class = format!("{}{CLASS}", B::class_prefix(config));
        write_model(folder, model, config, &[("architectures", json!([class]))])?;
        write_tokenizer(folder, task.tokenizer(), B::max_length(config), B::input_names(config))?;
        Ok(card.write(folder)?)
    })
}

/// A model that finds answers, as it was saved.
pub type SavedReader<B> = Saved<B, SpanHead, QuestionAnswering>;

/// Loads what [`save_reader`] wrote, or a model for question answering that Transformers saved (its windows the default
/// ones, as far as there are positions).
///
/// # Errors
/// A missing or damaged file, a key that is missing or unknown; a model for something else.
pub fn load_reader<B: FromPretrained>(folder: impl AsRef<Path>, device: &Device) -> Result<SavedReader<B>, Error> {
    let folder = folder.as_ref();
    let checkpoint = Checkpoint::open(folder)?;
    let config = checkpoint.config::<B>()?;
    check_class(&checkpoint, CLASS)?;
    let card = Card::read(folder, HEAD)?;
    let pooling = card.as_ref().map_or(Pooling::Cls, |card| card.pooling);
    let head = B::span_head(&config, 0, device);
    let model = load_whole(&checkpoint, &Model { backbone: B::build(&config, pooling, 0, device), head })?;
    let windows = card.and_then(|card| card.windows).unwrap_or_else(|| fitting(B::max_length(&config)));
    let task = QuestionAnswering::new(checkpoint.tokenizer()?, windows)?;
    Ok(Saved { model, task })
}

/// The default windows, smaller where a network has fewer positions.
fn fitting(positions: usize) -> Windows {
    let usual = Windows::default();
    let max_length = usual.max_length.min(positions);
    let part = |tokens: usize| tokens.min(max_length * tokens / usual.max_length);
    Windows { max_length, stride: part(usual.stride), max_question: part(usual.max_question).max(1) }
}
