//! The classes of Transformers that can be checked, one table a family.

mod decoders;
mod encoders;
mod heads;
mod images;
mod pairs;
mod routed;
mod seq2seq;
mod text;
mod towers;
mod vision;

use super::Result;
use super::case::Case;
use rekindle::checkpoint::Checkpoint;

/// The class that `config.json` names.
pub(crate) fn of(checkpoint: &Checkpoint) -> Result<(String, Box<dyn Case>)> {
    let named = checkpoint.architectures();
    let known = named.iter().find_map(|name| Some((name.to_string(), case(name)?)));
    known.ok_or_else(|| {
        let supported =
            [encoders::NAMES, decoders::NAMES, seq2seq::NAMES, vision::NAMES, towers::NAMES].concat().join(", ");
        let folder = checkpoint.folder().display();
        super::Unsupported(format!("`architectures` of `{folder}` is {named:?}; supported are {supported}")).into()
    })
}

fn case(name: &str) -> Option<Box<dyn Case>> {
    let tables = [encoders::case, decoders::case, seq2seq::case, vision::case, towers::case];
    tables.into_iter().find_map(|table| table(name))
}
