use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// A tensor that is kept with the parameters, in files too, and never trained: a table of fixed positions, a constant bias.
#[derive(Module, Debug)]
pub struct Buffer<const D: usize> {
    /// The values.
    pub weight: Param<Tensor<D>>,
}

impl<const D: usize> Buffer<D> {
    /// A buffer of these values, on the device that they are on.
    pub fn new(values: Tensor<D>) -> Self {
        Self { weight: Param::from_tensor(values).set_require_grad(false) }
    }

    /// The values, a constant of any graph.
    pub fn val(&self) -> Tensor<D> {
        self.weight.val().detach()
    }
}
