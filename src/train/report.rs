use super::Monitor;
use crate::cache::CacheReport;
use crate::metric::Summary;
use serde::{Deserialize, Serialize};

/// A validation during a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Optimizer steps done.
    pub step: usize,
    /// Epochs begun.
    pub epoch: usize,
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// The figure by which the best validation is chosen.
    pub monitor: Monitor,
    /// Its value.
    pub monitored: f64,
}

impl Evaluation {
    /// Every figure by its name: those of [`Summary`] in its order (`None` where the head does not give it), then the
    /// monitored one if it is another.
    pub fn figures(&self) -> Vec<(String, Option<f64>)> {
        let summary = serde_json::to_value(self.summary).unwrap_or_default();
        let figures = summary.as_object().into_iter().flatten();
        let mut figures: Vec<_> = figures.map(|(name, value)| (name.clone(), value.as_f64())).collect();
        let monitor = serde_json::to_value(self.monitor).unwrap_or_default();
        if let Some(monitor) = monitor.as_str().filter(|monitor| figures.iter().all(|(name, _)| name != monitor)) {
            figures.push((monitor.into(), Some(self.monitored)));
        }
        figures
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// All steps are done.
    #[default]
    Finished,
    /// No better validation for `patience` times.
    NoImprovement,
    /// An observer asked for it.
    Observer,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Optimizer steps done.
    pub steps: usize,
    /// Mean loss of every step, with the terms of [`Fit::regularisation`](super::Fit::regularisation).
    pub losses: Vec<f64>,
    /// Gradient norm of every step, before clipping.
    pub grad_norms: Vec<f64>,
    /// Highest learning rate of every step.
    pub learning_rates: Vec<f64>,
    /// Examples read by all steps together.
    pub examples: usize,
    /// Their tokens, as the objective counts an example's length.
    pub tokens: usize,
    /// Positions that padding added to them.
    pub padding: usize,
    /// Every validation.
    pub evaluations: Vec<Evaluation>,
    /// The best of them.
    pub best: Option<Evaluation>,
    /// Why it ended.
    pub stop: StopReason,
    /// Values that train under the last plan.
    pub trainable_values: usize,
    /// Values of the model.
    pub all_values: usize,
    /// Paths of the parameters that the optimizer holds moments for.
    pub optimizer_parameters: Vec<String>,
    /// For each stage whether it was wholly frozen under the last plan, with all that it reads.
    pub plain: Vec<bool>,
    /// What was kept of what frozen stages made.
    pub cache: CacheReport,
    /// Observers that failed on the way, each with why.
    pub observer_failures: Vec<String>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// The most memory that the process held during the run, in bytes, as the system counts it: Linux's `VmHWM`, which the run
    /// sets back at its start. `None` where the system does not tell.
    #[serde(default)]
    pub peak_bytes: Option<usize>,
    /// What was foretold of it, where [`Fit::forecast`](super::Fit::forecast) asked.
    #[serde(default)]
    pub forecast_bytes: Option<usize>,
}

impl Report {
    /// Training examples for each second of the whole run, validations and checkpoints included.
    pub fn examples_per_second(&self) -> f64 {
        self.examples as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Training tokens for each second of the whole run, padding not counted.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// The share of positions that were padding, 0 to 1.
    pub fn padding_share(&self) -> f64 {
        self.padding as f64 / (self.tokens + self.padding).max(1) as f64
    }
}
