//! Models for a task in folders.

use super::card::Card;
use super::save::{write_model_folder, write_tokenizer, write_weights};
use super::save_format::Named;
use super::{FromPretrained, SaveFormat};
use crate::data::TextTokenizer;
use crate::error::Error;
use crate::model::Model;
use serde_json::Value;
use std::path::Path;

/// A model for a task as it was saved. Options of the head's loss are not: it is the default one.
#[derive(Debug)]
pub struct Saved<B, H, T> {
    /// Backbone and head.
    pub model: Model<B, H>,
    /// Tokenizer, length limit, labels where there are some.
    pub task: T,
}

/// What the folder of a task holds beside weights.
pub(super) struct TaskFolder<'a> {
    pub(super) card: Card,
    pub(super) tokenizer: &'a TextTokenizer,
    /// Keys of `config.json`; null takes one out.
    pub(super) fields: Vec<(&'static str, Value)>,
    pub(super) format: SaveFormat,
}

impl TaskFolder<'_> {
    /// Writes the folder, atomically; `more` adds files of its own.
    pub(super) fn write<B: FromPretrained>(
        &self,
        folder: &Path,
        tensors: Vec<Named>,
        config: &B::Config,
        more: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        write_model_folder(folder, |folder| {
            write_weights(folder, tensors, config, &self.fields, &self.format)?;
            write_tokenizer(folder, self.tokenizer, self.card.max_length, B::input_names(config))?;
            more(folder)?;
            Ok(self.card.write(folder)?)
        })
    }
}
