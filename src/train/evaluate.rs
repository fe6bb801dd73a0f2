use super::TrainError;
use super::cache::{Filled, Filler, States, run_plain};
use crate::backbone::{Backbone, run_stages};
use crate::cache::{Cache, CachePlan, CacheReport};
use crate::data::BatchOrder;
use crate::device::host;
use crate::error::Error;
use crate::head::TaskHead;
use crate::metric::Scores;
use crate::model::Model;
use crate::nn::ReuseScope;
use crate::objective::{Draws, Objective};
use crate::params::Inventory;
use burn::module::Module;
use burn::tensor::Device;

/// Measures a model on labelled examples, without dropout and without a graph. What the objective draws (masked tokens)
/// is a function of `seed`, so that two evaluations see the same.
///
/// # Errors
/// An example without a label, an input that the backbone cannot read, no examples.
pub fn evaluate<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    examples: &[O::Example],
    batch_size: usize,
    seed: u64,
) -> Result<Scores, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    evaluate_from(model, objective, examples, batch_size, seed, &[], None)
}

/// How [`evaluate_cached`] measures.
#[derive(Clone, Debug)]
pub struct Evaluate<'a> {
    /// Rows of a batch.
    pub batch_size: usize,
    /// As for [`evaluate`].
    pub seed: u64,
    /// Where the states after frozen stages are kept; only a folder helps, for a set is read once.
    pub cache: &'a Cache,
    /// For each stage whether it was wholly frozen: [`Report::plain`](super::Report::plain) of the run.
    pub plain: &'a [bool],
}

/// [`evaluate`] that finds what frozen stages make in a cache folder, or keeps it there for the next time.
///
/// # Errors
/// As [`evaluate`]; a cache folder that cannot be made; another number of stages than the backbone has.
pub fn evaluate_cached<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    examples: &[O::Example],
    how: &Evaluate<'_>,
) -> Result<(Scores, CacheReport), Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let Evaluate { batch_size, seed, cache, plain } = *how;
    let inventory = Inventory::of(model)?;
    if plain.len() != inventory.stages.len() {
        let value = format!("a list of {} stages", plain.len());
        let mend = "give one answer for each stage of the backbone, as Report::plain has";
        return Err(TrainError::BadOption { option: "plain", value, mend }.into());
    }
    if let CachePlan::Unused(reason) = CachePlan::of(plain, objective.repeats(), true, cache) {
        let scores = evaluate(model, objective, examples, batch_size, seed)?;
        return Ok((scores, CacheReport { unused: Some(reason), ..CacheReport::default() }));
    }
    let mut filler = Filler::new(model, &inventory, plain, objective, batch_size, cache)?;
    let states = match filler.fill(examples, &mut |_| Ok(()))? {
        Filled::Kept(states) => Some(states),
        _ => None,
    };
    let scores = evaluate_from(model, objective, examples, batch_size, seed, plain, states.as_ref())?;
    let mut report = std::mem::take(&mut filler.store.report);
    report.damaged += states.map_or(0, States::unread);
    Ok((scores, report))
}

/// [`evaluate`] that takes the states after the plain stages from a cache, where there is one.
pub(super) fn evaluate_from<B, H, O>(
    model: &Model<B, H>,
    objective: &O,
    examples: &[O::Example],
    batch_size: usize,
    seed: u64,
    plain: &[bool],
    cache: Option<&States<B::State>>,
) -> Result<Scores, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    if examples.is_empty() {
        return Err(TrainError::NoData { set: "evaluation" }.into());
    }
    let _reuse = ReuseScope::new();
    let model = model.valid();
    let device = plain_device(&model);
    let mut scores = Scores::default();
    let all = vec![true; model.backbone.stages().len()];
    let batches = in_length_order(objective, examples, batch_size);
    for indices in &batches {
        let chosen: Vec<_> = indices.iter().map(|index| &examples[*index]).collect();
        let batch = objective.batch(&chosen, &Draws::new(seed, EVALUATION, indices), &device)?;
        model.head.check(&batch.targets)?;
        let state = match cache.and_then(|cache| cache.get(indices)) {
            Some(state) => {
                let rest = (1..plain.len()).filter(|stage| !plain[*stage]);
                run_stages(&model.backbone, rest, H::POOLED_ONLY, state)
            }
            None => {
                model.backbone.check(&batch.input)?;
                run_plain(&model.backbone, &all, H::POOLED_ONLY, batch.input)
            }
        };
        model.head.score(model.backbone.finish(state), batch.targets, &mut scores);
    }
    scores.sort_by(&batches.concat());
    Ok(scores)
}

/// The epoch that evaluation draws from: no training epoch reaches it.
const EVALUATION: u64 = u64::MAX;

/// Batches of rows of similar length, in an order that depends on the data alone.
pub(super) fn in_length_order<O: Objective>(
    objective: &O,
    examples: &[O::Example],
    batch_size: usize,
) -> Vec<Vec<usize>> {
    let lengths: Vec<usize> = examples.iter().map(|example| objective.length(example)).collect();
    BatchOrder { batch_size: batch_size.max(1), seed: 0, shuffle: false, bucket: true }.batches(&lengths, 0)
}

/// The device of a model's parameters, without autodiff; the host's for a model without any.
pub(crate) fn plain_device<M: Module>(model: &M) -> Device {
    model.devices().into_iter().next().unwrap_or_else(host).inner()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_parameters_is_on_flex_whatever_else_is_built() {
        let nothing: Option<burn::nn::Linear> = None;
        assert_eq!(plain_device(&nothing), Device::flex());
    }
}
