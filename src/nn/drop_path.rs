use super::Dropout;
use burn::module::Module;
use burn::tensor::Tensor;

/// Stochastic depth ([Huang et al., 2016](https://arxiv.org/abs/1603.09382)): while training, a row's whole branch is left
/// out with probability `prob`, and scaled by `1 / (1 - prob)` otherwise.
#[derive(Module, Debug)]
pub struct DropPath {
    rows: Dropout,
}

impl DropPath {
    /// Leaves a branch out with probability `prob`, clamped to `[0, 1)`.
    pub fn new(prob: f64) -> Self {
        Self { rows: Dropout::new(prob) }
    }

    /// `[batch, ..]`, unchanged.
    pub fn forward<const D: usize>(&self, branch: Tensor<D>) -> Tensor<D> {
        let Some(draw) = self.rows.draw() else { return branch };
        let mut shape = [1; D];
        shape[0] = branch.dims()[0];
        let kept = draw.apply(Tensor::ones(shape, &branch.device().inner()));
        branch * kept
    }
}
