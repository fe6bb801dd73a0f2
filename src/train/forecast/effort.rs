use super::probe::{Measured, Seconds};
use crate::backbone::Backbone;
use crate::cache::{Cache, CacheDtype, CachePlan};
use crate::data::BatchOrder;
use crate::head::TaskHead;
use crate::objective::Objective;
use crate::params::{Kind, TrainPlan};
use crate::train::Fit;
use crate::train::calendar::Calendar;
use crate::train::fit::Run;
use serde::{Deserialize, Serialize};

/// The micro-batches of the first epoch, which are known before the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchForecast {
    /// How many there are.
    pub count: usize,
    /// Tokens of all examples.
    pub tokens: usize,
    /// The same with the padding that makes rows of a batch equally long.
    pub padded_tokens: usize,
    /// Padded tokens of the largest.
    pub largest: usize,
    /// Examples that are longer than [`Fit::max_tokens`](crate::train::Fit::max_tokens), each a batch of its own.
    #[serde(default)]
    pub over_budget: usize,
}

impl BatchForecast {
    /// The share of padding.
    pub fn padding_share(&self) -> f64 {
        1.0 - self.tokens as f64 / self.padded_tokens.max(1) as f64
    }
}

/// Floating-point operations of an epoch's matrix products; a multiplication and an addition count as two.
///
/// A weight of rank 2 or more takes part once for each padded token (in the head: for each unit of the loss's weight, a
/// row or a masked token), with two operations a value forward, two for the gradient of its input in stages that run
/// under autodiff, and two for its own gradient where it trains. To these come what
/// [`Backbone::mixing_operations`] counts, three times where a gradient flows (four times
/// with gradient checkpointing, which runs stages forward twice); what [`Backbone::operations_spared`] counts
/// goes off in proportion where the head reads pooled features alone. Documents that share a row mix by themselves. A projection tied to the embeddings is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperationForecast {
    /// Of an optimizer step, on average.
    pub step: f64,
    /// Of an epoch, without validation.
    pub epoch: f64,
    /// Of the one pass that fills the cache.
    pub cache: f64,
}

/// Seconds, as this machine needs them now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimeForecast {
    /// Of an optimizer step, on average.
    pub step: f64,
    /// Of an epoch, without validation.
    pub epoch: f64,
    /// Of one validation.
    pub validation: f64,
    /// Of the one pass that fills the cache.
    pub cache: f64,
    /// Of the run.
    pub run: f64,
}

/// Bytes that the cache will take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cached {
    train: usize,
    validation: usize,
}

impl Cached {
    pub(super) fn bytes(self) -> usize {
        self.train + self.validation
    }
}

/// Sizes of the batches of the first epoch: rows and the longest row of each.
pub(super) struct Batches {
    train: Vec<(usize, usize)>,
    validation: Vec<(usize, usize)>,
    tokens: usize,
    validation_tokens: usize,
    over_budget: usize,
    steps: usize,
}

impl Batches {
    pub(super) fn new(train: &[usize], validation: &[usize], config: &Fit) -> Self {
        let sizes = |lengths: &[usize], order: BatchOrder| {
            let longest = |batch: &[usize]| batch.iter().map(|index| lengths[*index]).max().unwrap_or(0);
            order.batches(lengths, 0).iter().map(|batch| (batch.len(), longest(batch))).collect::<Vec<_>>()
        };
        let train_sizes = sizes(train, config.order());
        Self {
            steps: train_sizes.len().div_ceil(config.accumulation),
            train: train_sizes,
            validation: sizes(validation, BatchOrder::by_length(config.limit())),
            tokens: train.iter().sum(),
            validation_tokens: validation.iter().sum(),
            over_budget: train.iter().filter(|length| config.max_tokens.is_some_and(|most| **length > most)).count(),
        }
    }

    /// Rows of the longest length that hold as many padded tokens as the largest batch may.
    pub(super) fn most_rows(&self, config: &Fit, examples: usize) -> f64 {
        let rows = config.batch_size.min(examples) as f64;
        let longest = self.train.iter().map(|(_, longest)| *longest).max().unwrap_or(0).max(1) as f64;
        config.max_tokens.map_or(rows, |most| rows.min((most as f64 / longest).max(1.0)))
    }

    pub(super) fn forecast(&self) -> BatchForecast {
        let cells = self.train.iter().map(|(rows, longest)| rows * longest);
        BatchForecast {
            count: self.train.len(),
            tokens: self.tokens,
            padded_tokens: cells.clone().sum(),
            largest: cells.max().unwrap_or(0),
            over_budget: self.over_budget,
        }
    }
}

fn cells(batches: &[(usize, usize)]) -> f64 {
    batches.iter().map(|(rows, longest)| rows * longest).sum::<usize>() as f64
}

