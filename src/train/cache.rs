//! What wholly frozen stages make of each example, computed once and kept in memory.

use super::evaluate::{in_length_order, plain_device};
use super::fit::Run;
use super::{Event, Fit};
use crate::backbone::Backbone;
use crate::error::Error;
use crate::head::TaskHead;
use crate::objective::{Draws, Objective};
use crate::rows::{Record, RowsExt};

/// The states of one data set after the plain stages, one record an example.
#[derive(Debug)]
pub(super) struct Cache<S> {
    records: Vec<Record>,
    template: S,
}

impl<S: RowsExt> Cache<S> {
    /// The states of these examples, on the plain device.
    pub(super) fn get(&self, indices: &[usize]) -> Option<S> {
        let records: Option<Vec<&Record>> = indices.iter().map(|index| self.records.get(*index)).collect();
        S::decode(&self.template, &records?)
    }

    pub(super) fn rows(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(Record::bytes).sum()
    }
}

/// Runs the plain stages in order. `plain` begins with true.
pub(super) fn run_plain<B: Backbone>(backbone: &B, plain: &[bool], input: B::Input) -> B::State {
    let stages = (1..plain.len()).filter(|stage| plain[*stage]);
    stages.fold(backbone.embed(input), |state, stage| backbone.stage(stage, state))
}

/// Computes the states of all examples in one pass in length order, so that their bits do not depend on the step at
/// which a run begins. `None` where they would need more than `budget` bytes.
pub(super) fn fill<B, O>(
    backbone: &B,
    plain: &[bool],
    objective: &O,
    examples: &[O::Example],
    batch_size: usize,
    budget: usize,
    mut progress: impl FnMut(usize) -> Result<(), Error>,
) -> Result<Option<Cache<B::State>>, Error>
where
    B: Backbone,
    O: Objective<Input = B::Input>,
{
    let backbone = backbone.valid();
    let device = plain_device(&backbone);
    let tokens: usize = examples.iter().map(|example| objective.length(example)).sum();
    let mut records = vec![Record::default(); examples.len()];
    let mut template = None;
    let mut done = 0;
    for indices in in_length_order(objective, examples, batch_size) {
        let chosen: Vec<_> = indices.iter().map(|index| &examples[*index]).collect();
        let batch = objective.batch(&chosen, &Draws::new(0, 0, &indices), &device)?;
        backbone.check(&batch.input)?;
        let state = run_plain(&backbone, plain, batch.input);
        let encoded = state.encode();
        if template.is_none() {
            let batch_tokens: usize = chosen.iter().map(|example| objective.length(example)).sum();
            let bytes: usize = encoded.iter().map(Record::bytes).sum();
            if (bytes / batch_tokens.max(1)).saturating_mul(tokens) > budget {
                return Ok(None);
            }
            template = Some(state);
        }
        done += indices.len();
        indices.into_iter().zip(encoded).for_each(|(index, record)| records[index] = record);
        progress(done)?;
    }
    Ok(template.map(|template| Cache { records, template }))
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Computes what plain stages make of all examples, where it is the same in every epoch and read more than once.
    pub(super) fn fill_caches(&mut self) -> Result<(), Error> {
        (self.train_cache, self.validation_cache) = (None, None);
        let Fit { batch_size, accumulation, cache_bytes, .. } = *self.config;
        let read_again = (self.steps - self.report.steps) * accumulation * batch_size > self.data.train.len();
        if self.plan.plain.first() != Some(&true) || !self.objective.repeats() || !read_again || cache_bytes == 0 {
            return Ok(());
        }
        let plain = self.plan.plain.clone();
        let all = self.data.train.len() + self.data.validation.len();
        let backbone = self.model.backbone.clone();
        let mut kept = 0;
        let mut fill_one = |run: &mut Self, examples, budget| {
            let objective = run.objective;
            let cache = fill(&backbone, &plain, objective, examples, batch_size, budget, |done| {
                run.tell(&Event::Caching { done: kept + done, all })
            })?;
            kept += cache.as_ref().map_or(0, Cache::rows);
            Ok::<_, Error>(cache)
        };
        self.train_cache = fill_one(self, self.data.train, cache_bytes)?;
        let left = cache_bytes.saturating_sub(self.train_cache.as_ref().map_or(0, Cache::bytes));
        self.validation_cache = fill_one(self, self.data.validation, left)?;
        let caches = [&self.train_cache, &self.validation_cache];
        self.report.cached_rows = caches.iter().map(|cache| cache.as_ref().map_or(0, Cache::rows)).sum();
        self.report.cached_bytes = caches.iter().map(|cache| cache.as_ref().map_or(0, Cache::bytes)).sum();
        Ok(())
    }
}
