use super::bytes;
use super::forecast::{Parts, shape};
use super::process::{available, resident};
use super::{Data, Fit, TrainError};
use crate::backbone::Backbone;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::Objective;
use crate::params::FreezePolicy;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The share of the memory that is free now which a run may use, where no budget is given.
const SHARE: f64 = 0.8;

/// The largest micro-batch that fits a budget, and how many of them make the step that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchChoice {
    /// Rows of a micro-batch, for [`Fit::batch_size`].
    pub batch_size: usize,
    /// Micro-batches of a step, for [`Fit::accumulation`].
    pub accumulation: usize,
    /// Rows of a micro-batch that were wanted.
    pub wanted: usize,
    /// The most that the process is expected to hold, in bytes.
    pub peak: usize,
    /// The most that it may hold, in bytes.
    pub budget: usize,
}

impl fmt::Display for BatchChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch_size, accumulation, wanted, peak, budget } = *self;
        let fits = format!("{} of at most {}", bytes(peak), bytes(budget));
        match batch_size == wanted {
            true => write!(f, "micro-batches of {batch_size} rows fit ({fits})"),
            false => write!(
                f,
                "micro-batches of {batch_size} instead of {wanted} rows, {accumulation} to a step of {}, fit ({fits})",
                batch_size * accumulation
            ),
        }
    }
}

/// Chooses the largest micro-batch, at most [`Fit::batch_size`], with which the process stays below `budget` bytes; a step keeps
/// its rows, so micro-batches are divisors of `batch_size * accumulation`. Memory is that of
/// [`forecast`](super::forecast), for a micro-batch whose rows are all as long as the longest example. Without a budget it
/// is what the process holds and 80 % of what the system calls available.
///
/// # Errors
/// What [`forecast`](super::forecast) returns; [`TrainError::BadOption`] with [`Fit::max_tokens`], which chooses rows
/// itself; [`TrainError::MemoryUnknown`] where memory cannot be measured or nothing says how much
/// there is, [`TrainError::DoesNotFit`] where not even one row fits, or where the head's loss couples the rows of a batch.
pub fn batch_size_for<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    data: Data<'_, O::Example>,
    policy: &dyn FreezePolicy,
    config: &Fit,
    budget: Option<usize>,
) -> Result<BatchChoice, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    if let Some(max_tokens) = config.max_tokens {
        let mend = "rows are chosen by it already; leave it out, or lower it until the forecast fits";
        return Err(TrainError::BadOption { option: "max_tokens", value: max_tokens.to_string(), mend }.into());
    }
    let free = || Some(resident()? + (SHARE * available()? as f64) as usize);
    let budget = budget.or_else(free).ok_or(TrainError::MemoryUnknown)?;
    let parts = shape(model, objective, data, policy, config)?.parts;
    let rows = config.batch_size.saturating_mul(config.accumulation);
    let divisors = (1..=config.batch_size).rev().filter(|size| rows.is_multiple_of(*size));
    let allowed = divisors.filter(|size| !H::COUPLED || *size == config.batch_size);
    choose(&parts, allowed, rows, data.train.len(), config.batch_size, budget).map_err(Error::from)
}

/// The first of `sizes`, which fall, whose run stays below the budget.
fn choose(
    parts: &Parts,
    sizes: impl Iterator<Item = usize>,
    rows: usize,
    examples: usize,
    wanted: usize,
    budget: usize,
) -> Result<BatchChoice, TrainError> {
    let mut least = None;
    for batch_size in sizes {
        let accumulation = rows / batch_size;
        let peak = parts.memory(batch_size.min(examples) as f64, accumulation).peak.ok_or(TrainError::MemoryUnknown)?;
        if peak <= budget {
            return Ok(BatchChoice { batch_size, accumulation, wanted, peak, budget });
        }
        least = Some((batch_size, peak));
    }
    let (batch_size, peak) = least.ok_or(TrainError::MemoryUnknown)?;
    Err(TrainError::DoesNotFit { batch_size, peak, budget })
}
