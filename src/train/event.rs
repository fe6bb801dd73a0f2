use super::{Evaluation, Fit, Forecast, ObserverError, Report, RunError};
use crate::cache::{CacheError, CachePlan, CacheReport};
use crate::error::Error;
use crate::params::{PlanChange, TrainPlan};
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
        /// How it trains.
        config: &'a Fit,
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
    /// The run goes on from a checkpoint; comes before [`Event::Start`].
    Resumed {
        /// Optimizer steps done before.
        step: usize,
        /// What the run did before, as in the checkpoint.
        report: &'a Report,
    },
    /// A damaged checkpoint is passed over for the one before it.
    Skipped {
        /// What is wrong with it.
        error: &'a RunError,
    },
    /// A plan is in force: the first one, the one that a run goes on with, or a changed one.
    Plan {
        /// What trains.
        plan: &'a TrainPlan,
        /// What is different from the plan before; nothing for the first one.
        change: &'a PlanChange,
        /// Epochs finished.
        epoch: usize,
        /// Optimizer steps finished.
        step: usize,
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
    /// A file or a checkpoint is written; a checkpoint is, some steps after the one that it saves.
    Saved {
        /// The file, or the checkpoint's folder.
        path: &'a Path,
    },
    /// An observer failed; it hears of nothing more, and the run goes on.
    ObserverFailed {
        /// Its name.
        name: &'a str,
        /// Why.
        error: &'a ObserverError,
    },
    /// The run has ended without error.
    End {
        /// What it did.
        report: &'a Report,
    },
    /// The run ends with an error.
    Failed {
        /// What `fit` is about to return.
        error: &'a Error,
    },
}

/// An optimizer step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StepInfo {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps planned.
    pub steps: usize,
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Mean loss of the step, with the terms of [`Fit::regularisation`](super::Fit::regularisation).
    pub loss: f64,
    /// The factor of the schedule, 0 to 1, on every learning rate.
    pub schedule: f64,
    /// The highest learning rate of the step, the schedule's factor included.
    pub lr: f64,
    /// The lowest one; below `lr` where layers or groups have their own.
    pub lowest_lr: f64,
    /// L2 norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Examples of the step.
    pub examples: usize,
    /// Their tokens, as the objective counts an example's length.
    pub tokens: usize,
    /// Positions that padding adds where each micro-batch is padded to its longest example.
    pub padding: usize,
    /// Where the time went.
    pub seconds: StepSeconds,
}

/// Wall time of an optimizer step in seconds. On a device that computes later than it is asked to, a phase includes what
/// it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StepSeconds {
    /// The whole step.
    pub total: f64,
    /// Making the batches, or waiting for them where they are made ahead.
    pub data: f64,
    /// From batches to losses.
    pub forward: f64,
    /// From losses to summed gradients.
    pub backward: f64,
    /// Clipping and updating.
    pub optimizer: f64,
}
