//! When a run asks its freeze policy, and what becomes of the answer.

use super::fit::Run;
use super::pass::Graph;
use super::probe::{measure, probe_batches};
use super::{Evaluation, Event, Fit};
use crate::backbone::Backbone;
use crate::data::BatchOrder;
use crate::error::Error;
use crate::head::TaskHead;
use crate::objective::Objective;
use crate::params::{Merit, PlanChange, Progress, RelativeGradients, TrainPlan, apply_plan};
use burn::module::Module;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// What the plan in force came from, beyond what the report holds; a part of every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Planning {
    /// The paths that train, and the steps that were finished when each began to.
    since: BTreeMap<String, usize>,
    /// The steps that were finished when the plain stages became what they are.
    plain_since: usize,
    /// For each signal the steps that were finished when it came.
    signals: Vec<usize>,
    /// Measured before the first step, where the policy needs it.
    gradients: Option<RelativeGradients>,
}

impl Planning {
    /// The steps that were finished when the plain stages became what they are.
    pub(super) fn plain_since(&self) -> usize {
        self.plain_since
    }

    /// Whether something begins to train after so many finished steps.
    pub(super) fn begins(&self, step: usize) -> bool {
        self.since.values().any(|since| *since == step)
    }

    /// The factor on the rate of a parameter that thawed less than `rewarm` steps ago. What trains from the start has
    /// the schedule's own warm-up.
    pub(super) fn rewarm(&self, path: &str, step: usize, rewarm: usize) -> f64 {
        match self.since.get(path) {
            Some(since) if rewarm > 0 && *since > 0 => ((step - since) as f64 / rewarm as f64).min(1.0),
            _ => 1.0,
        }
    }
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Before a step: asks the policy, where it is time to, and applies what changed. `batches` are the epoch's.
    pub(super) fn replan(&mut self, epoch: usize, batches: &[Vec<usize>]) -> Result<(), Error> {
        let fresh = self.planning.since.is_empty();
        if !self.planned {
            if self.take_signals() && !fresh {
                self.checkpoint(true)?;
            }
            self.measure_or_restore(fresh, batches)?;
        }
        if fresh || self.is_due(epoch) {
            let merits = self.merits();
            let plan = TrainPlan::new(&self.inventory, self.policy, &self.config.rates, self.progress(epoch, &merits))?;
            let change = plan.change_from(&self.plan, &self.inventory);
            if !self.planned || !change.is_empty() {
                return self.adopt(plan, if fresh { PlanChange::default() } else { change }, epoch);
            }
        } else if !self.planned {
            return self.adopt(self.plan.clone(), PlanChange::default(), epoch);
        }
        Ok(())
    }

    /// What a fresh run needs to know first, or the plan that an interrupted one had.
    fn measure_or_restore(&mut self, fresh: bool, batches: &[Vec<usize>]) -> Result<(), Error> {
        if !fresh {
            let trains = |path: &String| self.planning.since.contains_key(path);
            let trains: Vec<bool> = self.inventory.entries.iter().map(|entry| trains(&entry.path)).collect();
            self.plan = TrainPlan::of(&self.inventory, &trains, &self.config.rates)?;
        } else if self.policy.needs_gradients() {
            let (batches, seed) = (probe_batches(batches), self.config.seed);
            let graph = Graph::of(self.config, false);
            self.planning.gradients = Some(measure(self.model, self.objective, self.data.train, batches, seed, graph)?);
        }
        Ok(())
    }

    /// Whether something has come since the last step that a policy may look at. All of it is in a checkpoint.
    fn is_due(&self, epoch: usize) -> bool {
        let step = self.report.steps;
        let (evaluated, signals) = (self.report.evaluations.last(), &self.planning.signals);
        step == epoch * self.steps_an_epoch
            || evaluated.is_some_and(|evaluation| evaluation.step == step)
            || signals.last() == Some(&step)
            || self.policy.asks_at(self.progress(epoch, &self.merits()))
    }

    fn merits(&self) -> Vec<Merit> {
        let merit = |e: &Evaluation| Merit { step: e.step, value: e.monitor.merit(e.monitored) };
        self.report.evaluations.iter().map(merit).collect()
    }

    fn progress<'a>(&'a self, epoch: usize, merits: &'a [Merit]) -> Progress<'a> {
        Progress {
            epoch,
            step: self.report.steps,
            steps: self.steps,
            steps_per_epoch: self.steps_an_epoch,
            lead: 0,
            merits,
            signals: &self.planning.signals,
            gradients: self.planning.gradients.as_ref(),
        }
    }

    fn adopt(&mut self, plan: TrainPlan, change: PlanChange, epoch: usize) -> Result<(), Error> {
        // What has never trained may be being written.
        self.settle()?;
        let (step, moved) = (self.report.steps, plan.plain != self.plan.plain);
        let stale = !self.planned || moved;
        if moved {
            self.planning.plain_since = step;
        }
        (self.plan, self.planned) = (plan, true);
        *self.model = apply_plan(&self.plan, &self.inventory, self.model.valid());
        let entries = &self.inventory.entries;
        let rows: HashSet<usize> = self.plan.rows.iter().map(|row| row.entry).collect();
        let ids: HashSet<u64> = rows.iter().map(|row| entries[*row].id).collect();
        self.optimizer.retain(|id| ids.contains(&id));
        self.average.retain(|id| ids.contains(&id));
        if self.config.regularisation.needs_start() {
            self.start_weights.take(&*self.model, &self.inventory, &self.plan);
        }
        self.base = None;
        let mut before = std::mem::take(&mut self.planning.since);
        for (index, entry) in entries.iter().enumerate() {
            if rows.contains(&index) {
                self.planning.since.insert(entry.path.clone(), before.remove(&entry.path).unwrap_or(step));
            }
            if rows.contains(&index) || entry.is_buffer() {
                self.trained.insert(entry.path.clone());
            }
        }
        let plan = self.plan.clone();
        self.tell(&Event::Plan { plan: &plan, change: &change, epoch, step })?;
        if stale { self.fill_caches() } else { Ok(()) }
    }

    /// The plan at this step of a fresh run, as far as it does not hang on validations and signals to come.
    pub(super) fn plan_at(&mut self, epoch: usize, step: usize) -> Result<TrainPlan, Error> {
        if self.policy.needs_gradients() && self.planning.gradients.is_none() {
            let Fit { batch_size, seed, bucket, .. } = *self.config;
            let lengths: Vec<usize> = self.data.train.iter().map(|example| self.objective.length(example)).collect();
            let batches = BatchOrder { batch_size, seed, shuffle: true, bucket }.batches(&lengths, 0);
            self.measure_or_restore(true, &batches)?;
        }
        let at = Progress { step, ..self.progress(epoch, &[]) };
        Ok(TrainPlan::new(&self.inventory, self.policy, &self.config.rates, at)?)
    }

    /// Puts a plan in force that no step has been taken under.
    pub(super) fn begin_with(&mut self, plan: TrainPlan) -> Result<(), Error> {
        self.adopt(plan, PlanChange::default(), 0)
    }

    /// Takes up the signals that came since the last time; whether there were any.
    pub(super) fn take_signals(&mut self) -> bool {
        let came = self.policy.take_signals();
        self.planning.signals.extend(std::iter::repeat_n(self.report.steps, came));
        came > 0
    }
}
