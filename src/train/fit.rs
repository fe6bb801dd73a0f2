use super::cache::States;
use super::calendar::Calendar;
use super::evaluate::{evaluate_from, plain_device};
use super::identity::Identity;
use super::lock::Lock;
use super::planning::Planning;
use super::prefetch::{Ahead, beside, make};
use super::process::PeakMemory;
use super::saved::{self, Restored};
use super::saving::Writer;
use super::start::Start;
use super::{
    Data, Evaluation, Event, Fit, History, Keep, Observer, Observers, Report, RunError, StopReason, TrainError,
};
use crate::backbone::Backbone;
use crate::checkpoint::save_weights;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::nn::{PrecisionScope, ReuseScope};
use crate::objective::{Draws, Objective};
use crate::optim::{Averager, Optimizer};
use crate::params::{Freeze, FreezePolicy, Inventory, Progress, TrainPlan};
use burn::tensor::Device;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Trains what the policy leaves free, on the device that the model is on.
///
/// The model stays a plain (not autodiff) one to its owner. If the run fails, it holds the weights of the last good
/// step, and so does `last.safetensors` where the configuration names a folder.
///
/// With [`Fit::save_every`] the folder also holds checkpoints, from which a killed run goes on ([`Fit::resume`]) to the
/// same bits as one that was never interrupted.
///
/// # Errors
/// Before the first step: an option that means nothing, a policy or selector that matches nothing, no examples. During
/// the run: a trainable parameter without a gradient, a NaN, an example that cannot be read, a file that cannot be
/// written. Each names the thing.
pub fn fit<B, H, O>(
    model: &mut Model<B, H>,
    objective: &O,
    data: Data<'_, O::Example>,
    policy: &dyn FreezePolicy,
    config: &Fit,
    observers: &mut [&mut dyn Observer],
) -> Result<Report, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let _reuse = ReuseScope::new();
    let mut run = begin(model, objective, data, policy, config, observers)?;
    let begun = run.go_on().and_then(|()| run.foretell());
    let done = begun.and_then(|()| run.train()).and_then(|()| run.finish());
    run.tell_failure(done)
}

/// A run before its first step.
pub(super) fn begin<'a, 'o, B, H, O>(
    model: &'a mut Model<B, H>,
    objective: &'a O,
    data: Data<'a, O::Example>,
    policy: &'a dyn FreezePolicy,
    config: &'a Fit,
    observers: &'a mut [&'o mut dyn Observer],
) -> Result<Run<'a, 'o, B, H, O>, Error>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    config.check(H::COUPLED)?;
    if data.validation.is_empty() && (config.patience.is_some() || policy.needs_validation()) {
        return Err(TrainError::NoData { set: "validation" }.into());
    }
    if data.train.is_empty() {
        return Err(TrainError::NoData { set: "training" }.into());
    }
    let device = plain_device(model);
    if !config.precision.is_available(&device) {
        let mend = "only the flex device has it, on a processor with AVX512-BF16; give f32";
        return Err(TrainError::BadOption { option: "precision", value: config.precision.to_string(), mend }.into());
    }
    let lock = config.folder.as_deref().map(Lock::take).transpose().map_err(TrainError::from)?;
    let inventory = Inventory::of(model)?;
    // Refused before anything is written; a plan that needs gradients is made when they are measured.
    let first: &dyn FreezePolicy = if policy.needs_gradients() { &Freeze::Nothing } else { policy };
    let plan = TrainPlan::new(&inventory, first, &config.rates, Progress::default())?;
    let lengths: Arc<[usize]> = data.train.iter().map(|example| objective.length(example)).collect();
    let calendar = Calendar::of(config, &lengths)?;
    config.check_run(&calendar)?;
    let prints = |examples: &[O::Example]| examples.iter().map(|example| objective.fingerprint(example)).collect();
    let prints = [prints(data.train), prints(data.validation)];
    let identity = Identity::of(config, policy, prints, &inventory, model.head.settings());

    Ok(Run {
        device: device.autodiff(),
        optimizer: Optimizer::new(config.optimizer),
        average: Averager::new(calendar.averaging(config.averaging), calendar.steps_an_epoch),
        model,
        objective,
        data,
        config,
        observers: Observers::new(observers),
        history: None,
        inventory,
        policy,
        plan,
        planned: false,
        planning: Planning::default(),
        trained: BTreeSet::new(),
        start_weights: Start::default(),
        base: None,
        identity,
        lengths,
        calendar,
        train_cache: None,
        validation_cache: None,
        best: None,
        stop: None,
        report: Report::default(),
        start: Instant::now(),
        seconds_before: 0.0,
        saved_at: Instant::now(),
        rate: None,
        memory: PeakMemory::start(),
        writer: Writer::default(),
        _precision: PrecisionScope::new(config.precision),
        _lock: lock,
    })
}

