//! What wholly frozen stages make of each example, computed once and kept.

use super::Event;
use super::evaluate::{in_length_order, plain_device};
use super::fit::Run;
use super::prefetch::make;
use crate::backbone::{Backbone, run_stages};
use crate::cache::{Cache, CachePlan, CacheReport, Key, NoCache, Slot, Store, prefix_key, row_key};
use crate::data::BatchLimit;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::{Draws, Objective};
use crate::params::Inventory;
use crate::rows::{Record, RowsExt};
use burn::tensor::Device;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

/// The states of one data set after the plain stages.
#[derive(Debug)]
pub(super) struct States<S> {
    /// The slot of each example: equal inputs share one.
    slot_of: Vec<usize>,
    slots: Vec<Slot>,
    /// Says which tensors a state has.
    template: S,
    /// Slots whose record was not as written when it was asked for.
    unread: Mutex<BTreeSet<usize>>,
}

impl<S: RowsExt> States<S> {
    /// The states of these examples, on the plain device; `None` where one of them must be computed.
    pub(super) fn get(&self, indices: &[usize]) -> Option<S> {
        let wanted: Option<Vec<usize>> = indices.iter().map(|index| self.slot_of.get(*index).copied()).collect();
        let (wanted, slots) = (wanted?, &self.slots);
        let read: Vec<Option<Cow<'_, Record>>> = match wanted.iter().any(|slot| slots[*slot].is_disk()) {
            true => wanted.par_iter().map(|slot| slots[*slot].record()).collect(),
            false => wanted.iter().map(|slot| slots[*slot].record()).collect(),
        };
        let gone = wanted.iter().zip(&read).filter(|(slot, record)| record.is_none() && slots[**slot].is_kept());
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).extend(gone.map(|(slot, _)| *slot));
        let records: Option<Vec<&Record>> = read.iter().map(|record| record.as_deref()).collect();
        S::decode(&self.template, &records?)
    }

    /// How many records were not as written when they were asked for.
    pub(super) fn unread(self) -> usize {
        self.unread.into_inner().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Runs the plain stages in order, as far as the head reads them. `plain` begins with true.
pub(super) fn run_plain<B: Backbone>(backbone: &B, plain: &[bool], pooled_only: bool, input: B::Input) -> B::State {
    let stages = (1..plain.len()).filter(|stage| plain[*stage]);
    run_stages(backbone, stages, pooled_only, backbone.embed(input))
}

/// Finds or computes the states of data sets.
pub(super) struct Filler<'a, B, O> {
    backbone: B,
    plain: Vec<bool>,
    pooled_only: bool,
    objective: &'a O,
    limit: BatchLimit,
    device: Device,
    pub(super) store: Store,
}

/// What came of it.
pub(super) enum Filled<S> {
    Kept(States<S>),
    /// Memory is too small for so many bytes.
    TooLarge(u64),
    /// There are no examples.
    Empty,
}

