//! The files of training, validation and test.

use rekindle::data::DataError;
use std::path::{Path, PathBuf};

/// The file of a split: the first of these endings with which the folder has one.
pub(crate) fn split_file(folder: &Path, split: &str, endings: &[&str]) -> PathBuf {
    let paths: Vec<PathBuf> = endings.iter().map(|ending| folder.join(format!("{split}.{ending}"))).collect();
    paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]).clone()
}

/// What the rows of a split come to; an error says which split it is in.
pub(crate) fn in_split<T>(split: &str, result: Result<T, DataError>) -> Result<T, String> {
    result.map_err(|error| format!("the {split} set: {error}"))
}