pub(super) struct Run<'a, 'o, B: Backbone, H, O: Objective> {
    pub(super) model: &'a mut Model<B, H>,
    pub(super) objective: &'a O,
    pub(super) data: Data<'a, O::Example>,
    pub(super) config: &'a Fit,
    pub(super) observers: Observers<'a, 'o>,
    pub(super) history: Option<History>,
    pub(super) inventory: Inventory,
    pub(super) policy: &'a dyn FreezePolicy,
    pub(super) plan: TrainPlan,
    /// Whether `plan` has been applied.
    pub(super) planned: bool,
    pub(super) planning: Planning,
    /// Paths of what has trained so far, and of buffers.
    pub(super) trained: BTreeSet<String>,
    pub(super) start_weights: Start,
    /// The file with everything else, once it is written.
    pub(super) base: Option<String>,
    pub(super) identity: Identity,
    pub(super) device: Device,
    pub(super) optimizer: Optimizer,
    pub(super) average: Averager,
    /// Of the training examples, in tokens.
    pub(super) lengths: Arc<[usize]>,
    pub(super) calendar: Calendar,
    pub(super) train_cache: Option<States<B::State>>,
    pub(super) validation_cache: Option<States<B::State>>,
    pub(super) best: Option<(f64, Model<B, H>)>,
    pub(super) stop: Option<StopReason>,
    pub(super) report: Report,
    start: Instant,
    seconds_before: f64,
    pub(super) saved_at: Instant,
    /// A factor on every learning rate instead of the schedule's.
    pub(super) rate: Option<f64>,
    pub(super) memory: PeakMemory,
    /// Before the lock, which it outlives otherwise.
    pub(super) writer: Writer,
    _precision: PrecisionScope,
    _lock: Option<Lock>,
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Takes the newest whole checkpoint up, where the configuration says so, and opens the history.
    fn go_on(&mut self) -> Result<(), Error> {
        let Some(folder) = self.config.folder.as_deref() else { return Ok(()) };
        saved::clean(folder)?;
        if !self.config.resume {
            if saved::exists(folder)? {
                return Err(TrainError::from(RunError::Unfinished { folder: folder.into() }).into());
            }
            self.history = Some(History::create(folder)?);
            return Ok(());
        }
        let mut told = Ok(());
        let fresh = (self.optimizer.clone(), self.average.clone());
        let restored = saved::restore(folder, self.model, fresh, &self.identity, |error| {
            if told.is_ok() {
                told = self.observers.tell(&Event::Skipped { error });
            }
        })?;
        told?;
        let Some(Restored { model, best, optimizer, average, start, state }) = restored else {
            self.history = Some(History::create(folder)?);
            return Ok(());
        };
        self.history = Some(History::reopen(folder, &state.report)?);
        // The run may have been killed between its last checkpoint and the removal of an older one.
        saved::prune(folder, self.config.keep_checkpoints)?;
        *self.model = model;
        self.start_weights = start;
        self.average = average;
        let version = self.identity.other_version(&state.identity).map(str::to_owned);
        (self.best, self.optimizer, self.trained, self.report) = (best, optimizer, state.trained, state.report);
        self.planning = state.planning;
        self.seconds_before = self.report.seconds;
        self.stop_without_improvement();
        self.observers.restore(state.observers)?;
        if let Some(there) = version {
            self.tell(&Event::OtherVersion { there: &there, here: env!("CARGO_PKG_VERSION") })?;
        }
        let report = self.report.clone();
        self.tell(&Event::Resumed { step: report.steps, report: &report })
    }

    fn train(&mut self) -> Result<(), Error> {
        let Calendar { steps, epochs, .. } = self.calendar;
        let (examples, config) = (self.data.train.len(), self.config);
        self.tell(&Event::Start { steps, epochs, examples, config })?;
        let done = self.all_steps();
        self.keep_on_error(done)
    }

    fn all_steps(&mut self) -> Result<(), Error> {
        let (objective, examples, device) = (self.objective, self.data.train, self.device.clone().inner());
        let precision = self.config.precision;
        let make = move |draws: &Draws| {
            let _precision = PrecisionScope::new(precision);
            make(objective, examples, draws, &device)
        };
        beside(self.config.prefetch, self.to_come(), make, |ahead| self.steps(ahead))?;
        match self.report.evaluations.last() {
            Some(last) if last.step == self.report.steps => {}
            _ => self.validate(self.calendar.epoch_at(self.report.steps.saturating_sub(1)))?,
        }
        if self.observers.save {
            self.checkpoint(true)?;
        }
        self.settle()
    }

    /// The micro-batches that are to come, in order.
    fn to_come(&self) -> impl Iterator<Item = Draws> + Send + use<B, H, O> {
        let Fit { seed, accumulation, .. } = *self.config;
        let (order, lengths, calendar) = (self.config.order(), self.lengths.clone(), self.calendar.clone());
        let done = self.report.steps;
        (calendar.epoch_at(done)..calendar.epochs).flat_map(move |epoch| {
            let before = calendar.before(epoch);
            let left = (calendar.steps - before).saturating_mul(accumulation);
            let batches = order.batches(&lengths, epoch as u64).into_iter().take(left);
            let batches = batches.skip(done.saturating_sub(before) * accumulation);
            batches.map(move |batch| Draws::new(seed, epoch as u64, &batch))
        })
    }

