#[cfg(feature = "flex")]
use super::Update;
use super::optimizer::{State, Step, state_of};
#[cfg(feature = "flex")]
use crate::kernel;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// AdamW ([Loshchilov and Hutter, 2019](https://arxiv.org/abs/1711.05101)) with PyTorch's defaults and arithmetic. Burn
/// 0.22 computes `1 - beta^t` in float32, which sizes the first steps wrongly by up to 7e-6 of themselves, all in the same
/// direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdamW {
    /// Decay of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Divides by the root of the largest second moment so far instead of the present one.
    pub amsgrad: bool,
    /// Takes weight decay off the parameter; `false` adds it to the gradient, which is Adam.
    pub decoupled: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, amsgrad: false, decoupled: true }
    }
}

impl AdamW {
    pub(super) fn mend(&self) -> Option<&'static str> {
        let betas_mean_something = [self.betas.0, self.betas.1].iter().all(|beta| (0.0..1.0).contains(&(*beta as f32)));
        // Without eps, what had no gradient yet (an embedding row that no text uses) would become 0 / 0.
        let fine = betas_mean_something && self.eps as f32 > 0.0 && (self.eps as f32).is_finite();
        (!fine).then_some("give betas from 0 to below 1 and an eps above 0, as f32")
    }

    pub(super) fn step(&self, step: Step<'_>, old: State) -> (Tensor<1>, State) {
        let Step { values, gradient, scale, update, count, .. } = step;
        #[cfg(feature = "flex")]
        if self.decoupled && !self.amsgrad && kernel::covers(&values) && is_plain(&gradient) {
            let [first, second] = state_of(old, &gradient);
            let scalars = self.scalars(count, scale, update);
            let [values, first, second] = kernel::adamw(values, gradient, first, second, scalars);
            return (values, vec![first, second]);
        }
        let (beta_1, beta_2) = self.betas;
        let mut gradient = gradient * scale;
        if !self.decoupled {
            gradient = gradient + values.clone() * update.weight_decay;
        }
        let largest = old.get(2).cloned();
        let [first, second] = state_of(old.into_iter().take(2).collect(), &gradient);
        let first = first * beta_1 + gradient.clone() * (1.0 - beta_1);
        let second = second * beta_2 + gradient.square() * (1.0 - beta_2);
        let largest = self.amsgrad.then(|| match largest {
            Some(largest) => largest.max_pair(second.clone()),
            None => second.clone(),
        });
        let (correction_1, correction_2) = (1.0 - beta_1.powi(count), 1.0 - beta_2.powi(count));
        let root = largest.clone().unwrap_or_else(|| second.clone()).sqrt() / correction_2.sqrt() + self.eps;
        let change = first.clone() / root * (update.lr / correction_1);
        let decay = if self.decoupled { 1.0 - update.lr * update.weight_decay } else { 1.0 };
        (values * decay - change, [first, second].into_iter().chain(largest).collect())
    }

    /// The scalars of update number `count`, computed in f64 as PyTorch does.
    #[cfg(feature = "flex")]
    fn scalars(&self, count: i32, scale: f64, update: Update) -> kernel::Scalars {
        let (beta_1, beta_2) = self.betas;
        kernel::Scalars {
            scale: scale as f32,
            decay: (1.0 - update.lr * update.weight_decay) as f32,
            weight_1: (1.0 - beta_1) as f32,
            beta_2: beta_2 as f32,
            weight_2: (1.0 - beta_2) as f32,
            correction_root: (1.0 - beta_2.powi(count)).sqrt() as f32,
            epsilon: self.eps as f32,
            step: (update.lr / (1.0 - beta_1.powi(count))) as f32,
        }
    }
}

#[cfg(feature = "flex")]
fn is_plain(gradient: &Tensor<1>) -> bool {
    kernel::covers(gradient) && !gradient.device().is_autodiff()
}
