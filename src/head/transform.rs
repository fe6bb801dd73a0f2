use crate::nn::{Activation, LayerNorm, Linear};
use burn::module::Module;
use burn::tensor::Tensor;

/// What some architectures put before a head's last map: a dense layer, an activation and a norm. BERT has it for masked
/// tokens, ModernBERT for every task.
#[derive(Module, Debug)]
pub struct Transform {
    pub(super) dense: Linear,
    norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

impl Transform {
    /// `dense` maps the features to the width of `norm`.
    pub fn new(dense: Linear, activation: Activation, norm: LayerNorm) -> Self {
        Self { dense, norm, activation }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        self.norm.forward(self.activation.after(&self.dense, hidden))
    }
}

/// `hidden` through the transform, if there is one.
pub(super) fn transformed<const D: usize>(transform: &Option<Transform>, hidden: Tensor<D>) -> Tensor<D> {
    match transform {
        Some(transform) => transform.forward(hidden),
        None => hidden,
    }
}
