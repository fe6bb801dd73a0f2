use super::cache::{Cache, fill};
use super::evaluate::{evaluate_from, plain_device};
use super::step::{Forward, Gradients, Place};
use super::{Control, Evaluation, Event, Fit, History, Keep, Observer, Report, StepInfo, StopReason, TrainError};
use crate::backbone::Backbone;
use crate::checkpoint::save_weights;
use crate::data::BatchOrder;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::Objective;
use crate::optim::{GradientNorms, Optimizer, Update, clip_factor, not_finite};
use crate::params::{FreezePolicy, Inventory, Progress, TrainPlan, apply_plan, missing_gradients};
use burn::module::Module;
use burn::tensor::Device;
use std::collections::HashMap;
use std::time::Instant;

/// The examples of a run.
#[derive(Debug)]
pub struct Data<'a, E> {
    /// To train on.
    pub train: &'a [E],
    /// To measure on during the run; may be empty.
    pub validation: &'a [E],
}

/// Trains what the policy leaves free, on the device that the model is on.
///
/// The model stays a plain (not autodiff) one to its owner. If the run fails, it holds the weights of the last good
/// step, and so does `last.safetensors` where the configuration names a folder.
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
    config.check(H::COUPLED)?;
    if data.train.is_empty() {
        return Err(TrainError::NoData { set: "training" }.into());
    }
    let inventory = Inventory::of(model)?;
    let plan = TrainPlan::new(&inventory, policy, &config.rates, Progress::default())?;
    let steps_an_epoch = data.train.len().div_ceil(config.batch_size).div_ceil(config.accumulation);
    let steps = config.max_steps.unwrap_or(config.epochs * steps_an_epoch);
    let epochs = steps.div_ceil(steps_an_epoch);
    let history = config.folder.as_deref().map(History::create).transpose()?;
    let device = plain_device(model).autodiff();
    let optimizer = Optimizer::new(config.optimizer);
    let start = Instant::now();

    let mut run = Run {
        model,
        objective,
        data,
        config,
        observers,
        history,
        inventory,
        plan,
        device,
        optimizer,
        steps,
        train_cache: None,
        validation_cache: None,
        best: None,
        stop: None,
        report: Report::default(),
    };
    run.tell(&Event::Start { steps, epochs, examples: run.data.train.len() })?;
    let done = run.train(policy, epochs);
    run.keep_on_error(done)?;
    run.finish(start)
}

