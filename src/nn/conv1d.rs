use super::Init;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, module::conv1d, ops::ConvOptions};

/// A convolution along the last axis, padded with zeros on both sides so that an odd kernel stands over every place.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[out, in / groups, kernel]`.
    pub weight: Param<Tensor<3>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
    stride: usize,
    groups: usize,
}

impl Conv1d {
    /// A fresh convolution of `[in, out, kernel]`, which moves by `stride` places.
    pub fn new([input, output, kernel]: [usize; 3], stride: usize, init: &mut Init) -> Self {
        let bias = Tensor::zeros([output], init.device());
        let weight = init.weight([output, input, kernel]);
        Self { weight, bias: Param::from_tensor(bias), stride: stride.max(1), groups: 1 }
    }

    /// The same weights, each group of outputs of which reads a group of inputs of its own: `groups` times as many inputs.
    pub fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// `[batch, in, places]` to `[batch, out, ceil(places / stride)]` for an odd kernel.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let [_, _, kernel] = self.weight.dims();
        let options = ConvOptions::new([self.stride], [kernel / 2], [1], self.groups);
        conv1d(input, self.weight.val(), Some(self.bias.val()), options)
    }
}
