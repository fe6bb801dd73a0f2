//! A run's checkpoints: everything that the next step depends on, each in a folder of its own that is written whole
//! ([`saving`](super::saving)). Here is where they are, and how one is read.
//!
//! `checkpoints/step-00000120/` holds `weights.safetensors` and `best.safetensors` (what has trained so far),
//! `moments.safetensors` (the optimizer's), `average.safetensors` (where the run averages), `steps.bin` (figures of every
//! step), `state.json` and `checksums.json`. What has never trained stands once, in `base-<hash>.safetensors` beside them,
//! so that a checkpoint costs what trains, and so do the fingerprints of the examples, in `rows-<hash>.bin`.

use super::identity::{self, Identity};
use super::planning::Planning;
use super::series;
use super::start::Start;
use super::{Report, RunError};
use crate::checkpoint::{CheckpointError, Held, floats, load_selected, save_tensors_hashed};
use crate::error::Error;
use crate::file::remove_unfinished;
use crate::optim::{Averager, Optimizer};
use burn::module::Module;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Everything but tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) identity: Identity,
    /// The file with what has never trained.
    pub(super) base: String,
    /// The file with what regularisers remember of the beginning.
    #[serde(default)]
    pub(super) start: Option<String>,
    /// Paths of what has trained.
    pub(super) trained: BTreeSet<String>,
    pub(super) best_merit: Option<f64>,
    /// Updates that each parameter's moments have seen.
    pub(super) moment_steps: BTreeMap<String, i32>,
    #[serde(default)]
    pub(super) planning: Planning,
    /// Weights that each parameter's average has seen.
    #[serde(default)]
    pub(super) averaged: BTreeMap<String, u64>,
    /// What observers have gathered, by their names.
    pub(super) observers: BTreeMap<String, serde_json::Value>,
    pub(super) report: Report,
}

/// What a run goes on from.
pub(super) struct Restored<M> {
    pub(super) model: M,
    pub(super) best: Option<(f64, M)>,
    pub(super) optimizer: Optimizer,
    pub(super) start: Start,
    pub(super) average: Averager,
    pub(super) state: State,
}

pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const WEIGHTS: &str = "weights.safetensors";
pub(super) const BEST: &str = "best.safetensors";
pub(super) const MOMENTS: &str = "moments.safetensors";
pub(super) const AVERAGE: &str = "average.safetensors";
pub(super) const BASE: &str = "base-";
pub(super) const START: &str = "start-";
pub(super) const STATE: &str = "state.json";
pub(super) const STEPS: &str = "steps.bin";
pub(super) const CHECKSUMS: &str = "checksums.json";

/// Removes all checkpoints but the newest `keep`, and what only they read.
pub(super) fn prune(folder: &Path, keep: usize) -> Result<(), Error> {
    for old in list(folder)?.iter().rev().skip(keep.max(1)) {
        std::fs::remove_dir_all(old).map_err(|source| run(RunError::Io { path: old.clone(), source }))?;
    }
    remove_unread(folder)
}

/// Removes what a killed run was writing when it ended. Only the one that writes into the folder may.
pub(super) fn clean(folder: &Path) -> Result<(), Error> {
    for dir in [folder.to_path_buf(), folder.join(CHECKPOINTS)] {
        remove_unfinished(&dir).map_err(|source| run(RunError::Io { path: dir, source }))?;
    }
    Ok(())
}

/// The newest whole checkpoint, filled into copies of `model`; `None` where there is no checkpoint. `skipped` hears of
/// damaged ones.
pub(super) fn restore<M: Module>(
    folder: &Path,
    model: &M,
    fresh: (Optimizer, Averager),
    identity: &Identity,
    mut skipped: impl FnMut(&RunError),
) -> Result<Option<Restored<M>>, Error> {
    let all = list(folder)?;
    let mut newest = None;
    for dir in all.iter().rev() {
        match read(folder, dir, model, fresh.clone(), identity) {
            Ok(restored) => return Ok(Some(restored)),
            Err(error @ RunError::OtherRun { .. }) => return Err(run(error)),
            Err(error) => {
                skipped(&error);
                newest.get_or_insert(error.to_string());
            }
        }
    }
    match newest {
        None => Ok(None),
        Some(newest) => Err(run(RunError::NothingWhole { folder: folder.into(), count: all.len(), newest })),
    }
}

/// Whether the folder holds checkpoints.
pub(super) fn exists(folder: &Path) -> Result<bool, Error> {
    Ok(!list(folder)?.is_empty())
}