struct Run<'a, 'o, B: Backbone, H, O: Objective> {
    model: &'a mut Model<B, H>,
    objective: &'a O,
    data: Data<'a, O::Example>,
    config: &'a Fit,
    observers: &'a mut [&'o mut dyn Observer],
    history: Option<History>,
    inventory: Inventory,
    plan: TrainPlan,
    device: Device,
    optimizer: Optimizer,
    steps: usize,
    train_cache: Option<Cache<B::State>>,
    validation_cache: Option<Cache<B::State>>,
    best: Option<(f64, Model<B, H>)>,
    stop: Option<StopReason>,
    report: Report,
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    fn train(&mut self, policy: &dyn FreezePolicy, epochs: usize) -> Result<(), Error> {
        let Fit { batch_size, accumulation, seed, bucket, eval_every, .. } = *self.config;
        let order = BatchOrder { batch_size, seed, shuffle: true, bucket };
        let lengths: Vec<usize> = self.data.train.iter().map(|example| self.objective.length(example)).collect();
        let mut epoch = 0;
        while epoch < epochs && self.stop.is_none() {
            self.plan(policy, epoch)?;
            for micro_batches in order.batches(&lengths, epoch as u64).chunks(accumulation) {
                self.step(micro_batches, epoch)?;
                if eval_every.is_some_and(|every| self.report.steps.is_multiple_of(every)) {
                    self.validate(epoch)?;
                }
                if self.stop.is_some() || self.report.steps == self.steps {
                    break;
                }
            }
            if self.stop.is_none() && eval_every.is_none() {
                self.validate(epoch)?;
            }
            epoch += 1;
        }
        match self.report.evaluations.last() {
            Some(last) if last.step == self.report.steps => Ok(()),
            _ => self.validate(epoch.saturating_sub(1)),
        }
    }

    /// Decides what trains in this epoch and, where that changed, applies it.
    fn plan(&mut self, policy: &dyn FreezePolicy, epoch: usize) -> Result<(), Error> {
        let at = Progress { epoch, step: self.report.steps };
        let plan = TrainPlan::new(&self.inventory, policy, &self.config.rates, at)?;
        let changed = plan != self.plan;
        if !changed && epoch > 0 {
            return Ok(());
        }
        let stale = plan.plain != self.plan.plain || epoch == 0;
        self.plan = plan;
        *self.model = apply_plan(&self.plan, &self.inventory, self.model.valid());
        let (inventory, rows) = (&self.inventory, &self.plan.rows);
        self.optimizer.retain(|id| rows.iter().any(|row| inventory.entries[row.entry].id == id));
        let plan = self.plan.clone();
        self.tell(&Event::Plan { plan: &plan, epoch })?;
        if stale { self.fill_caches() } else { Ok(()) }
    }

    /// Computes what plain stages make of all examples, where it is the same in every epoch and read more than once.
    fn fill_caches(&mut self) -> Result<(), Error> {
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
                for observer in run.observers.iter_mut() {
                    if observer.on(&Event::Caching { done: kept + done, all }) == Control::Stop {
                        run.stop = run.stop.or(Some(StopReason::Observer));
                    }
                }
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

    /// One optimizer step. `self.model` changes only when everything about it is finite.
    fn step(&mut self, micro_batches: &[Vec<usize>], epoch: usize) -> Result<(), Error> {
        let place = Place { seed: self.config.seed, epoch, step: self.report.steps };
        let training = self.model.clone().train();
        let forward = Forward {
            snapshot: &*self.model,
            training: &training,
            plain: &self.plan.plain,
            cache: self.train_cache.as_ref(),
            objective: self.objective,
            examples: self.data.train,
            device: &self.device,
        };
        let Gradients { summed, loss_sum, weight } = forward.gradients(micro_batches, place)?;
        let norms = GradientNorms::of(&training, &summed);
        let missing = missing_gradients(&self.plan, &self.inventory, &training, &summed);
        check_gradients(&norms, missing, micro_batches, place)?;

        let grad_norm = norms.total() / weight;
        let clip = self.config.clip_norm.map_or(1.0, |max_norm| clip_factor(grad_norm, max_norm));
        let schedule = self.config.schedule.factor(place.step, self.steps);
        let updates = self.updates(schedule);
        let stepped = self.optimizer.step(training.valid(), summed, &updates, clip / weight);
        check_weights(&stepped, &updates, micro_batches, place)?;
        *self.model = Model { backbone: stepped.backbone.after_step(), head: stepped.head };

        self.report.steps += 1;
        self.report.losses.push(loss_sum / weight);
        self.report.grad_norms.push(grad_norm);
        let info = StepInfo {
            step: self.report.steps,
            steps: self.steps,
            epoch: epoch + 1,
            loss: loss_sum / weight,
            schedule,
            grad_norm,
            examples: micro_batches.iter().map(Vec::len).sum(),
        };
        self.tell(&Event::Step(&info))
    }

    fn updates(&self, schedule: f64) -> HashMap<u64, Update> {
        let rows = self.plan.rows.iter();
        rows.map(|row| {
            let update = Update { lr: row.lr * schedule, weight_decay: row.weight_decay };
            (self.inventory.entries[row.entry].id, update)
        })
        .collect()
    }

    /// Measures on the validation examples and remembers the best weights.
    fn validate(&mut self, epoch: usize) -> Result<(), Error> {
        if self.data.validation.is_empty() {
            return Ok(());
        }
        let Fit { batch_size, seed, monitor, .. } = *self.config;
        let (plain, cache) = (&self.plan.plain, self.validation_cache.as_ref());
        let examples = self.data.validation;
        let scores = evaluate_from(self.model, self.objective, examples, batch_size, seed, plain, cache)?;
        let evaluation = Evaluation { step: self.report.steps, epoch: epoch + 1, summary: scores.summary() };
        if !evaluation.summary.loss.is_finite() {
            return Err(TrainError::EvaluationNotFinite { step: self.report.steps }.into());
        }
        let merit = evaluation.merit(monitor).ok_or(TrainError::NoSuchFigure { monitor: monitor.name() })?;
        self.report.evaluations.push(evaluation);
        self.tell(&Event::Evaluated(&evaluation))?;
        if self.best.as_ref().is_none_or(|(best, _)| merit > *best) {
            self.best = Some((merit, self.model.clone()));
            self.report.best = Some(evaluation);
            self.save("best.safetensors")?;
        }
        self.save("last.safetensors")?;
        let unfinished = self.stop.is_none() && self.report.steps < self.steps;
        let since = self.report.evaluations.iter().rev().take_while(|e| Some(**e) != self.report.best).count();
        if unfinished && self.config.patience.is_some_and(|patience| since >= patience) {
            self.stop = Some(StopReason::NoImprovement);
        }
        Ok(())
    }

    fn finish(mut self, start: Instant) -> Result<Report, Error> {
        self.save("last.safetensors")?;
        if let (Keep::Best, Some((_, best))) = (self.config.keep, self.best.take()) {
            *self.model = best;
        }
        self.report.stop = self.stop.unwrap_or_default();
        self.report.trainable_values = self.plan.trainable_values();
        self.report.all_values = self.plan.all_values();
        let held = self.inventory.entries.iter().filter(|entry| self.optimizer.holds(entry.id));
        self.report.optimizer_parameters = held.map(|entry| entry.path.clone()).collect();
        self.report.seconds = start.elapsed().as_secs_f64();
        let report = self.report.clone();
        self.tell(&Event::End { report: &report })?;
        Ok(report)
    }

    /// Lets every observer know, the history first.
    fn tell(&mut self, event: &Event<'_>) -> Result<(), Error> {
        if let Some(history) = &mut self.history {
            history.write(event)?;
        }
        for observer in self.observers.iter_mut() {
            if observer.on(event) == Control::Stop {
                self.stop = self.stop.or(Some(StopReason::Observer));
            }
        }
        Ok(())
    }

    /// Saves the last good weights before an error goes up, which says more than one of saving them would.
    fn keep_on_error(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if result.is_err() {
            self.save("last.safetensors").ok();
        }
        result
    }

    fn save(&mut self, name: &str) -> Result<(), Error> {
        let Some(folder) = &self.config.folder else { return Ok(()) };
        let path = folder.join(name);
        save_weights(self.model, &path)?;
        self.tell(&Event::Saved { path: &path })
    }
}

fn check_gradients(
    norms: &GradientNorms,
    missing: Vec<String>,
    micro_batches: &[Vec<usize>],
    place: Place,
) -> Result<(), TrainError> {
    if !missing.is_empty() {
        return Err(TrainError::NoGradient { paths: missing });
    }
    match norms.not_finite() {
        None => Ok(()),
        Some(parameter) => Err(TrainError::GradientNotFinite {
            step: place.step + 1,
            epoch: place.epoch + 1,
            good: place.step,
            parameter: parameter.into(),
            examples: micro_batches.concat(),
        }),
    }
}

fn check_weights<M: Module>(
    stepped: &M,
    updates: &HashMap<u64, Update>,
    micro_batches: &[Vec<usize>],
    place: Place,
) -> Result<(), TrainError> {
    match not_finite(stepped, |id| updates.contains_key(&id)) {
        None => Ok(()),
        Some(parameter) => Err(TrainError::WeightNotFinite {
            step: place.step + 1,
            epoch: place.epoch + 1,
            good: place.step,
            parameter,
            examples: micro_batches.concat(),
        }),
    }
}
