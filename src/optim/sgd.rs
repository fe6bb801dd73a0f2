use super::optimizer::{State, Step};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Stochastic gradient descent with PyTorch's defaults and arithmetic: weight decay is added to the gradient, and the first
/// momentum is the first gradient, undamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sgd {
    /// What the sum of past gradients is multiplied by in each step; 0 remembers nothing.
    pub momentum: f64,
    /// What a gradient loses on its way into the momentum.
    pub dampening: f64,
    /// Looks ahead ([Sutskever et al., 2013](http://proceedings.mlr.press/v28/sutskever13.html)).
    pub nesterov: bool,
}

impl Sgd {
    pub(super) fn mend(&self) -> Option<&'static str> {
        let Self { momentum, dampening, nesterov } = *self;
        if !(0.0..1.0).contains(&(momentum as f32)) || !(0.0..=1.0).contains(&dampening) {
            return Some("give a momentum from 0 to below 1 and a dampening from 0 to 1");
        }
        (nesterov && (momentum == 0.0 || dampening != 0.0)).then_some("nesterov needs a momentum and no dampening")
    }

    pub(super) fn step(&self, step: Step<'_>, old: State) -> (Tensor<1>, State) {
        let Step { values, gradient, scale, update, .. } = step;
        let mut gradient = gradient * scale;
        if update.weight_decay != 0.0 {
            gradient = gradient + values.clone() * update.weight_decay;
        }
        if self.momentum == 0.0 {
            return (values - gradient * update.lr, vec![]);
        }
        let momentum = match old.into_iter().next() {
            Some(old) => old * self.momentum + gradient.clone() * (1.0 - self.dampening),
            None => gradient.clone(),
        };
        let change = if self.nesterov { gradient + momentum.clone() * self.momentum } else { momentum.clone() };
        (values - change * update.lr, vec![momentum])
    }
}
