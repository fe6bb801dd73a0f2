use super::cannot_write;
use crate::file::write_atomically;
use crate::train::{Control, Evaluation, Event, Observer, ObserverError, StepInfo};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes `steps.csv` and `evaluations.csv` into a folder, a line for each step and each validation. A figure that the
/// head does not give is an empty cell. A resumed run ends with the same lines as one that was never interrupted; wall
/// times are therefore left out.
#[derive(Debug)]
pub struct CsvLog {
    folder: PathBuf,
    /// The last step and the last validation that a resumed run has done.
    done: [usize; 2],
    steps: Option<Table>,
    evaluations: Option<Table>,
}

const STEPS: &str = "step,epoch,loss,learning_rate,lowest_learning_rate,grad_norm,examples,tokens,padding";

impl CsvLog {
    /// Writes there; the folder is made where there is none. What an earlier run wrote there is replaced, unless the run
    /// goes on from its checkpoint.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), done: [0, 0], steps: None, evaluations: None }
    }

    fn step(&mut self, info: &StepInfo) -> Result<(), ObserverError> {
        let StepInfo { step, epoch, loss, lr, lowest_lr, grad_norm, examples, tokens, padding, .. } = *info;
        let line = format!("{step},{epoch},{loss},{lr},{lowest_lr},{grad_norm},{examples},{tokens},{padding}");
        table(&mut self.steps, &self.folder, "steps.csv", STEPS, self.done[0])?.write(&line)
    }

    fn evaluation(&mut self, evaluation: &Evaluation) -> Result<(), ObserverError> {
        let figures = evaluation.figures();
        let header = figures.iter().fold("step,epoch".to_string(), |header, (name, _)| header + "," + name);
        let line = format!("{},{}", evaluation.step, evaluation.epoch);
        let cell = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let line = figures.iter().fold(line, |line, (_, value)| line + "," + &cell(*value));
        table(&mut self.evaluations, &self.folder, "evaluations.csv", &header, self.done[1])?.write(&line)
    }

    /// Removes the files of an earlier run, so that none is left should this one write none.
    fn clear(&self) -> Result<(), ObserverError> {
        for name in ["steps.csv", "evaluations.csv"] {
            let path = self.folder.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot_write(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Observer for CsvLog {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Resumed { step, report } => {
                let evaluated = report.evaluations.last().map_or(0, |evaluation| evaluation.step);
                self.done = [*step, evaluated];
                // Now, for the run may end before the next line.
                for (name, done) in ["steps.csv", "evaluations.csv"].into_iter().zip(self.done) {
                    keep(&self.folder.join(name), done)?;
                }
            }
            Event::Start { .. } if self.done == [0, 0] => self.clear()?,
            Event::Step(info) => self.step(info)?,
            Event::Evaluated(evaluation) => self.evaluation(evaluation)?,
            // Ready for another run.
            Event::End { .. } | Event::Failed { .. } => *self = Self::new(std::mem::take(&mut self.folder)),
            _ => {}
        }
        Ok(Control::Continue)
    }
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    file: File,
}

impl Table {
    fn write(&mut self, line: &str) -> Result<(), ObserverError> {
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(cannot_write(&self.path))
    }
}

/// The open table; opens it first, going on after the lines up to step `done`.
fn table<'a>(
    open: &'a mut Option<Table>,
    folder: &Path,
    name: &str,
    header: &str,
    done: usize,
) -> Result<&'a mut Table, ObserverError> {
    if open.is_none() {
        let path = folder.join(name);
        std::fs::create_dir_all(folder).map_err(cannot_write(folder))?;
        // An empty one was cut off within its header.
        let begun = done > 0 && std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
        let mut options = File::options();
        let options = if begun { options.append(true) } else { options.create(true).write(true).truncate(true) };
        let file = options.open(&path).map_err(cannot_write(&path))?;
        let mut table = Table { path, file };
        if !begun {
            table.write(header)?;
        }
        *open = Some(table);
    }
    open.as_mut().ok_or_else(|| "no table".into())
}

/// Drops the lines of a file after step `done`: the run that was interrupted wrote them after its checkpoint, the last one
/// perhaps half, and they will come again.
fn keep(path: &Path, done: usize) -> Result<(), ObserverError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(cannot_write(path))?,
    };
    let step = |line: &str| line.split(',').next().and_then(|cell| cell.parse::<usize>().ok());
    let mut kept = String::new();
    let mut last = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let step = if index == 0 { Some(0) } else { step(line) };
        let Some(step) = step.filter(|step| *step <= done && (index == 0 || *step > last) && line.ends_with('\n'))
        else {
            break;
        };
        last = step;
        kept += line;
    }
    write_atomically(path, |file| file.write_all(kept.as_bytes())).map_err(cannot_write(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_are_dropped_and_half_ones_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps.csv");
        for (text, expected) in [
            ("step,loss\n1,0.5\n2,0.4\n3,0.3\n", "step,loss\n1,0.5\n2,0.4\n"),
            ("step,loss\n1,0.5\n2,0.4\n3,", "step,loss\n1,0.5\n2,0.4\n"),
            ("step,loss\n1,0.5\n2", "step,loss\n1,0.5\n"),
            ("step,loss\n1,0.5\n2,0.4\n1", "step,loss\n1,0.5\n2,0.4\n"),
            ("step,lo", ""),
            ("", ""),
        ] {
            std::fs::write(&path, text).unwrap();
            keep(&path, 2).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        keep(&path, 2).unwrap();
        assert!(!path.exists());
    }
}
