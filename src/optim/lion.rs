use super::optimizer::{State, Step};
use burn::optim::{LionConfig, LionState, Optimizer as _};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Lion ([Chen et al., 2023](https://arxiv.org/abs/2302.06675)): steps of the size of the rate in the direction of the sign
/// of a momentum, with decoupled weight decay. It wants a rate 3 to 10 times smaller than AdamW's and a decay that much
/// larger. The arithmetic is Burn's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lion {
    /// What the momentum weighs in a step, and what it keeps of itself after it.
    pub betas: (f64, f64),
}

impl Default for Lion {
    fn default() -> Self {
        Self { betas: (0.9, 0.99) }
    }
}

impl Lion {
    pub(super) fn mend(&self) -> Option<&'static str> {
        let fine = [self.betas.0, self.betas.1].iter().all(|beta| (0.0..1.0).contains(&(*beta as f32)));
        (!fine).then_some("give betas from 0 to below 1, as f32")
    }

    pub(super) fn step(&self, step: Step<'_>, old: State) -> (Tensor<1>, State) {
        let Step { values, gradient, scale, update, .. } = step;
        let lion = LionConfig::new()
            .with_beta_1(self.betas.0 as f32)
            .with_beta_2(self.betas.1 as f32)
            .with_weight_decay(update.weight_decay as f32)
            .build();
        let old = old.into_iter().next().map(|momentum| LionState { momentum });
        let (values, state) = lion.step(update.lr, values, gradient * scale, old);
        (values, state.into_iter().map(|state| state.momentum).collect())
    }
}
