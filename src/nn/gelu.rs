#[cfg(feature = "flex")]
use crate::kernel;
use burn::tensor::{Device, Tensor, activation};
use std::f64::consts::FRAC_1_SQRT_2;

/// Exact GELU, `x * Phi(x)` ([Hendrycks and Gimpel, 2016](https://arxiv.org/abs/1606.08415)); any shape, unchanged.
///
/// Burn 0.22's own has an exact backward pass on Flex only; elsewhere it is the derivative of the tanh approximation, with
/// errors up to 9e-4. Other devices therefore compose it, and autodiff derives each part exactly.
pub fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if kernel::covers(&input) {
        return kernel::activate(input, kernel::Curve::Normal);
    }
    if is_flex(&input.device()) {
        return activation::gelu(input);
    }
    let phi = ((input.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    input * phi
}

#[cfg(feature = "flex")]
pub(super) fn is_flex(device: &Device) -> bool {
    device.clone().inner() == Device::flex()
}

#[cfg(not(feature = "flex"))]
pub(super) fn is_flex(_: &Device) -> bool {
    false
}