    fn steps(&mut self, ahead: Option<&Ahead<B::Input, H::Targets>>) -> Result<(), Error> {
        let (order, steps) = (self.config.order(), self.calendar.steps);
        while self.stop.is_none() && self.report.steps < steps {
            let epoch = self.calendar.epoch_at(self.report.steps);
            let batches = order.batches(&self.lengths, epoch as u64);
            let done = self.report.steps - self.calendar.before(epoch);
            for micro_batches in batches.chunks(self.config.accumulation).skip(done) {
                self.replan(epoch, &batches)?;
                self.step(micro_batches, epoch, ahead)?;
                let epoch_ends = self.report.steps == self.calendar.before(epoch + 1);
                if self.config.eval_every.map_or(epoch_ends, |every| self.report.steps.is_multiple_of(every)) {
                    self.validate(epoch)?;
                }
                let ends = self.stop.is_some() || self.report.steps == steps;
                let signalled = self.take_signals();
                self.checkpoint(ends || signalled)?;
                if ends {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Measures on the validation examples and remembers the best weights, averaged ones where the run averages.
    fn validate(&mut self, epoch: usize) -> Result<(), Error> {
        if self.data.validation.is_empty() {
            return Ok(());
        }
        let Fit { seed, monitor, .. } = *self.config;
        let (plain, cache) = (&self.plan.plain, self.validation_cache.as_ref());
        let examples = self.data.validation;
        let averaged = self.average.averaged(&*self.model);
        let scores = evaluate_from(&averaged, self.objective, examples, self.config.limit(), seed, plain, cache)?;
        let summary = scores.summary();
        if !summary.loss.is_finite() {
            return Err(TrainError::EvaluationNotFinite { step: self.report.steps }.into());
        }
        let figure = monitor.figure(&scores);
        let figure = figure.map_err(|source| TrainError::Figure { monitor: monitor.name(), source })?;
        let monitored = figure.ok_or(TrainError::NoSuchFigure { monitor: monitor.name() })?;
        let merit = monitor.merit(monitored);
        let evaluation = Evaluation { step: self.report.steps, epoch: epoch + 1, summary, monitor, monitored };
        self.report.evaluations.push(evaluation);
        self.tell(&Event::Evaluated(&evaluation))?;
        if self.best.as_ref().is_none_or(|(best, _)| merit > *best) {
            self.best = Some((merit, averaged));
            self.report.best = Some(evaluation);
            if self.config.save_every.is_none() {
                self.save("best.safetensors")?;
            }
        }
        // With checkpoints, which hold both, the run writes them at its end.
        if self.config.save_every.is_none() {
            self.save("last.safetensors")?;
        }
        self.stop_without_improvement();
        Ok(())
    }

    fn stop_without_improvement(&mut self) {
        let unfinished = self.stop.is_none() && self.report.steps < self.calendar.steps;
        let since = self.report.evaluations.iter().rev().take_while(|e| Some(**e) != self.report.best).count();
        if unfinished && self.config.patience.is_some_and(|patience| since >= patience) {
            self.stop = Some(StopReason::NoImprovement);
        }
    }

    fn finish(&mut self) -> Result<Report, Error> {
        self.drop_caches();
        *self.model = self.average.averaged(&*self.model);
        self.save("last.safetensors")?;
        // What a validation did not write, or one of an interrupted run wrote that will have come again.
        let Fit { folder, save_every, resume, .. } = self.config;
        if let (Some(folder), Some((_, best)), true) = (folder, &self.best, save_every.is_some() || *resume) {
            save_weights(best, folder.join("best.safetensors"))?;
        }
        if let (Keep::Best, Some((_, best))) = (self.config.keep, self.best.take()) {
            *self.model = best;
        }
        self.report.stop = self.stop.unwrap_or_default();
        self.report.plain = self.plan.plain.clone();
        self.report.trainable_values = self.plan.trainable_values();
        self.report.all_values = self.plan.all_values();
        let held = self.inventory.entries.iter().filter(|entry| self.optimizer.holds(entry.id));
        self.report.optimizer_parameters = held.map(|entry| entry.path.clone()).collect();
        self.measure();
        let report = self.report.clone();
        self.tell(&Event::End { report: &report })?;
        Ok(report)
    }

    /// Time and memory so far, those of the run before an interruption included.
    pub(super) fn measure(&mut self) {
        self.report.seconds = self.seconds_before + self.start.elapsed().as_secs_f64();
        self.report.peak_bytes = self.report.peak_bytes.max(self.memory.bytes());
    }

    /// Saves the last good weights before an error goes up, which says more than one of saving them would.
    fn keep_on_error(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if result.is_err() {
            self.settle().ok();
            *self.model = self.average.averaged(&*self.model);
            self.save("last.safetensors").ok();
        }
        result
    }

    fn save(&mut self, name: &str) -> Result<(), Error> {
        let Some(folder) = &self.config.folder else { return Ok(()) };
        let path = folder.join(name);
        save_weights(&self.average.averaged(&*self.model), &path)?;
        self.tell(&Event::Saved { path: &path })
    }
}