impl Measured {
    /// What the cache of a run will hold, by the rules by which [`fit`](crate::train::fit) fills it.
    pub(super) fn cached(
        &self,
        batches: &Batches,
        calendar: &Calendar,
        config: &Fit,
        plan: &TrainPlan,
        repeats: bool,
    ) -> Cached {
        let count = |sizes: &[(usize, usize)]| sizes.iter().map(|(rows, _)| rows).sum::<usize>();
        let (examples, others) = (count(&batches.train), count(&batches.validation));
        let planned = CachePlan::of(&plan.plain, repeats, calendar.ends_within_an_epoch(0), &config.cache);
        if matches!(planned, CachePlan::Unused(_)) {
            return Cached::default();
        }
        let (budget, on_disk, share) = match config.cache {
            Cache::None => return Cached::default(),
            Cache::Memory { bytes, dtype } => (bytes, false, dtype),
            Cache::Folder { memory, dtype, .. } => (memory, true, dtype),
        };
        let share = if share == CacheDtype::Bf16 { 0.5 } else { 1.0 };
        // What does not fit is computed in every epoch, or read from the folder.
        let bytes = |rows: usize, tokens: usize, budget: usize| {
            let bytes = (self.state_bytes.of(rows, tokens) * share) as usize;
            match bytes > budget {
                true if on_disk => budget,
                true => 0,
                false => bytes,
            }
        };
        let train = bytes(examples, batches.tokens, budget);
        Cached { train, validation: bytes(others, batches.validation_tokens, budget - train) }
    }
}

pub(super) fn time(
    measured: &Measured,
    batches: &Batches,
    calendar: &Calendar,
    config: &Fit,
    cached: Cached,
) -> TimeForecast {
    let Seconds { prefix, rest, validation, update } = measured.seconds;
    let (train_cells, validation_cells) = (cells(&batches.train), cells(&batches.validation));
    let of = |cached: usize, rest: f64| if cached > 0 { rest } else { prefix + rest };
    let epoch = train_cells * of(cached.train, rest) + batches.steps as f64 * update;
    let validation_pass = validation_cells * of(cached.validation, validation);
    let filled = |bytes: usize, cells: f64| if bytes > 0 { cells * prefix } else { 0.0 };
    let cache = filled(cached.train, train_cells) + filled(cached.validation, validation_cells);
    let validations = validations(config, calendar);
    let step = epoch / batches.steps as f64;
    let run = cache + calendar.steps as f64 * step + validations as f64 * validation_pass;
    TimeForecast { step, epoch, validation: validation_pass, cache, run }
}

/// How often a run validates.
pub(super) fn validations(config: &Fit, calendar: &Calendar) -> usize {
    config.eval_every.map_or(calendar.epochs, |every| calendar.steps.div_ceil(every))
}

pub(super) fn operations<B, H, O>(
    run: &Run<'_, '_, B, H, O>,
    batches: &Batches,
    documents: &[usize],
    weight_a_cell: f64,
    cached: Cached,
) -> OperationForecast
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let (plan, entries) = (&run.plan, &run.inventory.entries);
    let values = |indices: &mut dyn Iterator<Item = usize>| {
        let products = indices.filter(|index| entries[*index].kind == Kind::Weight && entries[*index].shape.len() > 1);
        products.fold((0.0, 0.0), |(all, trains), index| {
            let size = entries[index].size() as f64;
            (all + size, trains + if plan.active[index] { size } else { 0.0 })
        })
    };
    let backbone = &run.model.backbone;
    let over_rows = |of_row: &dyn Fn(usize) -> f64| {
        batches.train.iter().map(|(rows, longest)| *rows as f64 * of_row(*longest)).sum::<f64>()
    };
    let mixing = |stage: usize| match documents.is_empty() {
        true => over_rows(&|seq| backbone.mixing_operations(stage, seq)),
        false => documents.iter().map(|length| backbone.mixing_operations(stage, *length)).sum(),
    };
    let spared = |stage: usize| match H::POOLED_ONLY {
        true => over_rows(&|seq| backbone.operations_spared(stage, seq)),
        false => 0.0,
    };
    let tokens = cells(&batches.train);
    let forwards = if run.config.gradient_checkpointing { 2.0 } else { 1.0 };
    let (mut frozen, mut trained) = (0.0, 0.0);
    for (stage, is_plain) in plan.plain.iter().enumerate() {
        let (all, trains) = values(&mut run.inventory.owned[stage].iter().copied());
        match is_plain {
            true => frozen += 2.0 * all * tokens + mixing(stage) - spared(stage),
            false => {
                trained += (2.0 * (forwards + 1.0) * all + 2.0 * trains) * tokens + (forwards + 2.0) * mixing(stage);
                trained -= (forwards + 1.0 + trains / all.max(1.0)) * spared(stage);
            }
        }
    }
    let (all, trains) = values(&mut (0..entries.len()).filter(|index| entries[*index].stage.is_none()));
    let below = if plan.plain.contains(&false) { 2.0 } else { 0.0 };
    trained += ((2.0 + below) * all + 2.0 * trains) * weight_a_cell * tokens;
    let (epoch, cache) = if cached.train > 0 { (trained, frozen) } else { (trained + frozen, 0.0) };
    OperationForecast { step: epoch / batches.steps.max(1) as f64, epoch, cache }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_batch_counts_in_rows_of_the_longest() {
        let lengths = [4, 20, 6, 50, 8, 10];
        let of = |batch_size, max_tokens| {
            let config = Fit { batch_size, max_tokens, ..Fit::default() };
            let batches = Batches::new(&lengths, &[], &config);
            (batches.most_rows(&config, lengths.len()), batches.forecast().over_budget)
        };
        assert_eq!(of(4, None), (4.0, 0));
        assert_eq!(of(32, None), (6.0, 0));
        assert_eq!(of(32, Some(75)), (1.5, 0));
        assert_eq!(of(1, Some(75)), (1.0, 0));
        // The row of 50 is a batch of its own, and larger than the budget.
        assert_eq!(of(32, Some(16)), (1.0, 2));
    }
}
