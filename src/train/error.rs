use super::{ObserverError, RunError};
use crate::metric::MetricError;
use crate::optim::ScheduleError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a run could not start or stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An option that means nothing.
    #[error("{option} is {value}; {mend}")]
    BadOption {
        /// The option of [`Fit`](super::Fit).
        option: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        mend: &'static str,
    },
    /// A schedule that cannot be meant.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The run's folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No examples.
    #[error("there are no {set} examples; give at least one")]
    NoData {
        /// `training` or `validation`.
        set: &'static str,
    },
    /// A loss is NaN or infinite.
    #[error(
        "the loss is {loss} in step {step} (epoch {epoch}), in the batch of examples {examples:?}; the weights of step {good} are kept. Lower the learning rate, clip the gradient norm, or look at these examples"
    )]
    LossNotFinite {
        /// Optimizer step, counted from 1.
        step: usize,
        /// Epoch, counted from 1.
        epoch: usize,
        /// The last step whose weights are kept.
        good: usize,
        /// The loss.
        loss: f64,
        /// Indices of the batch's examples in the training set.
        examples: Vec<usize>,
    },
    /// A gradient is NaN or infinite.
    #[error(
        "the gradient of `{parameter}` is not finite in step {step} (epoch {epoch}), in the batch of examples {examples:?}; the weights of step {good} are kept. Lower the learning rate, or look at these examples"
    )]
    GradientNotFinite {
        /// Optimizer step, counted from 1.
        step: usize,
        /// Epoch, counted from 1.
        epoch: usize,
        /// The last step whose weights are kept.
        good: usize,
        /// The parameter.
        parameter: String,
        /// Indices of the step's examples in the training set.
        examples: Vec<usize>,
    },
    /// An update made a parameter NaN or infinite.
    #[error(
        "step {step} (epoch {epoch}) would make `{parameter}` NaN or infinite, on the examples {examples:?}; the weights of step {good} are kept. Lower the learning rate"
    )]
    WeightNotFinite {
        /// Optimizer step, counted from 1.
        step: usize,
        /// Epoch, counted from 1.
        epoch: usize,
        /// The last step whose weights are kept.
        good: usize,
        /// The parameter.
        parameter: String,
        /// Indices of the step's examples in the training set.
        examples: Vec<usize>,
    },
    /// R-Drop for a head that cannot compare two passes.
    #[error("this head has no R-Drop; leave `regularisation.r_drop` out, or write `TaskHead::r_drop` for it")]
    NoRDrop,
    /// R-Drop without dropout: both passes would be the same.
    #[error(
        "R-Drop compares two passes whose dropout differs, but nothing drops out; give the head or the backbone that trains a dropout above 0, or leave `regularisation.r_drop` out"
    )]
    NothingDropsOut,
    /// Parameters that should train were not reached.
    #[error("these parameters train but had no gradient: {}; freeze them, or use them in the loss", paths.join(", "))]
    NoGradient {
        /// The parameters.
        paths: Vec<String>,
    },
    /// A stage that is not a function of its input, its weights and the random scope.
    #[error(
        "stage `{stage}` gave another result when it ran again for its backward pass; let what is random in it draw from `nn::RandomScope`, and batch statistics be `nn::BatchNorm`'s, or leave `gradient_checkpointing` out"
    )]
    NotRepeated {
        /// Its name.
        stage: String,
    },
    /// Every label of a step is ignored.
    #[error(
        "step {step} has nothing to learn from: every label of examples {examples:?} is ignored; look at the labels"
    )]
    NoWeight {
        /// Optimizer step, counted from 1.
        step: usize,
        /// Indices of the step's examples.
        examples: Vec<usize>,
    },
    /// The validation loss is NaN or infinite.
    #[error(
        "the validation loss after step {step} is not finite; lower the learning rate, or look at the validation examples"
    )]
    EvaluationNotFinite {
        /// Optimizer steps done.
        step: usize,
    },
    /// A figure to choose the best validation by that this head does not have.
    #[error("monitor asks for {monitor}, which this head does not give; use Monitor::Loss")]
    NoSuchFigure {
        /// The figure.
        monitor: &'static str,
    },
    /// Nothing says how much memory there is, or how much a run needs.
    #[error(
        "the memory of a run cannot be foretold here: that needs Linux and a device in the host's memory; choose the batch size yourself"
    )]
    MemoryUnknown,
    /// A run does not fit into memory, however small its micro-batches.
    #[error(
        "even micro-batches of {batch_size} rows would need {} of at most {}; set `gradient_checkpointing`, cut examples shorter, freeze more, cache less, or allow more",
        super::bytes(*peak), super::bytes(*budget)
    )]
    DoesNotFit {
        /// Rows of the smallest micro-batch that makes the step.
        batch_size: usize,
        /// The most that the process would hold, in bytes.
        peak: usize,
        /// The most that it may hold.
        budget: usize,
    },
    /// The figure to choose the best validation by has no value for these examples.
    #[error("cannot take {monitor} of the validation examples, which monitor asks for: {source}")]
    Figure {
        /// The figure.
        monitor: &'static str,
        /// Why not.
        source: MetricError,
    },
    /// The history could not be written.
    #[error("cannot write `{}`: {source}; check the path and the space left", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// An observer that must succeed failed.
    #[error("observer `{name}` failed: {source}; mend that, or let the run go on without it (`must_succeed`)")]
    Observer {
        /// Its name.
        name: String,
        /// Why.
        source: ObserverError,
    },
    /// An observer asked for a checkpoint of a run that has nowhere to put it.
    #[error("an observer asked to save, but the run has no folder; set `Fit::folder`")]
    NowhereToSave,
}
