use super::Init;
use burn::module::{Module, Param};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Tensor, module};

/// A convolution with a square window, padded so that stride 1 keeps the size: `size / 2` on every side.
#[derive(Module, Debug)]
pub struct Conv {
    /// `[out, in / groups, size, size]`, as files have it.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    stride: usize,
    groups: usize,
}

impl Conv {
    /// A fresh one from `input` to `output` channels, without bias; its weights deviate by `sqrt(2 / (output size^2))`, which
    /// keeps the gradient's scale under ReLU ([He et al., 2015](https://arxiv.org/abs/1502.01852)).
    pub fn new(input: usize, output: usize, size: usize, stride: usize, init: &mut Init) -> Self {
        let deviation = (2.0 / (output * size * size).max(1) as f64).sqrt();
        Self { weight: init.weight_of([output, input, size, size], deviation), bias: None, stride, groups: 1 }
    }

    /// A fresh one in which each channel is convolved on its own, with bias.
    pub fn depthwise(channels: usize, size: usize, init: &mut Init) -> Self {
        let bias = Param::from_tensor(Tensor::zeros([channels], init.device()));
        Self { weight: init.weight([channels, 1, size, size]), bias: Some(bias), stride: 1, groups: channels }
    }

    /// `[batch, in, height, width]` to `[batch, out, height / stride, width / stride]`, rounded up.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let pad = weight.dims()[2] / 2;
        let bias = self.bias.as_ref().map(Param::val);
        let options = ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], self.groups);
        module::conv2d(input, weight, bias, options)
    }
}

/// The largest value of each square window; `[batch, channels, height, width]` to
/// `[batch, channels, height / stride, width / stride]`, rounded up for a window of odd `size`.
pub fn max_pool(input: Tensor<4>, size: usize, stride: usize) -> Tensor<4> {
    let mut options = MaxPoolOptions::new([size; 2]);
    (options.stride, options.padding) = ([stride; 2], [(size / 2, size / 2); 2]);
    module::max_pool2d(input, options)
}
