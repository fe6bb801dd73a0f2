//! Writing checkpoints while training goes on.

use super::fit::Run;
use super::saved::{
    AVERAGE, BASE, BEST, CHECKPOINTS, CHECKSUMS, MOMENTS, STATE, STEPS, State, WEIGHTS, prune, run, save_once,
};
use super::{Event, RunError, SaveEvery, StopReason, TrainError, series};
use crate::backbone::Backbone;
use crate::checkpoint::{Held, held, save_tensors_hashed, write_file, write_folder};
use crate::error::Error;
use crate::head::TaskHead;
use crate::objective::Objective;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Instant;

/// What a checkpoint will hold. Tensors are by handle: taking a snapshot copies none of them, and what training changes
/// afterwards, it changes in copies of its own.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) folder: PathBuf,
    pub(super) base: Base,
    pub(super) weights: Vec<Held>,
    pub(super) best: Option<Vec<Held>>,
    pub(super) moments: Vec<Held>,
    pub(super) average: Vec<Held>,
    /// Its `base` is filled in when that is written.
    pub(super) state: State,
    /// So many of the newest checkpoints stay.
    pub(super) keep: usize,
}

/// What has never trained.
#[derive(Debug)]
pub(super) enum Base {
    /// It is in the file of this name.
    Saved(String),
    Unsaved(Vec<Held>),
}

/// A checkpoint that is on the disk.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) base: String,
}

impl Snapshot {
    /// Writes the checkpoint, and then removes the oldest ones.
    fn write(mut self) -> Result<Written, Error> {
        let folder = self.folder.clone();
        self.state.identity.save_rows(&folder)?;
        self.state.base = match std::mem::replace(&mut self.base, Base::Unsaved(vec![])) {
            Base::Saved(name) => name,
            Base::Unsaved(tensors) => save_once(&folder, BASE, tensors)?,
        };
        let (base, keep) = (self.state.base.clone(), self.keep);
        let path = folder.join(CHECKPOINTS).join(format!("step-{:08}", self.state.report.steps));
        write_folder(&path, |dir| self.fill(dir))?;
        prune(&folder, keep)?;
        Ok(Written { path, base })
    }

    fn fill(mut self, dir: &Path) -> Result<(), Error> {
        let mut sums = BTreeMap::new();
        let mut save = |name: &str, tensors| -> Result<(), Error> {
            sums.insert(name.to_string(), save_tensors_hashed(&dir.join(name), tensors)?.to_hex().to_string());
            Ok(())
        };
        save(WEIGHTS, self.weights)?;
        if let Some(best) = self.best {
            save(BEST, best)?;
        }
        save(MOMENTS, self.moments)?;
        if !self.average.is_empty() {
            save(AVERAGE, self.average)?;
        }
        let steps = series::take(&mut self.state.report);
        write_file(dir.join(STEPS), |file| file.write_all(&steps))?;
        sums.insert(STEPS.into(), blake3::hash(&steps).to_hex().to_string());
        sums.insert(STATE.into(), write_json(&dir.join(STATE), &self.state)?);
        write_json(&dir.join(CHECKSUMS), &sums).map(drop)
    }
}

/// Writes the file and gives its hash.
fn write_json(path: &Path, value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_vec_pretty(value).map_err(std::io::Error::from);
    let text = text.map_err(|source| run(RunError::Io { path: path.into(), source }))?;
    write_file(path, |file| file.write_all(&text))?;
    Ok(blake3::hash(&text).to_hex().to_string())
}

/// The thread that writes a checkpoint, if one is being written. It is waited for before the run lets go of its folder.
#[derive(Debug, Default)]
pub(super) struct Writer {
    running: Option<JoinHandle<Result<Written, Error>>>,
}

impl Writer {
    /// Begins to write. The checkpoint before must have been waited for.
    pub(super) fn start(&mut self, snapshot: Snapshot) -> Result<(), Error> {
        let path = snapshot.folder.clone();
        let thread = std::thread::Builder::new().name("rekindle checkpoint".into());
        let running = thread.spawn(move || snapshot.write()).map_err(|source| run(RunError::Io { path, source }))?;
        self.running = Some(running);
        Ok(())
    }

    /// Whether waiting would take no time, and there is something to wait for.
    pub(super) fn is_done(&self) -> bool {
        self.running.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits until nothing is being written; what has been.
    pub(super) fn wait(&mut self) -> Result<Option<Written>, Error> {
        let Some(running) = self.running.take() else { return Ok(None) };
        let ended = |_| run(RunError::Io { path: CHECKPOINTS.into(), source: io::Error::other("the writer panicked") });
        running.join().map_err(ended)?.map(Some)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.wait().ok();
    }
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Begins to save everything that the next step depends on, where it is time to; always when it is `needed`.
    pub(super) fn checkpoint(&mut self, needed: bool) -> Result<(), Error> {
        if self.writer.is_done() {
            self.settle()?;
        }
        let (save_every, keep) = (self.config.save_every, self.config.keep_checkpoints);
        let asked = std::mem::take(&mut self.observers.save);
        let Some(folder) = self.config.folder.as_deref() else {
            return if asked { Err(TrainError::NowhereToSave.into()) } else { Ok(()) };
        };
        let due = match save_every {
            _ if asked => true,
            None => self.stop == Some(StopReason::Observer),
            Some(SaveEvery::Steps(steps)) => needed || self.report.steps.is_multiple_of(steps),
            Some(SaveEvery::Minutes(minutes)) => needed || self.saved_at.elapsed().as_secs_f64() >= 60.0 * minutes,
        };
        if !due {
            return Ok(());
        }
        self.settle()?;
        self.measure();
        let start = self.start_weights.save(&*self.model, folder)?;
        let trained = |path: &str| self.trained.contains(path);
        let (moments, moment_steps) = self.optimizer.moments(&*self.model);
        let state = State {
            identity: self.identity.clone(),
            base: String::new(),
            start,
            trained: self.trained.clone(),
            best_merit: self.best.as_ref().map(|(merit, _)| *merit),
            moment_steps,
            planning: self.planning.clone(),
            averaged: self.average.seen(&*self.model),
            observers: self.observers.states(),
            report: self.report.clone(),
        };
        let snapshot = Snapshot {
            folder: folder.into(),
            base: match &self.base {
                Some(name) => Base::Saved(name.clone()),
                None => Base::Unsaved(held(&*self.model, |path| !trained(path))),
            },
            weights: held(&*self.model, trained),
            best: self.best.as_ref().map(|(_, best)| held(best, trained)),
            moments,
            average: self.average.held(&*self.model),
            state,
            keep,
        };
        self.writer.start(snapshot)?;
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Waits for the checkpoint that is being written, if one is, and tells of it.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let Some(Written { path, base }) = self.writer.wait()? else { return Ok(()) };
        self.base = Some(base);
        self.tell(&Event::Saved { path: &path })
    }
}
