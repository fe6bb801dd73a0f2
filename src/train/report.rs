use super::Monitor;
use crate::metric::Summary;
use serde::{Deserialize, Serialize};

/// A validation during a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Optimizer steps done.
    pub step: usize,
    /// Epochs begun.
    pub epoch: usize,
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Evaluation {
    /// The monitored figure, turned so that more is better; `None` where the head does not give it.
    pub(super) fn merit(&self, monitor: Monitor) -> Option<f64> {
        match monitor {
            Monitor::Loss => Some(-self.summary.loss),
            Monitor::Accuracy => self.summary.accuracy,
            Monitor::MacroF1 => self.summary.macro_f1,
        }
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
pub struct Report {
    /// Optimizer steps done.
    pub steps: usize,
    /// Mean loss of every step.
    pub losses: Vec<f64>,
    /// Gradient norm of every step, before clipping.
    pub grad_norms: Vec<f64>,
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
    /// Rows that frozen stages were computed for once and kept.
    pub cached_rows: usize,
    /// Memory of what was kept, in bytes.
    pub cached_bytes: usize,
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
