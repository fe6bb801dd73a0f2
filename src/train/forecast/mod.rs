//! [`forecast`]: what a run will take and what is odd about its data, said before the first step.

mod data;
mod display;
mod effort;
mod memory;
mod probe;

pub use data::{ClassBalance, Copies, DataForecast, SetForecast, copies_between};
pub use effort::{BatchForecast, OperationForecast, TimeForecast};
pub use memory::MemoryForecast;

use super::calendar::Calendar;
use super::fit::{Run, begin};
use super::process::PeakMemory;
use super::{Data, Event, Fit};
use crate::backbone::Backbone;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::Objective;
use crate::params::{FreezePolicy, TrainPlan};
use burn::module::Module;
pub(super) use display::bytes;
use effort::{Batches, Cached};
pub(super) use memory::Parts;
use probe::{Measured, Probe};
use serde::{Deserialize, Serialize};

/// What a run will take. Figures are those of the plan that trains most, as that of the last epochs of a gradual thaw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forecast {
    /// Optimizer steps planned.
    pub steps: usize,
    /// Epochs begun.
    pub epochs: usize,
    /// Rows of a micro-batch, at most.
    pub batch_size: usize,
    /// Padded tokens of a micro-batch, at most, where [`Fit::max_tokens`] says so.
    #[serde(default)]
    pub max_tokens: Option<usize>,
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
    let Shape { parts, measured, batches, cached, operations, widest_epoch, calendar, plan } =
        shape(model, objective, data, policy, config)?;
    Ok(Forecast {
        steps: calendar.steps,
        epochs: calendar.epochs,
        batch_size: config.batch_size,
        max_tokens: config.max_tokens,
        accumulation: config.accumulation,
        widest_epoch,
        trainable_values: plan.trainable_values(),
        all_values: plan.all_values(),
        batches: batches.forecast(),
        memory: parts.memory(batches.most_rows(config, data.train.len()), config.accumulation),
        operations,
        time: effort::time(&measured, &batches, &calendar, config, cached),
        data: DataForecast::of(objective, data.train, data.validation, model.backbone.positions()),
    })
}

/// What the figures of a run, also of other batch sizes, follow from.
pub(super) struct Shape {
    pub(super) parts: Parts,
    measured: Measured,
    batches: Batches,
    cached: Cached,
    operations: OperationForecast,
    /// The epoch, counted from 1, from which most is trained, and the plan of it.
    widest_epoch: usize,
    plan: TrainPlan,
    calendar: Calendar,
}

/// Measures on a copy of the model.
pub(super) fn shape<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    data: Data<'_, O::Example>,
    policy: &dyn FreezePolicy,
    config: &Fit,
) -> Result<Shape, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    // `valid` copies running statistics, which a clone would share with the caller's model.
    let (mut copy, trial) = (model.valid(), config.on_trial());
    let mut run = begin(&mut copy, objective, data, policy, &trial, &mut [])?;
    let widest_epoch = plan_widest(&mut run)?;
    let measured = Probe(&mut run).measure()?;
    let validation: Vec<usize> = data.validation.iter().map(|example| objective.length(example)).collect();
    let (batches, calendar) = (Batches::new(&run.lengths, &validation, config), run.calendar.clone());
    let cached = measured.cached(&batches, &calendar, config, &run.plan, objective.repeats());
    let keeps_best = !data.validation.is_empty() && effort::validations(config, &calendar) > 1;
    let parts = Parts::new(&run.plan, &run.inventory, config, &measured, cached, keeps_best);
    let documents: Vec<usize> = data.train.iter().flat_map(|example| objective.documents(example)).collect();
    let operations = effort::operations(&run, &batches, &documents, measured.weight_a_cell, cached);
    let plan = run.plan.clone();
    Ok(Shape { parts, measured, batches, cached, operations, widest_epoch, plan, calendar })
}

/// A policy is asked about so many epochs at most.
const ASKED: usize = 1000;

/// Puts in force the first of those plans that train most, and gives its epoch, counted from 1. Asked are the first
/// steps of the epochs and the last step of all: what thaws on a plateau or a signal is not foreseen.
fn plan_widest<B, H, O>(run: &mut Run<'_, '_, B, H, O>) -> Result<usize, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let calendar = run.calendar.clone();
    let begins = (0..calendar.epochs.min(ASKED)).map(|epoch| (epoch, calendar.before(epoch)));
    let last = (calendar.epochs.saturating_sub(1), calendar.steps.saturating_sub(1));
    let mut widest: Option<(usize, TrainPlan)> = None;
    for (epoch, step) in begins.chain([last]) {
        let plan = run.plan_at(epoch, step)?;
        if widest.as_ref().is_none_or(|(_, widest)| plan.trainable_values() > widest.trainable_values()) {
            widest = Some((epoch, plan));
        }
    }
    let (epoch, plan) = widest.unwrap_or((0, run.plan.clone()));
    run.begin_with(plan)?;
    Ok(epoch + 1)
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Looks ahead, where the configuration says so, and tells.
    pub(super) fn foretell(&mut self) -> Result<(), Error> {
        if !self.config.forecast {
            return Ok(());
        }
        let forecast = forecast(self.model, self.objective, self.data, self.policy, self.config)?;
        self.memory = PeakMemory::start();
        self.report.forecast_bytes = forecast.memory.peak;
        self.tell(&Event::Forecast(&forecast))
    }
}
