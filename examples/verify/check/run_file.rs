//! What a file of a training run holds.

use super::Result;
use super::findings::Array;
use super::named::{file_keys, key_of, lookup};
use super::task::{Task, Traced};
use rekindle::Model;
use rekindle::checkpoint::{KeyMap, Tensors};
use rekindle::params::Inventory;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files of a folder that hold a run, sorted.
pub(crate) fn run_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("cannot read `{}`: {error}", folder.display()))?;
    let mut files = vec![];
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let tensors = Tensors::open_file(&path)?;
            files.extend((tensors.contains("losses") || tensors.contains("steps.loss")).then_some(path));
        }
    }
    files.sort();
    Ok(files)
}

/// How many steps the run has.
pub(super) fn steps(file: &Tensors) -> Result<usize> {
    let steps = match file.contains("losses") {
        true if is_whole(file) => file.shape("losses")?.iter().product(),
        true => file.shape("losses")?.iter().product::<usize>().saturating_sub(1),
        false => file.shape("steps.loss")?.iter().product(),
    };
    match steps {
        0 => Err(format!("`{}` holds no step", file.path().display()).into()),
        steps => Ok(steps),
    }
}

/// Logits at the end, in a file of the model's whole state with the losses before each step; other files hold what
/// trained, and the loss at the end too.
pub(super) const EVAL_LOGITS: &str = "eval_logits";

/// Whether a file holds the whole state.
pub(super) fn is_whole(file: &Tensors) -> bool {
    file.contains(EVAL_LOGITS)
}

/// The parameters that a run's file holds, from our key to the file's.
pub(super) fn listed_keys(map: &KeyMap, file: &Tensors) -> Result<BTreeMap<String, String>> {
    let figures = ["losses", "final_logits", EVAL_LOGITS];
    let is_figure = |key: &str| figures.contains(&key) || key.starts_with("steps.");
    let keys = file_keys(map, file.keys().filter(|key| !is_figure(key)))?;
    Ok(keys.into_iter().filter(|(key, _)| map.ignored(key).is_none()).collect())
}

/// Those that the run changed: all, where the file is not of the whole state.
pub(super) fn moved_keys(
    listed: &BTreeMap<String, String>,
    before: &BTreeMap<String, Array>,
    file: &Tensors,
) -> Result<BTreeSet<String>> {
    let mut moved = BTreeSet::new();
    for (key, file_key) in listed {
        if lookup(before, key, file)? != &Array::read(file, file_key)? || !is_whole(file) {
            moved.insert(key.clone());
        }
    }
    Ok(moved)
}

/// Those that train; running statistics move by themselves.
pub(super) fn trainable_keys<B: Traced, H: Task<B>>(
    moved: &BTreeSet<String>,
    model: &Model<B, H>,
    map: &KeyMap,
) -> Result<BTreeSet<String>> {
    let entries = Inventory::of(model)?.entries;
    let keys = entries.iter().filter(|entry| entry.kind.is_trainable()).map(|entry| key_of(map, &entry.path));
    Ok(keys.collect::<Result<BTreeSet<_>>>()?.into_iter().filter(|key| moved.contains(key)).collect())
}
