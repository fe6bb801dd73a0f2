use super::{Control, Event, Observer, ObserverError, bytes};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Shows a run on standard error: a bar with the time left in a terminal, a line now and then elsewhere.
#[derive(Debug, Default)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    is_terminal: bool,
    bar_only: bool,
    smoothed_loss: Option<f64>,
}

impl ProgressLine {
    /// Finds out whether standard error is a terminal.
    pub fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), ..Self::default() }
    }

    /// A bar that is gone when the run is, and nothing where there is no terminal: for many runs in a row.
    pub fn bar_only() -> Self {
        Self { bar_only: true, ..Self::new() }
    }

    fn start(&mut self, steps: usize, text: &'static str) {
        if !self.is_terminal {
            return;
        }
        let template = "{prefix} [{wide_bar}] {pos}/{len} {msg} {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(steps as u64).with_style(style.progress_chars("=> ")).with_prefix(text);
        self.bar = Some(bar);
    }

    fn line(&self, text: String) {
        if self.bar_only {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    fn caching(&mut self, done: usize, all: usize) {
        if done == all {
            self.bar.take().inspect(ProgressBar::finish_and_clear);
            return self.line(format!("frozen stages computed once for {all} examples"));
        }
        if self.bar.is_none() {
            self.start(all, "frozen stages");
        }
        self.bar.iter().for_each(|bar| bar.set_position(done as u64));
    }
}

impl Observer for ProgressLine {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Forecast(forecast) => self.line(forecast.to_string()),
            Event::OtherVersion { there, here } => {
                self.line(format!(
                    "these checkpoints were saved by version {there}, this is {here}: the last bits may differ"
                ));
            }
            Event::Caching { done, all } => self.caching(*done, *all),
            Event::Step(info) => {
                let before = self.smoothed_loss.unwrap_or(info.loss);
                self.smoothed_loss = Some(0.9 * before + 0.1 * info.loss);
                if self.bar.is_none() {
                    self.start(info.steps, "training");
                }
                if let Some(bar) = &self.bar {
                    bar.set_position(info.step as u64);
                    bar.set_message(format!("loss {:.4}", self.smoothed_loss.unwrap_or(info.loss)));
                } else if info.step.is_multiple_of((info.steps / 10).max(1)) {
                    let loss = self.smoothed_loss.unwrap_or(info.loss);
                    self.line(format!("step {}/{} epoch {} loss {loss:.4}", info.step, info.steps, info.epoch));
                }
            }
            Event::Evaluated(evaluation) => {
                let figure =
                    |name, value: Option<f64>| value.map_or(String::new(), |value| format!(" {name} {value:.4}"));
                let summary = &evaluation.summary;
                let (accuracy, f1) = (figure("accuracy", summary.accuracy), figure("macro-F1", summary.macro_f1));
                self.line(format!("validation at step {}: loss {:.4}{accuracy}{f1}", evaluation.step, summary.loss));
            }
            Event::End { report } => {
                self.bar.take().inspect(ProgressBar::finish_and_clear);
                if let (Some(peak), Some(foretold)) = (report.peak_bytes, report.forecast_bytes) {
                    self.line(format!("memory: {} at most, {} foretold", bytes(peak), bytes(foretold)));
                }
            }
            _ => {}
        }
        Ok(Control::Continue)
    }
}
