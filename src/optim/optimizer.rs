//! The optimizer of a run: which update, and what it remembers of each parameter.

use super::{Adafactor, AdamW, Lion, Sgd};
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which optimizer, with its constants. Rates and weight decay come from [`Rates`](crate::params::Rates).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Adam with decoupled weight decay, the usual choice; also Adam itself.
    #[serde(rename = "adamw")]
    AdamW(AdamW),
    /// Stochastic gradient descent, with momentum.
    Sgd(Sgd),
    /// Adam with next to no memory.
    Adafactor(Adafactor),
    /// The sign of a momentum.
    Lion(Lion),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        AdamW::default().into()
    }
}

macro_rules! from {
    ($($name:ident),*) => {$(
        impl From<$name> for OptimizerConfig {
            fn from(config: $name) -> Self {
                Self::$name(config)
            }
        }
    )*};
}
from!(AdamW, Sgd, Adafactor, Lion);

impl OptimizerConfig {
    /// What to do about constants that mean nothing; `None` where they do.
    pub(crate) fn mend(&self) -> Option<&'static str> {
        match self {
            Self::AdamW(config) => config.mend(),
            Self::Sgd(config) => config.mend(),
            Self::Adafactor(config) => config.mend(),
            Self::Lion(config) => config.mend(),
        }
    }

    /// Whether it multiplies the learning rate with one of its own.
    pub(crate) fn sets_rate(&self) -> bool {
        matches!(self, Self::Adafactor(Adafactor { relative_step: true, .. }))
    }

    /// How many values are remembered of a parameter of this shape.
    pub(crate) fn state_values(&self, shape: &[usize]) -> usize {
        self.state(shape).iter().map(|(_, size)| size).sum()
    }

    /// Names and sizes of what is remembered of a parameter of this shape.
    pub(super) fn state(&self, shape: &[usize]) -> Vec<(&'static str, usize)> {
        let size = shape.iter().product();
        let named = |names: &[&'static str]| names.iter().map(|name| (*name, size)).collect();
        match self {
            Self::AdamW(AdamW { amsgrad: false, .. }) => named(&["first", "second"]),
            Self::AdamW(AdamW { amsgrad: true, .. }) => named(&["first", "second", "largest"]),
            Self::Sgd(Sgd { momentum: 0.0, .. }) => vec![],
            Self::Sgd(_) | Self::Lion(_) => named(&["first"]),
            Self::Adafactor(config) => config.state(shape),
        }
    }
}

/// How one parameter is updated in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate of this step.
    pub lr: f64,
    /// Weight decay: decoupled ([Loshchilov and Hutter, 2019](https://arxiv.org/abs/1711.05101)), but for SGD and Adam,
    /// which add it to the gradient.
    pub weight_decay: f64,
}

/// One parameter in a step. Values are flat, `[values]`.
pub(super) struct Step<'a> {
    pub(super) values: Tensor<1>,
    pub(super) gradient: Tensor<1>,
    /// What the gradient is multiplied by first.
    pub(super) scale: f64,
    pub(super) shape: &'a [usize],
    pub(super) update: Update,
    /// Updates of this parameter, this one included.
    pub(super) count: i32,
}

/// What is remembered of a parameter, in the order of [`OptimizerConfig::state`].
pub(super) type State = Vec<Tensor<1>>;

/// The state as an array; zeros where there is none yet.
pub(super) fn state_of<const N: usize>(old: State, like: &Tensor<1>) -> [Tensor<1>; N] {
    old.try_into().unwrap_or_else(|_| std::array::from_fn(|_| like.zeros_like()))
}

/// An optimizer over exactly the parameters it is given updates for, with a rate and a decay a parameter. The arithmetic
/// is that of PyTorch and Transformers, whose scalars are float64.
///
/// State exists for parameters that have been updated, and only for those.
#[derive(Clone, Default)]
pub struct Optimizer {
    pub(super) config: OptimizerConfig,
    pub(super) moments: HashMap<u64, Moments>,
}

/// The state of one parameter after `steps` updates.
#[derive(Clone)]
pub(super) struct Moments {
    pub(super) tensors: State,
    pub(super) steps: i32,
}

impl std::fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Optimizer").field("config", &self.config).field("parameters", &self.moments.len()).finish()
    }
}

impl Optimizer {
    /// Without state yet.
    pub fn new(config: impl Into<OptimizerConfig>) -> Self {
        Self { config: config.into(), moments: HashMap::new() }
    }

    /// Whether it holds state for the parameter with this id.
    pub fn holds(&self, id: u64) -> bool {
        self.moments.contains_key(&id)
    }

    /// Forgets the state of all parameters that `keep` refuses: what is frozen again owns no memory.
    pub fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.moments.retain(|id, _| keep(*id));
    }

    /// Updates a plain (not autodiff) model. `gradients` are multiplied by `scale` first: clipping, and the division by
    /// the weight of the step. Parameters without an update keep their very tensors.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: GradientsParams,
        updates: &HashMap<u64, Update>,
        scale: f64,
    ) -> M {
        model.map(&mut Stepper { optimizer: self, gradients, updates, scale })
    }

    fn update(&mut self, id: ParamId, step: Step<'_>) -> Tensor<1> {
        let old = self.moments.remove(&id.val());
        let steps = old.as_ref().map_or(0, |moments| moments.steps) + 1;
        let old = old.map_or_else(State::new, |moments| moments.tensors);
        let step = Step { count: steps, ..step };
        let (values, tensors) = match &self.config {
            OptimizerConfig::AdamW(config) => config.step(step, old),
            OptimizerConfig::Sgd(config) => config.step(step, old),
            OptimizerConfig::Adafactor(config) => config.step(step, old),
            OptimizerConfig::Lion(config) => config.step(step, old),
        };
        if !tensors.is_empty() {
            self.moments.insert(id.val(), Moments { tensors, steps });
        }
        values
    }
}

struct Stepper<'a> {
    optimizer: &'a mut Optimizer,
    gradients: GradientsParams,
    updates: &'a HashMap<u64, Update>,
    scale: f64,
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        let Some(update) = self.updates.get(&id.val()) else { return param };
        let Some(gradient) = self.gradients.remove::<D>(id) else { return param };
        param.map(|tensor| {
            let shape = tensor.shape();
            let size = shape.num_elements();
            let (values, gradient) = (tensor.reshape([size]), gradient.reshape([size]));
            let (scale, dims) = (self.scale, shape.as_slice().to_vec());
            let step = Step { values, gradient, scale, shape: &dims, update: *update, count: 0 };
            self.optimizer.update(id, step).reshape(shape)
        })
    }
}
