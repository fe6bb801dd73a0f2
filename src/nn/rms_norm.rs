use super::Dropout;
#[cfg(feature = "flex")]
use crate::kernel;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Root mean square normalisation over the last axis ([Zhang and Sennrich, 2019](https://arxiv.org/abs/1910.07467)).
///
/// It gives the same bits on plain and autodiff devices.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale, `[hidden]`; what is added to 1 where the norm was made by [`from_one`](Self::from_one).
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
    base: f64,
}

impl RmsNorm {
    /// Scale 1, over an axis of `hidden_size`. `epsilon` is added to the mean square.
    pub fn new(hidden_size: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: Param::from_tensor(Tensor::ones([hidden_size], device)), epsilon, base: 0.0 }
    }

    /// A norm that multiplies by `1 + weight`, as Gemma's does; the weight starts at 0.
    pub fn from_one(hidden_size: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: Param::from_tensor(Tensor::zeros([hidden_size], device)), epsilon, base: 1.0 }
    }

    /// `[.., hidden]` to `[.., hidden]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if kernel::covers(&input) && kernel::covers(&self.weight.val()) {
            return kernel::rms_norm(input, self.weight.val(), self.fused());
        }
        let mean_square = (input.clone() * input.clone()).mean_dim(D - 1);
        let normal = input / (mean_square + self.epsilon).sqrt();
        let weight = self.weight.val();
        let scale = if self.base == 0.0 { weight } else { weight + self.base };
        normal * scale.unsqueeze()
    }

    /// `residual + dropout(input)`, both `[.., hidden]`, and the norm of this sum.
    pub fn forward_residual<const D: usize>(
        &self,
        input: Tensor<D>,
        residual: Tensor<D>,
        dropout: Option<&Dropout>,
    ) -> [Tensor<D>; 2] {
        #[cfg(feature = "flex")]
        if kernel::covers(&input) && kernel::covers(&residual) && kernel::covers(&self.weight.val()) {
            let draw = dropout.and_then(Dropout::draw);
            return kernel::residual_rms_norm(input, residual, draw, self.weight.val(), self.fused());
        }
        let input = match dropout {
            Some(dropout) => dropout.forward(input),
            None => input,
        };
        let sum = residual + input;
        [sum.clone(), self.forward(sum)]
    }

    #[cfg(feature = "flex")]
    fn fused(&self) -> kernel::RmsNorm {
        kernel::RmsNorm { epsilon: self.epsilon, base: self.base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn rows_are_divided_by_their_root_mean_square() {
        let device = crate::nn::test_device();
        let mut norm = RmsNorm::new(2, 0.5, &device);
        norm.weight = Param::from_tensor(Tensor::from_data([2.0, -1.0], &device));
        let input = Tensor::<2>::from_data([[3.0, 4.0], [0.0, 1.0]], &device);
        // sqrt((9 + 16) / 2 + 0.5) = sqrt(13); sqrt(1 / 2 + 0.5) = 1.
        let long = 13f32.sqrt();
        let expected = |scale: [f32; 2]| [[3.0 / long * scale[0], 4.0 / long * scale[1]], [0.0, scale[1]]];
        let output = norm.forward(input.clone()).into_data();
        output.assert_approx_eq::<f32>(&expected([2.0, -1.0]).into(), Tolerance::absolute(1e-6));
        let mut gemma = RmsNorm::from_one(2, 0.5, &device);
        gemma.weight = norm.weight;
        let output = gemma.forward(input).into_data();
        output.assert_approx_eq::<f32>(&expected([3.0, 0.0]).into(), Tolerance::absolute(1e-6));
    }
}