fn read<M: Module>(
    folder: &Path,
    dir: &Path,
    model: &M,
    (optimizer, average): (Optimizer, Averager),
    identity: &Identity,
) -> Result<Restored<M>, RunError> {
    let damaged = |reason: String| RunError::Damaged { path: dir.into(), reason };
    let expected: BTreeMap<String, String> = read_json(&dir.join(CHECKSUMS)).map_err(damaged)?;
    let mut found = checksums(dir).map_err(|error| damaged(error.to_string()))?;
    found.remove(CHECKSUMS);
    if let Some(file) = expected.iter().find(|(file, sum)| found.get(*file) != Some(sum)).map(|(file, _)| file) {
        return Err(damaged(format!("`{file}` is missing or not as it was written")));
    }
    let mut state: State = read_json(&dir.join(STATE)).map_err(damaged)?;
    let steps = std::fs::read(dir.join(STEPS)).map_err(|error| damaged(error.to_string()))?;
    series::put(&mut state.report, &steps)
        .ok_or_else(|| damaged(format!("`{STEPS}` has the figures of other steps")))?;
    identity::check(identity, &state.identity, folder)?;
    let fill = || -> Result<_, CheckpointError> {
        let trained = |path: &str| state.trained.contains(path);
        let model = load_selected(model, &folder.join(&state.base), |path| !trained(path))?;
        let filled = load_selected(&model, &dir.join(WEIGHTS), trained)?;
        let best = match state.best_merit {
            Some(merit) => Some((merit, load_selected(&model, &dir.join(BEST), trained)?)),
            None => None,
        };
        let moments = crate::checkpoint::Tensors::open_file(dir.join(MOMENTS))?;
        let optimizer = optimizer.with_moments(&filled, &moments, &state.moment_steps)?;
        let average = match state.averaged.is_empty() {
            true => average,
            false => {
                let averages = crate::checkpoint::Tensors::open_file(dir.join(AVERAGE))?;
                average.with_saved(&filled, &averages, &state.averaged)?
            }
        };
        Ok((filled, best, optimizer, average))
    };
    let (model, best, optimizer, average) = fill().map_err(|error| damaged(error.to_string()))?;
    let start = match &state.start {
        Some(file) => Start::load(&model, folder, file).map_err(damaged)?,
        None => Start::default(),
    };
    Ok(Restored { model, best, optimizer, average, start, state })
}

/// A file name made from what the file holds.
pub(super) fn content_name(prefix: &str, tensors: &[Held]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (path, shape, values) in tensors {
        hasher.update(format!("{path} {shape:?} ").as_bytes());
        hasher.update(bytemuck::cast_slice(&floats(values.to_data())));
    }
    format!("{prefix}{}.safetensors", &hasher.finalize().to_hex()[..16])
}

/// Writes tensors under a name made from their content, unless they are there, and gives the name.
pub(super) fn save_once(folder: &Path, prefix: &str, tensors: Vec<Held>) -> Result<String, Error> {
    let name = content_name(prefix, &tensors);
    let path = folder.join(&name);
    if !path.is_file() {
        save_tensors_hashed(&path, tensors)?;
    }
    Ok(name)
}

/// Removes files beside the checkpoints that none of them reads any more: what has trained since is in the checkpoints
/// themselves, and starting weights are written anew when more of them are needed.
fn remove_unread(folder: &Path) -> Result<(), Error> {
    let kept = [files(folder, BASE)?, files(folder, START)?];
    if kept.iter().all(|files| files.len() < 2) {
        return Ok(());
    }
    #[derive(Deserialize)]
    struct Reads {
        base: String,
        #[serde(default)]
        start: Option<String>,
    }
    let checkpoints = list(folder)?;
    let read: Result<Vec<Reads>, String> = checkpoints.iter().map(|dir| read_json(&dir.join(STATE))).collect();
    // A damaged checkpoint may read any of them.
    let Ok(read) = read else { return Ok(()) };
    for path in kept.into_iter().flatten() {
        let is_read =
            |reads: &Reads| path.ends_with(&reads.base) || reads.start.iter().any(|start| path.ends_with(start));
        if !read.iter().any(is_read) {
            std::fs::remove_file(&path).map_err(|source| run(RunError::Io { path, source }))?;
        }
    }
    Ok(())
}

/// Folders of checkpoints, oldest first.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    files(&folder.join(CHECKPOINTS), "step-")
}

/// What is in a folder under names that begin with `prefix`, sorted; a temporary name begins with a dot.
fn files(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>, Error> {
    let io = |source| run(RunError::Io { path: dir.into(), source });
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(io)?,
    };
    let mut found = vec![];
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The hash of every file of a folder.
fn checksums(dir: &Path) -> Result<BTreeMap<String, String>, Error> {
    let io = |source| run(RunError::Io { path: dir.into(), source });
    let mut sums = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let bytes = std::fs::read(&path).map_err(io)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sums.insert(name, blake3::hash(&bytes).to_hex().to_string());
    }
    Ok(sums)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = std::fs::read(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("`{}`: {error}", path.display()))
}

pub(super) fn run(error: RunError) -> Error {
    super::TrainError::Run(error).into()
}
