//! Averages of the weights over the steps of a run, by parameter.

use super::moments::{named, read};
use crate::checkpoint::{CheckpointError, Held, Tensors};
use crate::params::list;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// An average of the weights that training leaves behind, for validation and for use. Training goes on from the weights
/// themselves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Averaging {
    /// Exponential moving average: after each step `average = d average + (1 - d) weights`.
    Ema {
        /// The largest `d`; the average reaches back about `1 / (1 - decay)` steps.
        decay: f64,
        /// How `d` gets there.
        #[serde(default)]
        form: EmaForm,
    },
    /// The mean of all weights from some step on
    /// ([Izmailov et al., 2018](https://arxiv.org/abs/1803.05407); `torch.optim.swa_utils.AveragedModel`).
    Swa {
        /// When it begins; before that there is no average.
        start: Start,
        /// Takes the weights of every so many steps.
        every: usize,
    },
    /// The mean of the last few weights. Keeps each of them.
    Last {
        /// How many.
        count: usize,
        /// Takes the weights of every so many steps.
        every: usize,
    },
}

/// How the decay of a moving average begins. `t` counts the weights seen before; the first ones are taken whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmaForm {
    /// `decay` from the start.
    #[default]
    Constant,
    /// `min(decay, (1 + t) / (10 + t))`.
    Warmup,
    /// `min(decay, 1 - (1 + t)^-power)`, often with a power of 2/3.
    Power(f64),
    /// From zero with `decay`, divided by `1 - decay^(t + 1)`.
    BiasCorrected,
}

/// When an average begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the weights after so many steps.
    Step(usize),
    /// With the first step after so many epochs.
    Epoch(usize),
}

impl Averaging {
    /// An exponential moving average with a constant decay.
    pub fn ema(decay: f64) -> Self {
        Self::Ema { decay, form: EmaForm::Constant }
    }

    /// How many copies of the weights it holds.
    pub(crate) fn copies(&self) -> usize {
        match *self {
            Self::Last { count, .. } => count,
            _ => 1,
        }
    }

    /// What to do about numbers that mean nothing; `None` where they do.
    pub(crate) fn mend(&self) -> Option<&'static str> {
        match *self {
            Self::Ema { decay, .. } if !(0.0..1.0).contains(&(decay as f32)) => {
                Some("give a decay from 0 to below 1, such as 0.999")
            }
            Self::Ema { form: EmaForm::Power(power), .. } if !(power > 0.0 && power.is_finite()) => {
                Some("give a power above 0, such as 2/3")
            }
            Self::Swa { every: 0, .. } | Self::Last { every: 0, .. } => Some("give an `every` of at least 1"),
            Self::Last { count: 0, .. } => Some("give a count of at least 1"),
            _ => None,
        }
    }

    /// Whether the weights after `step` steps are taken.
    pub(crate) fn takes(&self, step: usize, steps_an_epoch: usize) -> bool {
        match *self {
            Self::Ema { .. } => true,
            Self::Last { every, .. } => step.is_multiple_of(every),
            Self::Swa { start, every } => {
                let start = match start {
                    Start::Step(step) => step,
                    Start::Epoch(epoch) => epoch.saturating_mul(steps_an_epoch).saturating_add(1),
                };
                step >= start && (step - start).is_multiple_of(every)
            }
        }
    }

    /// What new weights weigh in the average when `t` were seen before.
    fn weight(&self, t: f64) -> f64 {
        match *self {
            _ if t == 0.0 => 1.0,
            Self::Swa { .. } | Self::Last { .. } => 1.0 / (t + 1.0),
            Self::Ema { decay, form } => match form {
                EmaForm::Constant => 1.0 - decay,
                EmaForm::Warmup => 1.0 - decay.min((1.0 + t) / (10.0 + t)),
                EmaForm::Power(power) => 1.0 - decay.min(1.0 - (1.0 + t).powf(-power)).max(0.0),
                // The corrected average is itself a moving one, with this decay.
                EmaForm::BiasCorrected => (1.0 - decay) / (1.0 - decay.powf(t + 1.0)),
            },
        }
    }
}

/// The averages of a run. They exist for parameters that train, and only for those: what is frozen is its own average, and
/// what begins to train starts with its value.
#[derive(Clone)]
pub struct Averager {
    config: Option<Averaging>,
    steps_an_epoch: usize,
    averages: HashMap<u64, Average>,
}

/// The average of one parameter, as one tensor `[values]`; for [`Averaging::Last`] the weights themselves, oldest first.
#[derive(Clone)]
struct Average {
    tensors: Vec<Tensor<1>>,
    /// How many weights it has seen.
    seen: u64,
}

