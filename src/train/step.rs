//! One optimizer step: micro-batches forward and backward, their gradients summed.

use super::cache::{States, run_plain};
use super::fit::Run;
use super::pass::{Graph, Pass};
use super::{Event, StepInfo, StepSeconds, TrainError};
use crate::backbone::Backbone;
use crate::backbone::trail::Begin;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::nn::RandomScope;
use crate::objective::{Batch, Draws, Objective};
use crate::optim::{GradientNorms, Update, not_finite};
use crate::params::missing_gradients;
use crate::random::mix;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Device;
use std::collections::HashMap;
use std::time::Instant;

/// Where a step is in the run, and what its randomness is keyed by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) seed: u64,
    pub(super) epoch: usize,
    /// Steps done before this one.
    pub(super) step: usize,
}

/// What a step reads: a plain snapshot for the plain stages and for passes without a graph, the same weights on the autodiff
/// device for the rest.
#[derive(Debug)]
pub(super) struct Forward<'a, B: Backbone, H, O: Objective> {
    pub(super) snapshot: &'a Model<B, H>,
    pub(super) training: &'a Model<B, H>,
    pub(super) plain: &'a [bool],
    pub(super) cache: Option<&'a States<B::State>>,
    pub(super) objective: &'a O,
    pub(super) examples: &'a [O::Example],
    pub(super) device: &'a Device,
    pub(super) r_drop: Option<f64>,
    pub(super) graph: Graph,
}

/// Summed gradients of a step and the loss they belong to: the mean is `loss_sum / weight`.
pub(super) struct Gradients {
    pub(super) summed: GradientsParams,
    pub(super) loss_sum: f64,
    pub(super) weight: f64,
    pub(super) seconds: StepSeconds,
}

impl<B, H, O> Forward<'_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Sums the gradients of all micro-batches; nothing is divided yet.
    pub(super) fn gradients(&self, micro_batches: &[Vec<usize>], place: Place) -> Result<Gradients, Error> {
        let mut accumulator = GradientsAccumulator::new();
        let (mut loss_sum, mut weight, mut seconds) = (0.0, 0.0, StepSeconds::default());
        for (micro, indices) in micro_batches.iter().enumerate() {
            let key = [place.seed, place.epoch as u64, place.step as u64, micro as u64];
            let scope = RandomScope::new(mix(&key));
            let (start, data_before) = (Instant::now(), seconds.data);
            let pass = self.forward(indices, place, &mut seconds)?;
            drop(scope);
            let loss = &pass.loss;
            if loss.weight <= 0.0 {
                continue;
            }
            let sum = loss.sum.clone().into_scalar::<f32>() as f64;
            seconds.forward += start.elapsed().as_secs_f64() - (seconds.data - data_before);
            if !sum.is_finite() {
                return Err(loss_not_finite(sum / loss.weight, indices, place).into());
            }
            loss_sum += sum;
            weight += loss.weight;
            let start = Instant::now();
            let gradients = pass.backward(self, &mut || ())?;
            accumulator.accumulate(self.training, gradients);
            seconds.backward += start.elapsed().as_secs_f64();
        }
        if weight <= 0.0 {
            return Err(TrainError::NoWeight { step: place.step + 1, examples: micro_batches.concat() }.into());
        }
        Ok(Gradients { summed: accumulator.grads(), loss_sum, weight, seconds })
    }

    fn forward(&self, indices: &[usize], place: Place, seconds: &mut StepSeconds) -> Result<Pass<B>, Error> {
        let start = Instant::now();
        let batch = self.batch(indices, place)?;
        seconds.data += start.elapsed().as_secs_f64();
        self.pass(self.begin(batch.input, indices)?, batch.targets)
    }

    /// The examples with these indices, their targets checked.
    pub(super) fn batch(&self, indices: &[usize], place: Place) -> Result<Batch<B::Input, H::Targets>, Error> {
        let chosen: Vec<_> = indices.iter().map(|index| &self.examples[*index]).collect();
        let draws = Draws::new(place.seed, place.epoch as u64, indices);
        let batch = self.objective.batch(&chosen, &draws, &self.device.clone().inner())?;
        self.training.head.check(&batch.targets)?;
        Ok(batch)
    }

    /// The state after the plain stages, or the input where the first stage is none.
    pub(super) fn begin(&self, input: B::Input, indices: &[usize]) -> Result<Begin<B::Input, B::State>, Error> {
        if let Some(state) = self.cache.and_then(|cache| cache.get(indices)) {
            return Ok(Begin::State(state));
        }
        self.training.backbone.check(&input)?;
        Ok(match self.plain.first() {
            Some(true) => Begin::State(run_plain(&self.snapshot.backbone, self.plain, H::POOLED_ONLY, input)),
            _ => Begin::Input(input),
        })
    }
}

