use burn::nn::Linear;
use burn::tensor::Tensor;

/// Applies a linear layer to the last axis: `[.., in]` to `[.., out]`.
///
/// The leading axes are flattened first: on inputs of rank 3, Burn 0.22's `Linear::forward` makes one weight gradient a
/// row and then sums them, which is several times slower.
pub fn linear<const D: usize>(layer: &Linear, input: Tensor<D>) -> Tensor<D> {
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
