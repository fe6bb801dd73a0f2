use burn::tensor::{Device, Tensor, activation};
use std::f64::consts::FRAC_1_SQRT_2;

/// `x * Phi(x)`, any shape ([Hendrycks and Gimpel, 2016](https://arxiv.org/abs/1606.08415)).
///
/// On every backend but Flex, Burn 0.22's own backward pass of it is that of the tanh approximation, which puts gradients
/// off by up to 4e-4 of their largest; there it is made from `erf`, whose derivative is exact.
pub fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    if is_flex(&input.device()) {
        return activation::gelu(input);
    }
    let twice_phi = (input.clone() * FRAC_1_SQRT_2).erf() + 1.0;
    input * 0.5 * twice_phi
}

fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return device.clone().inner() == Device::flex();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}
