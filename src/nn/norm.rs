use super::Dropout;
#[cfg(feature = "flex")]
use crate::kernel;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Layer normalisation over the last axis ([Ba et al., 2016](https://arxiv.org/abs/1607.06450)).
///
/// Burn 0.22's own layer norm takes a fused path on the plain Flex device and a composed one under autodiff, which
/// differ in the last bits; this one is the same on both.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[hidden]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[hidden]`; none where the norm was made [`without_bias`](Self::without_bias).
    pub bias: Option<Param<Tensor<1>>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Scale 1 and shift 0, over an axis of `hidden_size`.
    pub fn new(hidden_size: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([hidden_size], device)),
            bias: Some(Param::from_tensor(Tensor::zeros([hidden_size], device))),
            epsilon,
        }
    }

    /// The same norm without a shift.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// The shift, 0 where there is none.
    fn shift(&self) -> Tensor<1> {
        match &self.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros(self.weight.dims(), &self.weight.val().device()),
        }
    }

    /// `[.., hidden]` to `[.., hidden]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.shift());
        #[cfg(feature = "flex")]
        if kernel::covers(&input) && kernel::covers(&weight) && kernel::covers(&bias) {
            return kernel::norm(input, weight, bias, self.epsilon);
        }
        let centred = input.clone() - input.mean_dim(D - 1);
        let variance = (centred.clone() * centred.clone()).mean_dim(D - 1);
        let normal = centred / (variance + self.epsilon).sqrt();
        normal * weight.unsqueeze() + bias.unsqueeze()
    }

    /// The norm of `residual + dropout(input)`, both `[.., hidden]`.
    pub fn forward_residual<const D: usize>(
        &self,
        input: Tensor<D>,
        residual: Tensor<D>,
        dropout: &Dropout,
    ) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if kernel::covers(&input) && kernel::covers(&residual) && kernel::covers(&self.weight.val()) {
            let (weight, bias) = (self.weight.val(), self.shift());
            return kernel::residual_norm(input, residual, dropout.draw(), weight, bias, self.epsilon);
        }
        self.forward(dropout.forward(input) + residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn without_bias_a_row_is_centred_and_scaled() {
        let device = crate::nn::test_device();
        let mut norm = LayerNorm::new(2, 1e-9, &device).without_bias();
        norm.weight = Param::from_tensor(Tensor::from_data([2.0, -3.0], &device));
        let output = norm.forward(Tensor::<2>::from_data([[1.0, 5.0]], &device)).into_data();
        output.assert_approx_eq::<f32>(&[[-2.0, -3.0]].into(), Tolerance::absolute(1e-6));
    }
}
