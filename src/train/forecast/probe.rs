//! A few small steps on a copy: what they keep in memory and how long they take.

use crate::backbone::{Backbone, run_stages};
use crate::data::BatchOrder;
use crate::error::Error;
use crate::head::{Loss, TaskHead};
use crate::model::Model;
use crate::nn::RandomScope;
use crate::objective::{Answer, Objective};
use crate::random::mix;
use crate::rows::RowsExt;
use crate::train::TrainError;
use crate::train::cache::run_plain;
use crate::train::fit::Run;
use crate::train::pass::{Graph, Pass};
use crate::train::process::{peak, release, resident, restart_peak};
use crate::train::step::{Forward, Place, loss_not_finite};
use burn::backend::DispatchDevice;
use burn::module::Module;
use burn::tensor::Device;
use std::time::Instant;

/// Padded tokens of a probe, at most: enough that what they keep stands out from the rest of the process.
const CELLS: usize = 1024;
/// Timed steps; the middle one counts. One more goes before them.
const REPEATS: usize = 3;

/// What is tried out: a run on a copy, before its first step.
pub(super) struct Probe<'r, 'a, 'o, B: Backbone, H, O: Objective>(pub(super) &'r mut Run<'a, 'o, B, H, O>);

/// Bytes that grow by the same amount with each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::train) struct Line {
    rows: [usize; 2],
    bytes: [usize; 2],
}

impl Line {
    /// Bytes at so many rows.
    pub(super) fn at(&self, rows: f64) -> usize {
        let ([few, more], [low, high]) = (self.rows.map(|rows| rows as f64), self.bytes.map(|bytes| bytes as f64));
        let slope = if more > few { ((high - low) / (more - few)).max(0.0) } else { high / more };
        (high + slope * (rows - more)).max(0.0) as usize
    }
}

/// What the probes showed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::train) struct Measured {
    /// Bytes that the process holds before the run, weights and data included.
    pub(super) process: Option<usize>,
    /// What a micro-batch of the longest examples keeps for its backward pass; with gradient checkpointing, at the head and
    /// at each stage.
    pub(super) kept: Option<Vec<Line>>,
    /// Intermediate results of a forward pass over such a micro-batch without a graph.
    pub(super) working: Option<Line>,
    /// Tokens of the longest validation example over those of the longest training example.
    pub(super) validation_ratio: f64,
    pub(super) state_bytes: StateBytes,
    /// The loss's weight over padded tokens.
    pub(super) weight_a_cell: f64,
    pub(super) seconds: Seconds,
}

/// Bytes that states after the plain stages take in the cache; 0 where no stage is plain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct StateBytes {
    pub(super) a_row: f64,
    pub(super) a_token: f64,
}

impl StateBytes {
    /// From the tokens and bytes of the longest row and of the shortest.
    fn through(ends: Vec<(usize, usize)>) -> Self {
        let [(most, high), (least, low)] = ends[..] else { return Self::default() };
        match most > least {
            true => {
                let a_token = (high as f64 - low as f64).max(0.0) / (most - least) as f64;
                Self { a_row: (low as f64 - a_token * least as f64).max(0.0), a_token }
            }
            false => Self { a_row: 0.0, a_token: high as f64 / most.max(1) as f64 },
        }
    }

    /// Of so many rows with so many tokens in all.
    pub(super) fn of(&self, rows: usize, tokens: usize) -> f64 {
        self.a_row * rows as f64 + self.a_token * tokens as f64
    }
}

/// Seconds a padded token, and those of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seconds {
    /// The plain stages.
    pub(super) prefix: f64,
    /// Everything after them, forward and backward.
    pub(super) rest: f64,
    /// Everything after them without a graph, as in a validation.
    pub(super) validation: f64,
    /// Norm, clipping, optimizer: once a step.
    pub(super) update: f64,
}