pub(super) fn loss_not_finite(loss: f64, indices: &[usize], place: Place) -> TrainError {
    TrainError::LossNotFinite {
        step: place.step + 1,
        epoch: place.epoch + 1,
        good: place.step,
        loss,
        examples: indices.to_vec(),
    }
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// One optimizer step. `self.model` changes only when everything about it is finite.
    pub(super) fn step(&mut self, micro_batches: &[Vec<usize>], epoch: usize) -> Result<StepInfo, Error> {
        let start = Instant::now();
        let place = Place { seed: self.config.seed, epoch, step: self.report.steps };
        let mixout = self.mixout(place);
        let plain = match &mixout {
            Some(mixout) => mixout.mix(self.model.clone()),
            None => self.model.clone(),
        };
        let training = plain.clone().train();
        let forward = Forward {
            snapshot: &plain,
            training: &training,
            plain: &self.plan.plain,
            cache: self.train_cache.as_ref(),
            objective: self.objective,
            examples: self.data.train,
            device: &self.device,
            r_drop: self.config.regularisation.r_drop,
            graph: self.graph(place.step),
        };
        let Gradients { mut summed, loss_sum, weight, mut seconds } = forward.gradients(micro_batches, place)?;
        let update_start = Instant::now();
        if let Some(mixout) = &mixout {
            mixout.scale(&*self.model, &mut summed);
        }
        let loss = loss_sum / weight + self.penalty(&mut summed, weight);
        let norms = GradientNorms::of(&training, &summed);
        let missing = missing_gradients(&self.plan, &self.inventory, &training, &summed);
        check_gradients(&norms, missing, micro_batches, place)?;

        let grad_norm = norms.total() / weight;
        let (clipped, scale) = self.config.clipping().apply(&training, summed, norms.total(), weight);
        let schedule = self.rate.unwrap_or_else(|| self.config.schedule.factor(place.step, self.steps));
        let updates = self.updates(schedule, place.step);
        let moved = match &mixout {
            Some(mixout) => mixout.unmix(training.valid(), &self.model.valid()),
            None => training.valid(),
        };
        let stepped = self.optimizer.step(moved, clipped, &updates, scale);
        check_weights(&stepped, &updates, micro_batches, place)?;
        *self.model = Model { backbone: stepped.backbone.after_step(), head: stepped.head };
        self.average.update(&*self.model, self.report.steps + 1, |id| updates.contains_key(&id));

        seconds.optimizer = update_start.elapsed().as_secs_f64();
        seconds.total = start.elapsed().as_secs_f64();
        let info = StepInfo {
            epoch: epoch + 1,
            loss,
            schedule,
            grad_norm,
            seconds,
            ..self.step_info(micro_batches, &updates)
        };
        self.report.steps += 1;
        self.report.losses.push(loss);
        self.report.grad_norms.push(grad_norm);
        self.report.learning_rates.push(info.lr);
        self.report.examples += info.examples;
        self.report.tokens += info.tokens;
        self.report.padding += info.padding;
        self.tell(&Event::Step(&info))?;
        Ok(info)
    }

    /// What is known of a step from its examples and rates alone.
    fn step_info(&self, micro_batches: &[Vec<usize>], updates: &HashMap<u64, Update>) -> StepInfo {
        let length = |index: &usize| self.objective.length(&self.data.train[*index]);
        let positions = |rows: &Vec<usize>| rows.len() * rows.iter().map(length).max().unwrap_or(0);
        let tokens = micro_batches.iter().flatten().map(length).sum();
        StepInfo {
            step: self.report.steps + 1,
            steps: self.steps,
            lr: updates.values().map(|update| update.lr).fold(0.0, f64::max),
            lowest_lr: updates.values().map(|update| update.lr).reduce(f64::min).unwrap_or(0.0),
            examples: micro_batches.iter().map(Vec::len).sum(),
            tokens,
            padding: micro_batches.iter().map(positions).sum::<usize>() - tokens,
            ..StepInfo::default()
        }
    }

    fn updates(&self, schedule: f64, step: usize) -> HashMap<u64, Update> {
        let rows = self.plan.rows.iter();
        rows.map(|row| {
            let entry = &self.inventory.entries[row.entry];
            let rewarm = self.planning.rewarm(&entry.path, step, self.config.rewarm_steps);
            (entry.id, Update { lr: row.lr * schedule * rewarm, weight_decay: row.weight_decay })
        })
        .collect()
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
