use super::{Event, Report, TrainError};
use crate::file::write_atomically;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes `history.jsonl`: a line for every step and every validation.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    file: File,
}

impl History {
    /// Starts the file anew, making the folder if need be.
    pub(super) fn create(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join("history.jsonl");
        let file = std::fs::create_dir_all(folder).and_then(|()| File::create(&path));
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(TrainError::History { path, source }),
        }
    }

    /// Goes on with the file of an interrupted run, without the lines that its checkpoint does not know
    /// of: they will come again.
    pub(super) fn reopen(folder: &Path, report: &Report) -> Result<Self, TrainError> {
        let path = folder.join("history.jsonl");
        let before = |line: &&str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let Some(step) = line["step"].as_u64().map(|step| step as usize) else { return false };
            match line["event"] == "evaluation" {
                true => report.evaluations.iter().any(|evaluation| evaluation.step == step),
                false => step <= report.steps,
            }
        };
        let file = std::fs::read_to_string(&path).and_then(|text| {
            let kept: String = text.lines().filter(before).map(|line| format!("{line}\n")).collect();
            write_atomically(&path, |file| file.write_all(kept.as_bytes()))?;
            File::options().append(true).open(&path)
        });
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(TrainError::History { path, source }),
        }
    }

    pub(super) fn write(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        let line = match event {
            Event::Step(info) => json!({
                "event": "step", "step": info.step, "epoch": info.epoch, "loss": info.loss,
                "schedule": info.schedule, "lr": info.lr, "grad_norm": info.grad_norm, "examples": info.examples,
                "tokens": info.tokens, "padding": info.padding,
            }),
            Event::Evaluated(evaluation) => json!({
                "event": "evaluation", "step": evaluation.step, "epoch": evaluation.epoch,
                "loss": evaluation.summary.loss, "accuracy": evaluation.summary.accuracy,
                "macro_f1": evaluation.summary.macro_f1,
                "monitor": evaluation.monitor, "monitored": evaluation.monitored,
            }),
            _ => return Ok(()),
        };
        writeln!(self.file, "{line}").map_err(|source| TrainError::History { path: self.path.clone(), source })
    }
}
