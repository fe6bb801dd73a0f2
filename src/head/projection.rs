use crate::nn::{Activation, Init, Linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// A linear map and an activation after it, on one vector a row: the `Dense` of sentence-transformers.
#[derive(Module, Debug)]
pub struct Projection {
    linear: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Projection {
    /// Fresh, initialised from `seed` as `torch.nn.Linear` is, with a bias or none.
    pub fn new([input, output]: [usize; 2], bias: bool, activation: Activation, seed: u64, device: &Device) -> Self {
        let mut linear = Init::new(seed ^ 0x0DE5_E001, 0.02, device).uniform_linear(input, output);
        linear.bias = linear.bias.filter(|_| bias);
        Self { linear, activation }
    }

    /// Its own activation.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Widths of what it reads and of what it gives.
    pub fn widths(&self) -> [usize; 2] {
        self.linear.weight.dims()
    }

    /// Whether it has a bias.
    pub fn has_bias(&self) -> bool {
        self.linear.bias.is_some()
    }

    /// `[rows, in]` to `[rows, out]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        self.activation.after(&self.linear, input)
    }
}
