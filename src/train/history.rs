use super::{Event, TrainError};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes `history.jsonl`: a line for every step and every validation.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
}

impl History {
    /// Starts the file anew, making the folder if need be.
    ///
    /// # Errors
    /// [`TrainError::History`] names the path.
    pub fn create(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join("history.jsonl");
        let file = std::fs::create_dir_all(folder).and_then(|()| File::create(&path));
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(TrainError::History { path, source }),
        }
    }

    pub(super) fn write(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        let line = match event {
            Event::Step(info) => json!({
                "event": "step", "step": info.step, "epoch": info.epoch, "loss": info.loss,
                "schedule": info.schedule, "grad_norm": info.grad_norm, "examples": info.examples,
            }),
            Event::Evaluated(evaluation) => json!({
                "event": "evaluation", "step": evaluation.step, "epoch": evaluation.epoch,
                "loss": evaluation.summary.loss, "accuracy": evaluation.summary.accuracy,
                "macro_f1": evaluation.summary.macro_f1,
            }),
            _ => return Ok(()),
        };
        writeln!(self.file, "{line}").map_err(|source| TrainError::History { path: self.path.clone(), source })
    }
}
