use super::{Evaluation, Forecast, Report, RunError};
use crate::params::TrainPlan;
use std::fmt::Debug;
use std::path::Path;

/// What happens in a run, in the order in which it happens.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run starts.
    Start {
        /// Optimizer steps planned.
        steps: usize,
        /// Epochs planned.
        epochs: usize,
        /// Training examples.
        examples: usize,
    },
    /// What the run will take, where the configuration asks for it; before [`Event::Start`].
    Forecast(&'a Forecast),
    /// The checkpoint that the run goes on from was saved by another version of this crate. It is read the same way, but the
    /// last bits of what follows may not be those of a run by one version.
    OtherVersion {
        /// The version that saved it.
        there: &'a str,
        /// This one.
        here: &'a str,
    },
    /// The run goes on from a checkpoint.
    Resumed {
        /// Optimizer steps done before.
        step: usize,
    },
    /// A damaged checkpoint is passed over for the one before it.
    Skipped {
        /// What is wrong with it.
        error: &'a RunError,
    },
    /// A plan is in force, the first one or a changed one.
    Plan {
        /// What trains.
        plan: &'a TrainPlan,
        /// Epochs finished.
        epoch: usize,
    },
    /// What frozen stages make of the examples is being kept.
    Caching {
        /// Examples done.
        done: usize,
        /// Examples in all.
        all: usize,
    },
    /// An optimizer step is done.
    Step(&'a StepInfo),
    /// A validation is done.
    Evaluated(&'a Evaluation),
    /// A file or a checkpoint is written.
    Saved {
        /// The file, or the checkpoint's folder.
        path: &'a Path,
    },
    /// The run has ended without error.
    End {
        /// What it did.
        report: &'a Report,
    },
}

/// An optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepInfo {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps planned.
    pub steps: usize,
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Mean loss of the step.
    pub loss: f64,
    /// The factor of the schedule, 0 to 1, on every learning rate.
    pub schedule: f64,
    /// L2 norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Examples of the step.
    pub examples: usize,
}

/// What an observer wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    #[default]
    Continue,
    /// End the run after this step; not an error.
    Stop,
}

/// Sees every event of a run.
pub trait Observer {
    /// Called on the training thread; what it does delays the run.
    fn on(&mut self, event: &Event<'_>) -> Control;
}