impl<B, H, O> Probe<'_, '_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Measures under the plan that is in force.
    pub(super) fn measure(&mut self) -> Result<Measured, Error> {
        let longest = self.longest_first();
        if longest.is_empty() {
            return Err(TrainError::NoData { set: "labelled training" }.into());
        }
        let length = |example| self.0.objective.length(example);
        let most = length(&self.0.data.train[longest[0]]).max(1);
        let most_in_validation = self.0.data.validation.iter().map(length).max().unwrap_or(0);
        // Half a micro-batch at most, since a whole one would be the step that is foretold.
        let more = (CELLS / most).max(2).min(self.0.config.batch_size / 2).clamp(1, longest.len());
        let few = if H::COUPLED { 2.min(more) } else { 1 };
        // What every later step finds done: lazy weights, thread pools, buffers of the matrix products.
        self.memory(&longest[..few])?;
        release();
        let process = resident().filter(|_| in_host_memory(&self.0.device));
        let samples =
            process.is_some().then(|| Ok::<_, Error>([self.memory(&longest[..few])?, self.memory(&longest[..more])?]));
        let line = |[low, high]: [Option<usize>; 2]| Some(Line { rows: [few, more], bytes: [low?, high?] });
        let (kept, working) = match samples.transpose()? {
            Some([low, high]) => (
                low.kept.into_iter().zip(high.kept).map(|(low, high)| line([low, high])).collect(),
                line([low.working, high.working]),
            ),
            None => (None, None),
        };
        let ends = [longest[0], longest[longest.len() - 1]].map(|index| self.state_bytes(index));
        let state_bytes = StateBytes::through(ends.into_iter().collect::<Result<Vec<_>, _>>()?);
        let (seconds, weight_a_cell) = self.seconds()?;
        let validation_ratio = most_in_validation as f64 / most as f64;
        Ok(Measured { process, kept, working, validation_ratio, state_bytes, weight_a_cell, seconds })
    }

    /// Training examples that have an answer, the longest first.
    fn longest_first(&self) -> Vec<usize> {
        let (examples, objective) = (self.0.data.train, self.0.objective);
        let answered = |index: &usize| objective.answer(&examples[*index]) != Answer::Missing;
        let mut indices: Vec<usize> = (0..examples.len()).filter(answered).collect();
        indices.sort_by_key(|index| std::cmp::Reverse(objective.length(&examples[*index])));
        indices
    }

    /// Rows of the middle one of the first epoch's batches by size, and their padded tokens.
    fn typical(&self) -> (Vec<usize>, usize) {
        let (examples, objective, config) = (self.0.data.train, self.0.objective, self.0.config);
        let lengths: Vec<usize> = examples.iter().map(|example| objective.length(example)).collect();
        let longest = |batch: &[usize]| batch.iter().map(|index| lengths[*index]).max().unwrap_or(0).max(1);
        let order =
            BatchOrder { batch_size: config.batch_size, seed: config.seed, shuffle: true, bucket: config.bucket };
        let mut batches = order.batches(&lengths, 0);
        batches
            .iter_mut()
            .for_each(|batch| batch.retain(|index| objective.answer(&examples[*index]) != Answer::Missing));
        batches.retain(|batch| !batch.is_empty());
        batches.sort_by_key(|batch| batch.len() * longest(batch));
        let mut batch = batches.swap_remove(batches.len() / 2);
        batch.truncate((CELLS / longest(&batch)).max(1));
        let cells = batch.len() * longest(&batch);
        (batch, cells)
    }

    /// The bytes of one micro-batch.
    fn memory(&self, indices: &[usize]) -> Result<Bytes, Error> {
        let (working, _) = self.over(|| self.validate(indices))?;
        let training = self.0.model.clone().train();
        release();
        let before = resident();
        let (forward, mut kept) = (self.forward(&training), vec![]);
        let mut watch = || {
            release();
            kept.push(resident().zip(before).map(|(after, before)| after.saturating_sub(before)));
        };
        // Burn keeps a graph until a backward pass has used it.
        drop(self.pass(&forward, indices)?.backward(&forward, &mut watch)?);
        Ok(Bytes { kept, working })
    }

    /// How far the memory of the process rises above what it holds now.
    fn over<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<(Option<usize>, T), Error> {
        release();
        let before = resident().filter(|_| restart_peak());
        let made = work()?;
        Ok((peak().zip(before).map(|(peak, before)| peak.saturating_sub(before)), made))
    }

    /// A micro-batch forward, as in a step.
    fn pass(&self, forward: &Forward<'_, B, H, O>, indices: &[usize]) -> Result<Pass<B>, Error> {
        let _scope = RandomScope::new(mix(&[self.place().seed]));
        let batch = forward.batch(indices, self.place())?;
        let pass = forward.pass(forward.begin(batch.input, indices)?, batch.targets)?;
        self.finite(&pass.loss, indices)?;
        Ok(pass)
    }

    /// All stages and the loss, without a graph; gives the seconds of what comes after the plain stages.
    fn validate(&self, indices: &[usize]) -> Result<f64, Error> {
        let model = self.0.model.valid();
        let batch = self.forward(&model).batch(indices, self.place())?;
        model.backbone.check(&batch.input)?;
        let plain = &self.0.plan.plain;
        let mut start = Instant::now();
        let state = run_plain(&model.backbone, plain, H::POOLED_ONLY, batch.input);
        if plain.first() == Some(&true) {
            self.0.device.sync().ok();
            start = Instant::now();
        }
        let rest = (1..plain.len()).filter(|stage| !plain[*stage]);
        let state = run_stages(&model.backbone, rest, H::POOLED_ONLY, state);
        self.finite(&model.head.loss(model.backbone.finish(state), batch.targets), indices)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Waits for the loss.
    fn finite(&self, loss: &Loss, indices: &[usize]) -> Result<(), Error> {
        let sum = f64::from(loss.sum.clone().into_scalar::<f32>());
        if loss.weight <= 0.0 {
            return Err(TrainError::NoWeight { step: 1, examples: indices.to_vec() }.into());
        }
        match sum.is_finite() {
            true => Ok(()),
            false => Err(loss_not_finite(sum / loss.weight, indices, self.place()).into()),
        }
    }

    /// Tokens of a row, and the bytes of its state after the plain stages.
    fn state_bytes(&self, index: usize) -> Result<(usize, usize), Error> {
        let (plain, length) = (&self.0.plan.plain, self.0.objective.length(&self.0.data.train[index]));
        if plain.first() != Some(&true) {
            return Ok((length, 0));
        }
        let batch = self.forward(self.0.model).batch(&[index], self.place())?;
        let state = run_plain(&self.0.model.valid().backbone, plain, H::POOLED_ONLY, batch.input);
        Ok((length, state.encode().iter().map(crate::rows::Record::bytes).sum()))
    }

    /// Seconds of a typical micro-batch, and the loss's weight a padded token.
    fn seconds(&mut self) -> Result<(Seconds, f64), Error> {
        let (indices, cells) = self.typical();
        let (_, weight) = self.timed(&indices)?;
        let samples = (0..REPEATS).map(|_| Ok(self.timed(&indices)?.0)).collect::<Result<Vec<_>, Error>>()?;
        let middle = |part: fn(&Seconds) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(part).collect();
            values.sort_by(f64::total_cmp);
            values[REPEATS / 2]
        };
        let cells = cells as f64;
        let seconds = Seconds {
            prefix: middle(|s| s.prefix) / cells,
            rest: middle(|s| s.rest) / cells,
            validation: middle(|s| s.validation) / cells,
            update: middle(|s| s.update),
        };
        Ok((seconds, weight / cells))
    }

    /// The passes of one step by themselves, a whole step, and a validation pass; and the loss's weight. Rates are 0, so
    /// weights stay as they are.
    fn timed(&mut self, indices: &[usize]) -> Result<(Seconds, f64), Error> {
        let mut seconds = Seconds { validation: self.validate(indices)?, ..Seconds::default() };
        let training = self.0.model.clone().train();
        let (forward, device) = (self.forward(&training), &self.0.device);
        let scope = RandomScope::new(mix(&[self.place().seed]));
        let start = Instant::now();
        let batch = forward.batch(indices, self.place())?;
        let begin = forward.begin(batch.input, indices)?;
        if self.0.plan.plain.first() == Some(&true) {
            device.sync().ok();
            seconds.prefix = start.elapsed().as_secs_f64();
        }
        let pass = forward.pass(begin, batch.targets)?;
        self.finite(&pass.loss, indices)?;
        drop(scope);
        let weight = pass.loss.weight;
        drop(pass.backward(&forward, &mut || ())?);
        device.sync().ok();
        seconds.rest = start.elapsed().as_secs_f64() - seconds.prefix;

        self.0.rate = Some(0.0);
        seconds.update = self.0.step(&[indices.to_vec()], 0)?.seconds.optimizer;
        Ok((seconds, weight))
    }

    fn forward<'b>(&'b self, training: &'b Model<B, H>) -> Forward<'b, B, H, O> {
        Forward {
            snapshot: &*self.0.model,
            training,
            plain: &self.0.plan.plain,
            cache: None,
            objective: self.0.objective,
            examples: self.0.data.train,
            device: &self.0.device,
            r_drop: self.0.config.regularisation.r_drop,
            graph: Graph::of(self.0.config, false),
        }
    }

    fn place(&self) -> Place {
        Place { seed: self.0.config.seed, epoch: 0, step: 0 }
    }
}

struct Bytes {
    kept: Vec<Option<usize>>,
    working: Option<usize>,
}

/// Whether tensors of a device count as memory of the process.
fn in_host_memory(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => true,
        #[allow(unreachable_patterns)]
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_both_samples_and_never_falls() {
        let line = Line { rows: [2, 4], bytes: [30, 50] };
        assert_eq!([2.0, 4.0, 10.0].map(|rows| line.at(rows)), [30, 50, 110]);
        let falling = Line { rows: [2, 4], bytes: [50, 30] };
        assert_eq!([4.0, 10.0].map(|rows| falling.at(rows)), [30, 30]);
        let single = Line { rows: [1, 1], bytes: [7, 7] };
        assert_eq!(single.at(3.0), 21);
    }
}
