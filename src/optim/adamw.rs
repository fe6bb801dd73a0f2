#[cfg(feature = "flex")]
use crate::kernel;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// AdamW's constants, with PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8 }
    }
}

/// How one parameter is updated in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decoupled weight decay ([Loshchilov and Hutter, 2019](https://arxiv.org/abs/1711.05101)).
    pub weight_decay: f64,
}

/// AdamW over exactly the parameters it is given updates for, with a rate and a decay a parameter. The arithmetic is
/// PyTorch's, whose scalars are float64: Burn 0.22 computes `1 - beta^t` in float32, which sizes the first steps wrongly
/// by up to 7e-6 of themselves, all in the same direction.
///
/// Moments exist for parameters that have been updated, and only for those.
#[derive(Clone, Default)]
pub struct Optimizer {
    config: AdamW,
    pub(super) moments: HashMap<u64, Moments>,
}

/// Running means of a parameter's gradient and of its square, each `[values]`, over `steps` updates.
#[derive(Clone)]
pub(super) struct Moments {
    pub(super) first: Tensor<1>,
    pub(super) second: Tensor<1>,
    pub(super) steps: i32,
}

impl std::fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Optimizer").field("config", &self.config).field("parameters", &self.moments.len()).finish()
    }
}

impl Optimizer {
    /// Without moments yet.
    pub fn new(config: AdamW) -> Self {
        Self { config, moments: HashMap::new() }
    }

    /// Whether it holds moments for the parameter with this id.
    pub fn holds(&self, id: u64) -> bool {
        self.moments.contains_key(&id)
    }

    /// Forgets the moments of all parameters that `keep` refuses: what is frozen again owns no memory.
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

    fn update(&mut self, id: ParamId, tensor: Tensor<1>, gradient: Tensor<1>, scale: f64, update: Update) -> Tensor<1> {
        let steps = self.moments.get(&id.val()).map_or(0, |moments| moments.steps) + 1;
        #[cfg(feature = "flex")]
        if kernel::covers(&tensor) && kernel::covers(&gradient) && !gradient.device().is_autodiff() {
            let scalars = self.config.scalars(steps, scale, update);
            let old = self.moments.remove(&id.val());
            let [first, second] = match old {
                Some(Moments { first, second, .. }) => [first, second],
                None => [gradient.zeros_like(), gradient.zeros_like()],
            };
            let [tensor, first, second] = kernel::adamw(tensor, gradient, first, second, scalars);
            self.moments.insert(id.val(), Moments { first, second, steps });
            return tensor;
        }
        let AdamW { betas: (beta_1, beta_2), eps } = self.config;
        let gradient = gradient * scale;
        let (fresh_1, fresh_2) = (gradient.clone() * (1.0 - beta_1), gradient.square() * (1.0 - beta_2));
        let (first, second) = match self.moments.remove(&id.val()) {
            None => (fresh_1, fresh_2),
            Some(Moments { first, second, .. }) => (first * beta_1 + fresh_1, second * beta_2 + fresh_2),
        };
        let (correction_1, correction_2) = (1.0 - beta_1.powi(steps), 1.0 - beta_2.powi(steps));
        let root = second.clone().sqrt() / correction_2.sqrt() + eps;
        let change = first.clone() / root * (update.lr / correction_1);
        self.moments.insert(id.val(), Moments { first, second, steps });
        tensor * (1.0 - update.lr * update.weight_decay) - change
    }
}

#[cfg(feature = "flex")]
impl AdamW {
    /// The scalars of update number `steps`, computed in f64 as PyTorch does.
    fn scalars(&self, steps: i32, scale: f64, update: Update) -> kernel::Scalars {
        let (beta_1, beta_2) = self.betas;
        kernel::Scalars {
            scale: scale as f32,
            decay: (1.0 - update.lr * update.weight_decay) as f32,
            weight_1: (1.0 - beta_1) as f32,
            beta_2: beta_2 as f32,
            weight_2: (1.0 - beta_2) as f32,
            correction_root: (1.0 - beta_2.powi(steps)).sqrt() as f32,
            epsilon: self.eps as f32,
            step: (update.lr / (1.0 - beta_1.powi(steps))) as f32,
        }
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
            let (tensor, gradient) = (tensor.reshape([size]), gradient.reshape([size]));
            self.optimizer.update(id, tensor, gradient, self.scale, *update).reshape(shape)
        })
    }
}
