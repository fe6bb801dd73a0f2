use super::{Evaluation, Report, RunError};
use crate::cache::{CacheError, CachePlan, CacheReport};
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
    /// Whether what frozen stages make is kept under the plan that is in force, and if not, why.
    Cache(&'a CachePlan),
    /// What frozen stages make of the examples is being found or computed.
    Caching {
        /// Examples done.
        done: usize,
        /// Examples in all.
        all: usize,
    },
    /// What frozen stages make of all examples is kept.
    Cached(&'a CacheReport),
    /// States can no longer be written to the cache's folder; the run goes on without that.
    CacheBroken {
        /// What is wrong.
        error: &'a CacheError,
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