impl<'a, B, O> Filler<'a, B, O>
where
    B: Backbone,
    O: Objective<Input = B::Input>,
{
    pub(super) fn new<H: TaskHead<B::Features>>(
        model: &Model<B, H>,
        inventory: &Inventory,
        plain: &[bool],
        objective: &'a O,
        limit: BatchLimit,
        cache: &Cache,
    ) -> Result<Self, Error> {
        let about = format!(
            "{} of {}, {:?}",
            names(inventory, plain),
            std::any::type_name::<B>().rsplit("::").next().unwrap_or_default(),
            cache.dtype()
        );
        let key = || prefix_key(model, inventory, plain, H::POOLED_ONLY, cache.dtype());
        let store = Store::open(cache, key, &about)?;
        let backbone = model.backbone.valid();
        let device = plain_device(&backbone);
        Ok(Self { backbone, plain: plain.to_vec(), pooled_only: H::POOLED_ONLY, objective, limit, device, store })
    }

    /// Finds states, and computes the others in one pass in length order, so that their bits do not depend on the step at
    /// which a run begins. `progress` hears how many examples are done.
    pub(super) fn fill(
        &mut self,
        examples: &[O::Example],
        progress: &mut dyn FnMut(usize) -> Result<(), Error>,
    ) -> Result<Filled<B::State>, Error> {
        let order = in_length_order(self.objective, examples, self.limit);
        let keys = if self.store.has_folder() { Some(self.keys(examples, &order)?) } else { None };
        let (slot_of, firsts) = distinct(keys.as_deref(), &order.concat());
        let key = |slot: usize| keys.as_ref().map(|keys| keys[firsts[slot]]);
        let keys_in_order: Vec<_> = (0..firsts.len()).map(key).collect();
        let mut template = self.check_found(examples, &firsts, &keys_in_order)?;
        let mut slots: Vec<Option<Slot>> =
            keys_in_order.iter().map(|key| key.as_ref().and_then(|key| self.store.find(key))).collect();

        let missing: Vec<usize> = (0..slots.len()).filter(|slot| slots[*slot].is_none()).collect();
        self.store.report.misses += missing.len();
        self.store.report.hits += examples.len() - missing.len();
        let mut done = examples.len() - missing.len();
        let (objective, limit) = (self.objective, self.limit);
        for batch in limit.cut(&missing, |slot| objective.length(&examples[firsts[*slot]])) {
            let indices: Vec<usize> = batch.iter().map(|slot| firsts[*slot]).collect();
            let state = self.run(examples, &indices)?;
            let records = state.encode();
            let needed = if template.is_none() { self.needed(examples, &indices, &records) } else { 0 };
            if !self.store.has_folder() && needed > self.store.memory_left() as u64 {
                self.store.report.misses -= missing.len();
                return Ok(Filled::TooLarge(needed));
            }
            template.get_or_insert(state);
            for (slot, record) in batch.iter().zip(records) {
                slots[*slot] = Some(self.store.put(keys_in_order[*slot], record));
            }
            done += batch.len();
            progress(done)?;
        }
        self.store.finish();
        if missing.is_empty() && done > 0 {
            progress(done)?;
        }
        let Some(template) = template else { return Ok(Filled::Empty) };
        let slots: Vec<Slot> = slots.into_iter().map(|slot| slot.unwrap_or(Slot::Nowhere)).collect();
        self.store.report.rows += slot_of.iter().filter(|slot| slots[**slot].is_kept()).count();
        Ok(Filled::Kept(States { slot_of, slots, template, unread: Mutex::default() }))
    }

    /// The key of every example: a hash of what the backbone reads of it.
    fn keys(&self, examples: &[O::Example], order: &[Vec<usize>]) -> Result<Vec<Key>, Error> {
        let mut keys = vec![Key::default(); examples.len()];
        for indices in order {
            let inputs = self.input(examples, indices)?.encode();
            indices.iter().zip(&inputs).for_each(|(index, input)| keys[*index] = row_key(input));
        }
        Ok(keys)
    }

    fn input(&self, examples: &[O::Example], indices: &[usize]) -> Result<B::Input, Error> {
        Ok(make(self.objective, examples, &Draws::new(0, 0, indices), &self.device)?.input)
    }

    fn run(&self, examples: &[O::Example], indices: &[usize]) -> Result<B::State, Error> {
        let input = self.input(examples, indices)?;
        self.backbone.check(&input)?;
        Ok(run_plain(&self.backbone, &self.plain, self.pooled_only, input))
    }

    /// Computes one of the states that were found: it says which tensors a state has, and whether the stages still give
    /// what is stored. If they do not (their code changed, which no key sees), nothing stored is believed.
    fn check_found(
        &mut self,
        examples: &[O::Example],
        firsts: &[usize],
        keys: &[Option<Key>],
    ) -> Result<Option<B::State>, Error> {
        let found = firsts.iter().zip(keys).find_map(|(first, key)| Some((*first, self.store.peek(key.as_ref()?)?)));
        let Some((first, stored)) = found else { return Ok(None) };
        let state = self.run(examples, &[first])?;
        let computed = state.encode().into_iter().next().map(|record| self.store.narrowed(record));
        if computed.is_some_and(|computed| computed.agrees(&stored)) {
            return Ok(Some(state));
        }
        self.store.void();
        Ok(None)
    }

    /// What all states would need, from those of a batch and the lengths of all.
    fn needed(&self, examples: &[O::Example], indices: &[usize], records: &[Record]) -> u64 {
        let tokens = |examples: &mut dyn Iterator<Item = &O::Example>| {
            examples.map(|example| self.objective.length(example) as u64).sum::<u64>()
        };
        let bytes: usize = records.iter().map(|record| self.store.bytes(record)).sum();
        let of_batch = tokens(&mut indices.iter().map(|index| &examples[*index])).max(1);
        (bytes as u64 / of_batch).saturating_mul(tokens(&mut examples.iter()))
    }
}

