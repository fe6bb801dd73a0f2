use super::event_file::EventFile;
use super::{Speed, cannot_write};
use crate::train::{Control, Event, Fit, Observer, ObserverError, StepInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// Writes event files for `tensorboard --logdir FOLDER`: loss, learning rate, gradient norm and throughput of every step,
/// the figures of every validation, and the configuration and plans as texts.
///
/// A resumed run begins another file, which voids what earlier ones say of steps after the checkpoint: no step appears
/// twice. A new run in a folder voids everything that was there.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    events: Option<EventFile>,
    last: LastStep,
    /// Steps done when the run was resumed.
    resumed: Option<usize>,
    is_restored: bool,
}

/// What was written of the last step. A resumed run writes it again: a validation after the last checkpoint belongs to the
/// same step, so voiding has to begin with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct LastStep {
    step: usize,
    scalars: Vec<(String, f64)>,
}

impl TensorBoard {
    /// Writes there; the folder is made where there is none.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), events: None, last: LastStep::default(), resumed: None, is_restored: false }
    }

    fn start(&mut self, config: &Fit) -> Result<(), ObserverError> {
        let first = match self.resumed {
            None => 0,
            Some(_) if self.is_restored => self.last.step,
            Some(step) => step + 1,
        };
        let mut events = EventFile::create(&self.folder, first).map_err(cannot_write(&self.folder))?;
        match self.resumed {
            None => events.text(0, "configuration", &options(config)),
            Some(_) if self.is_restored => events.scalars(first, &self.last.scalars),
            Some(step) => {
                self.last.step = step;
                Ok(())
            }
        }
        .map_err(cannot_write(&events.path))?;
        self.events = Some(events);
        Ok(())
    }

    fn step(&mut self, info: &StepInfo) -> Result<(), ObserverError> {
        // Of this step alone: TensorBoard smooths by itself.
        let speed = Speed::from(info);
        let mut scalars = vec![
            ("train/loss", info.loss),
            ("train/learning_rate", info.lr),
            ("train/grad_norm", info.grad_norm),
            ("train/epoch", info.epoch as f64),
            ("throughput/examples_per_second", speed.examples_per_second()),
            ("throughput/tokens_per_second", speed.tokens_per_second()),
            ("throughput/padding_share", speed.padding_share()),
        ];
        if info.lowest_lr != info.lr {
            scalars.push(("train/lowest_learning_rate", info.lowest_lr));
        }
        self.write(info.step, scalars.into_iter().map(|(tag, value)| (tag.to_string(), value)).collect())
    }

    fn write(&mut self, step: usize, scalars: Vec<(String, f64)>) -> Result<(), ObserverError> {
        if let Some(events) = &mut self.events {
            events.scalars(step, &scalars).map_err(cannot_write(&events.path))?;
        }
        if self.last.step != step {
            self.last = LastStep { step, scalars: vec![] };
        }
        self.last.scalars.extend(scalars);
        Ok(())
    }
}

impl Observer for TensorBoard {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Resumed { step, .. } => self.resumed = Some(*step),
            Event::Start { config, .. } => self.start(config)?,
            Event::Plan { plan, .. } => {
                let indented: String = plan.to_string().lines().map(|line| format!("    {line}\n")).collect();
                // At the step that trains under it, which voids an earlier file's plan of the same step.
                let step = self.last.step + 1;
                if let Some(events) = &mut self.events {
                    events.text(step, "plan", &indented).map_err(cannot_write(&events.path))?;
                }
            }
            Event::Step(info) => self.step(info)?,
            Event::Evaluated(evaluation) => {
                let figures = evaluation.figures().into_iter();
                let figures = figures.filter_map(|(name, value)| Some((format!("validation/{name}"), value?)));
                self.write(evaluation.step, figures.collect())?;
            }
            // Ready for another run.
            Event::End { .. } | Event::Failed { .. } => *self = Self::new(std::mem::take(&mut self.folder)),
            _ => {}
        }
        Ok(Control::Continue)
    }

    fn state(&self) -> Option<Value> {
        serde_json::to_value(&self.last).ok()
    }

    fn restore(&mut self, state: Value) -> Result<(), ObserverError> {
        self.last = serde_json::from_value(state)?;
        self.is_restored = true;
        Ok(())
    }
}

/// The configuration as a Markdown table.
fn options(config: &Fit) -> String {
    let value = serde_json::to_value(config).unwrap_or_default();
    let rows = value.as_object().into_iter().flatten();
    let rows = rows.map(|(name, value)| format!("| {name} | {} |\n", value.to_string().replace('|', "\\|")));
    "| option | value |\n|---|---|\n".to_string() + &rows.collect::<String>()
}
