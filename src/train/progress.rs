use super::{Control, Event, Observer, ObserverError, StepInfo, Throughput, bytes};
use crate::params::{short, thousands};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Shows a run on standard error: a bar with the time left in a terminal, ten lines over the run elsewhere. The loss is
/// smoothed over about 10 steps, the speed is that of the last 50.
#[derive(Debug, Default)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    is_terminal: bool,
    bar_only: bool,
    smoothed_loss: Option<f64>,
    throughput: Throughput,
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

    fn start(&mut self, steps: usize, done: usize, text: &'static str) {
        if !self.is_terminal {
            return;
        }
        let template = "{prefix} [{wide_bar}] {pos}/{len} {msg} {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(steps as u64).with_style(style.progress_chars("=> ")).with_prefix(text);
        // The time left is reckoned from here: steps of an earlier run took no time of this one.
        bar.set_position(done as u64);
        bar.reset_eta();
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

    /// Forgets the run.
    fn end(&mut self) {
        self.bar.take().inspect(ProgressBar::finish_and_clear);
        (self.smoothed_loss, self.throughput) = (None, Throughput::default());
    }

    fn caching(&mut self, done: usize, all: usize) {
        if done == all {
            self.bar.take().inspect(ProgressBar::finish_and_clear);
            return;
        }
        if self.bar.is_none() {
            self.start(all, 0, "frozen stages");
        }
        self.bar.iter().for_each(|bar| bar.set_position(done as u64));
    }

    fn step(&mut self, info: &StepInfo) {
        self.throughput.add(info);
        let before = self.smoothed_loss.unwrap_or(info.loss);
        self.smoothed_loss = Some(0.9 * before + 0.1 * info.loss);
        if self.bar.is_none() {
            self.start(info.steps, info.step - 1, "training");
        }
        if let Some(bar) = &self.bar {
            bar.set_message(self.figures(info));
            bar.set_position(info.step as u64);
        } else if info.step.is_multiple_of((info.steps / 10).max(1)) {
            self.line(format!("step {}/{} epoch {} {}", info.step, info.steps, info.epoch, self.figures(info)));
        }
    }

    /// `loss 0.6931 lr 4.5e-5 312.4 examples/s 4,120 tokens/s`.
    fn figures(&self, info: &StepInfo) -> String {
        let (loss, speed) = (self.smoothed_loss.unwrap_or(info.loss), self.throughput.recent());
        let tokens = thousands(speed.tokens_per_second().round() as usize);
        let examples = speed.examples_per_second();
        format!("loss {loss:.4} lr {} {examples:.1} examples/s {tokens} tokens/s", short(info.lr))
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
            Event::Skipped { error } => self.line(format!("{error}; the one before it is used")),
            Event::Resumed { step, .. } => self.line(format!("goes on after step {step}")),
            Event::Cache(plan) => self.line(plan.to_string()),
            Event::Caching { done, all } => self.caching(*done, *all),
            Event::Plan { change, step, .. } if !change.is_empty() => {
                self.line(format!("plan after step {step}: {change}"));
            }
            Event::Cached(report) => self.line(report.to_string()),
            Event::CacheBroken { error } => self.line(format!("{error}; the run goes on without writing there")),
            Event::Step(info) => self.step(info),
            Event::Evaluated(evaluation) => {
                let figure =
                    |name, value: Option<f64>| value.map_or(String::new(), |value| format!(" {name} {value:.4}"));
                let summary = &evaluation.summary;
                let (accuracy, f1) = (figure("accuracy", summary.accuracy), figure("macro-F1", summary.macro_f1));
                self.line(format!("validation at step {}: loss {:.4}{accuracy}{f1}", evaluation.step, summary.loss));
            }
            Event::ObserverFailed { name, error } => self.line(format!("{name} failed and is left out: {error}")),
            Event::End { report } => {
                self.end();
                if let (Some(peak), Some(foretold)) = (report.peak_bytes, report.forecast_bytes) {
                    self.line(format!("memory: {} at most, {} foretold", bytes(peak), bytes(foretold)));
                }
            }
            Event::Failed { .. } => self.end(),
            _ => {}
        }
        Ok(Control::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepSeconds;

    #[test]
    fn a_line_has_smoothed_loss_rate_and_speed() {
        let mut line = ProgressLine { bar_only: true, ..ProgressLine::default() };
        let seconds = StepSeconds { total: 0.5, ..StepSeconds::default() };
        let info =
            StepInfo { steps: 9, loss: 2.0, lr: 4.5e-5, examples: 8, tokens: 1600, seconds, ..StepInfo::default() };
        line.step(&StepInfo { step: 1, ..info });
        line.step(&StepInfo { step: 2, loss: 1.0, ..info });
        assert_eq!(line.figures(&info), "loss 1.9000 lr 4.5e-5 16.0 examples/s 3,200 tokens/s");
    }
}