/// For each example its slot, and for each slot, in length order, the first example that has it. Without keys every
/// example has its own.
fn distinct(keys: Option<&[Key]>, order: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (mut slot_of, mut firsts, mut seen) = (vec![0; order.len()], vec![], HashMap::new());
    for index in order {
        let next = firsts.len();
        let slot = keys.map_or(next, |keys| *seen.entry(keys[*index]).or_insert(next));
        if slot == next {
            firsts.push(*index);
        }
        slot_of[*index] = slot;
    }
    (slot_of, firsts)
}

fn names(inventory: &Inventory, plain: &[bool]) -> String {
    let names = inventory.stages.iter().zip(plain).filter(|(_, plain)| **plain).map(|(stage, _)| stage.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Finds or computes what plain stages make of all examples, where it is the same in every epoch.
    pub(super) fn fill_caches(&mut self) -> Result<(), Error> {
        self.drop_caches();
        let planned = self.cache_plan();
        self.tell(&Event::Cache(&planned))?;
        if let CachePlan::Unused(reason) = planned {
            self.report.cache.add(CacheReport { unused: Some(reason), ..CacheReport::default() });
            return Ok(());
        }
        let (limit, cache) = (self.config.limit(), &self.config.cache);
        let mut filler = Filler::new(self.model, &self.inventory, &self.plan.plain, self.objective, limit, cache)?;
        self.train_cache = self.fill(&mut filler, self.data.train, 0)?;
        self.validation_cache = self.fill(&mut filler, self.data.validation, self.data.train.len())?;
        if let Some(error) = &filler.store.broken {
            self.tell(&Event::CacheBroken { error })?;
        }
        let kept = self.train_cache.is_some() || self.validation_cache.is_some();
        let report = std::mem::take(&mut filler.store.report);
        if kept {
            self.tell(&Event::Cached(&report))?;
        }
        self.report.cache.add(report);
        Ok(())
    }

    fn cache_plan(&self) -> CachePlan {
        // Counted from where the plan began, so that a run that goes on later decides the same.
        let read_once = self.calendar.ends_within_an_epoch(self.planning.plain_since());
        CachePlan::of(&self.plan.plain, self.objective.repeats(), read_once, &self.config.cache)
    }

    fn fill(
        &mut self,
        filler: &mut Filler<'_, B, O>,
        examples: &[O::Example],
        before: usize,
    ) -> Result<Option<States<B::State>>, Error> {
        let all = self.data.train.len() + self.data.validation.len();
        let mut progress = |done| self.tell(&Event::Caching { done: before + done, all });
        let filled = filler.fill(examples, &mut progress)?;
        match filled {
            Filled::Kept(states) => Ok(Some(states)),
            Filled::Empty => Ok(None),
            Filled::TooLarge(bytes) => {
                let budget = filler.store.memory_left() as u64;
                let reason = NoCache::TooLarge { bytes, budget };
                filler.store.report.unused = Some(reason);
                self.tell(&Event::Cache(&CachePlan::Unused(reason)))?;
                Ok(None)
            }
        }
    }

    /// Lets go of what is kept, and counts what could not be read again.
    pub(super) fn drop_caches(&mut self) {
        for states in [self.train_cache.take(), self.validation_cache.take()].into_iter().flatten() {
            self.report.cache.damaged += states.unread();
        }
    }
}