impl std::fmt::Debug for Averager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Averager").field("config", &self.config).field("parameters", &self.averages.len()).finish()
    }
}

impl Average {
    fn take(&mut self, config: &Averaging, values: Tensor<1>) {
        match (*config, self.tensors.pop()) {
            (Averaging::Last { count, .. }, newest) => {
                self.tensors.extend(newest.into_iter().chain([values]));
                self.tensors.drain(..self.tensors.len().saturating_sub(count.max(1)));
            }
            (_, None) => self.tensors.push(values),
            (_, Some(average)) => self.tensors.push(towards(average, values, config.weight(self.seen as f64))),
        }
        self.seen += 1;
    }

    fn value(&self) -> Option<Tensor<1>> {
        let sum = self.tensors.iter().cloned().reduce(|sum, values| sum + values)?;
        Some(if self.tensors.len() == 1 { sum } else { sum / self.tensors.len() as f64 })
    }
}

/// Moves an average towards new values by a share of the distance.
fn towards(average: Tensor<1>, values: Tensor<1>, share: f64) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if crate::kernel::covers(&average) && crate::kernel::covers(&values) && !values.device().is_autodiff() {
        return crate::kernel::towards(average, values, share as f32);
    }
    average.clone() + (values - average) * share
}

impl Averager {
    /// Without averages yet. `None` averages nothing.
    pub fn new(config: Option<Averaging>, steps_an_epoch: usize) -> Self {
        Self { config, steps_an_epoch, averages: HashMap::new() }
    }

    /// Takes the weights of a plain (not autodiff) model after `step` steps, of the parameters whose id `trains` takes.
    pub fn update<M: Module>(&mut self, model: &M, step: usize, trains: impl Fn(u64) -> bool) {
        struct Taker<'a, F>(&'a mut HashMap<u64, Average>, Averaging, F);
        impl<F: Fn(u64) -> bool> ModuleVisitor for Taker<'_, F> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if !(self.2)(param.id.val()) {
                    return;
                }
                let values = param.val();
                let size = values.shape().num_elements();
                let average = self.0.entry(param.id.val()).or_insert(Average { tensors: vec![], seen: 0 });
                average.take(&self.1, values.reshape([size]));
            }
        }
        if let Some(config) = self.config.filter(|config| config.takes(step, self.steps_an_epoch)) {
            model.visit(&mut Taker(&mut self.averages, config, trains));
        }
    }

    /// Forgets the averages of all parameters that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.averages.retain(|id, _| keep(*id));
    }

    /// The model with averages in the place of the weights that have any.
    pub fn averaged<M: Module>(&self, model: &M) -> M {
        struct Putter<'a>(&'a HashMap<u64, Average>);
        impl ModuleMapper for Putter<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let Some(average) = self.0.get(&param.id.val()).and_then(Average::value) else { return param };
                param.map(|tensor| average.reshape(tensor.shape()))
            }
        }
        match self.averages.is_empty() {
            true => model.clone(),
            false => model.clone().map(&mut Putter(&self.averages)),
        }
    }

    /// How many weights each parameter's average has seen, by path.
    pub(crate) fn seen<M: Module>(&self, model: &M) -> BTreeMap<String, u64> {
        let entries = list(model).into_iter();
        entries.filter_map(|entry| Some((entry.path, self.averages.get(&entry.id)?.seen))).collect()
    }

    /// All tensors under the names they are saved by.
    pub(crate) fn held<M: Module>(&self, model: &M) -> Vec<Held> {
        let mut tensors = vec![];
        for entry in list(model) {
            let averages = self.averages.get(&entry.id).into_iter().flat_map(|average| average.tensors.iter());
            tensors.extend(averages.enumerate().map(|(at, tensor)| named(format!("{at}.{}", entry.path), tensor)));
        }
        tensors
    }

    /// The same averager with the averages that were saved for `model`.
    pub(crate) fn with_saved<M: Module>(
        mut self,
        model: &M,
        saved: &Tensors,
        seen: &BTreeMap<String, u64>,
    ) -> Result<Self, CheckpointError> {
        let device = crate::train::plain_device(model);
        for entry in list(model) {
            let Some(seen) = seen.get(&entry.path).copied() else { continue };
            let kept = match self.config {
                Some(Averaging::Last { count, .. }) => seen.min(count as u64),
                _ => 1,
            };
            let tensors = (0..kept).map(|at| read(saved, format!("{at}.{}", entry.path), entry.size(), &device));
            let average = Average { tensors: tensors.collect::<Result<_, _>>()?, seen };
            self.averages.insert(entry.id, average);
        }
        Ok(self)
    }
}
