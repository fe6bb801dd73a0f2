//! [`forecast`]: what a run will take and what is odd about its data, said before the first step.

mod data;
mod display;
mod effort;
mod memory;
mod probe;

pub use data::{ClassBalance, Copies, DataForecast, SetForecast, copies_between};
pub use effort::{BatchForecast, OperationForecast, TimeForecast};
pub use memory::MemoryForecast;

use super::config::Extent;
use super::trial::Trial;
use super::{Data, Fit, TrainError};
use crate::backbone::Backbone;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::Objective;
use crate::params::{FreezePolicy, Inventory, Progress, TrainPlan};
pub(super) use display::bytes;
use effort::{Batches, Cached};
pub(super) use memory::Parts;
use probe::{Measured, Probe};
use serde::{Deserialize, Serialize};

/// What a run will take. Figures are those of the plan that trains most, as that of the last epochs of a gradual thaw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Optimizer steps planned.
    pub steps: usize,
    /// Epochs begun.
    pub epochs: usize,
    /// Rows of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of an optimizer step.
    pub accumulation: usize,
    /// The epoch, counted from 1, from which most is trained.
    pub widest_epoch: usize,
    /// Values that train then.
    pub trainable_values: usize,
    /// Values of the model.
    pub all_values: usize,
    /// The batches of the first epoch.
    pub batches: BatchForecast,
    /// Bytes, by part.
    pub memory: MemoryForecast,
    /// Floating-point operations of the matrix products.
    pub operations: OperationForecast,
    /// Seconds, by a few steps on a copy.
    pub time: TimeForecast,
    /// What the examples are like.
    pub data: DataForecast,
}

/// Looks ahead: memory, time and operations of a run, and what is odd about its data. Runs a few small steps on a copy, so
/// `model` keeps its bits, and no random stream but the copy's own is drawn from.
///
/// Memory is measured where the model is in the host's memory and the system is Linux: what a micro-batch keeps for its
/// backward pass is linear in its rows at a given length, so two small micro-batches of the longest examples tell the
/// rest. Elsewhere the parts that follow from the plan alone are given.
///
/// # Errors
/// What would stop [`fit`](super::fit) before or in its first step: an option that means nothing, no examples, no plan, an example
/// that the backbone cannot read, a loss that is NaN.
pub fn forecast<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    data: Data<'_, O::Example>,
    policy: &dyn FreezePolicy,
    config: &Fit,
) -> Result<Forecast, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let mut prepared = prepare(model, objective, data, policy, config)?;
    let Shape { parts, measured, batches, cached } = shape(&mut prepared, data)?;
    let Prepared { probe, widest_epoch, extent } = prepared;
    let plan = &probe.trial.plan;
    Ok(Forecast {
        steps: extent.steps,
        epochs: extent.epochs,
        batch_size: config.batch_size,
        accumulation: config.accumulation,
        widest_epoch,
        trainable_values: plan.trainable_values(),
        all_values: plan.all_values(),
        batches: batches.forecast(),
        memory: parts.memory(config.batch_size.min(data.train.len()), config.accumulation),
        operations: effort::operations(&probe.trial, &batches, measured.weight_a_cell, cached),
        time: effort::time(&measured, &batches, &extent, config, cached),
        data: DataForecast::of(objective, data.train, data.validation, model.backbone.positions()),
    })
}

/// What the probing of a run starts from.
pub(super) struct Prepared<'a, B: Backbone, H, O: Objective> {
    pub(super) probe: Probe<'a, B, H, O>,
    pub(super) widest_epoch: usize,
    pub(super) extent: Extent,
}

/// What the figures of a run of any batch size follow from.
pub(super) struct Shape {
    pub(super) parts: Parts,
    measured: Measured,
    batches: Batches,
    cached: Cached,
}

/// Measures.
pub(super) fn shape<B, H, O>(prepared: &mut Prepared<'_, B, H, O>, data: Data<'_, O::Example>) -> Result<Shape, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let measured = prepared.probe.measure()?;
    let Trial { inventory, plan, objective, config, .. } = &prepared.probe.trial;
    let lengths = |examples: &[O::Example]| examples.iter().map(|e| objective.length(e)).collect::<Vec<_>>();
    let batches = Batches::new(&lengths(data.train), &lengths(data.validation), config);
    let cached = measured.cached(&batches, &prepared.extent, config, plan, objective.repeats());
    let keeps_best = !data.validation.is_empty() && effort::validations(config, &prepared.extent) > 1;
    let parts = Parts::new(plan, inventory, config, &measured, cached, keeps_best);
    Ok(Shape { parts, measured, batches, cached })
}

/// Decides what is to be measured.
pub(super) fn prepare<'a, B, H, O>(
    model: &Model<B, H>,
    objective: &'a O,
    data: Data<'a, O::Example>,
    policy: &dyn FreezePolicy,
    config: &'a Fit,
) -> Result<Prepared<'a, B, H, O>, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    config.check(H::COUPLED)?;
    if data.train.is_empty() {
        return Err(TrainError::NoData { set: "training" }.into());
    }
    let extent = config.extent(data.train.len());
    let inventory = Inventory::of(model)?;
    let (widest_epoch, plan) = widest_plan(&inventory, policy, config, extent)?;
    let trial = Trial::new(model, objective, data.train, inventory, plan, config);
    let probe = Probe::new(trial, data.validation);
    Ok(Prepared { probe, widest_epoch, extent })
}

/// A policy is asked about so many epochs at most.
const ASKED: usize = 1000;

/// Of the plans of all epochs, the first of those that train most, and its epoch, counted from 1.
fn widest_plan(
    inventory: &Inventory,
    policy: &dyn FreezePolicy,
    config: &Fit,
    extent: Extent,
) -> Result<(usize, TrainPlan), Error> {
    let plan = |epoch: usize| {
        let at = Progress { epoch, step: epoch * extent.steps_an_epoch };
        TrainPlan::new(inventory, policy, &config.rates, at)
    };
    let mut widest = (1, plan(0)?);
    for epoch in 1..extent.epochs.min(ASKED) {
        let next = plan(epoch)?;
        if next.trainable_values() > widest.1.trainable_values() {
            widest = (epoch + 1, next);
        }
    }
    Ok(widest)
}
