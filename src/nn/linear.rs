use super::gelu;
#[cfg(feature = "flex")]
use crate::kernel;
use burn::nn::Linear;
use burn::tensor::Tensor;

/// Applies a linear layer to the last axis: `[.., in]` to `[.., out]`.
///
/// The leading axes are flattened first: on inputs of rank 3, Burn 0.22's `Linear::forward` makes one weight gradient a
/// row and then sums them, which is several times slower.
pub fn linear<const D: usize>(layer: &Linear, input: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(output) = fused(layer, &input, false) {
        return output;
    }
    let mut shape = input.dims();
    let width = shape[D - 1];
    let rows = shape[..D - 1].iter().product::<usize>();
    let mut output = input.reshape([rows, width]).matmul(layer.weight.val());
    if let Some(bias) = &layer.bias {
        output = output + bias.val().unsqueeze();
    }
    shape[D - 1] = output.dims()[1];
    output.reshape(shape)
}

/// [`linear`] and then exact GELU: `[.., in]` to `[.., out]`.
pub fn linear_gelu<const D: usize>(layer: &Linear, input: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(output) = fused(layer, &input, true) {
        return output;
    }
    gelu(linear(layer, input))
}

#[cfg(feature = "flex")]
fn fused<const D: usize>(layer: &Linear, input: &Tensor<D>, gelu: bool) -> Option<Tensor<D>> {
    let weight = layer.weight.val();
    if !kernel::covers(input) || !kernel::covers(&weight) {
        return None;
    }
    match &layer.bias {
        Some(bias) if !kernel::covers(&bias.val()) => None,
        Some(bias) => Some(kernel::linear(input.clone(), weight, bias.val(), gelu)),
        None if gelu => None,
        None => Some(kernel::linear_without_bias(input.clone(), weight)),
    }
}
