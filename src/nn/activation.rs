use super::{Linear, gelu, linear, linear_gelu};
#[cfg(feature = "flex")]
use crate::kernel::{self, Curve};
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// What a feed-forward layer applies between its two linear maps (`hidden_act`), by Transformers' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x * Phi(x)`, exactly.
    #[default]
    #[serde(rename = "gelu", alias = "gelu_python")]
    Gelu,
    /// The tanh approximation of GELU.
    #[serde(
        rename = "gelu_new",
        alias = "gelu_pytorch_tanh",
        alias = "gelu_python_tanh",
        alias = "gelu_fast",
        alias = "gelu_accurate"
    )]
    GeluTanh,
    /// GELU, from -10 to 10.
    #[serde(rename = "gelu_10")]
    ClippedGelu,
    /// `x * sigmoid(1.702 x)`, CLIP's approximation of GELU.
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// `max(x, 0)`.
    #[serde(rename = "relu")]
    Relu,
    /// `max(x, 0)` squared.
    #[serde(rename = "relu2")]
    ReluSquared,
    /// `max(x, 0)`, at most 6.
    #[serde(rename = "relu6")]
    Relu6,
    /// `x`, or `0.01 x` below 0.
    #[serde(rename = "leaky_relu")]
    LeakyRelu,
    /// `x * sigmoid(x)`.
    #[serde(rename = "silu", alias = "swish")]
    Silu,
    /// `x * tanh(ln(1 + exp(x)))`.
    #[serde(rename = "mish")]
    Mish,
    /// `x * min(max(x + 3, 0), 6) / 6`.
    #[serde(rename = "hardswish")]
    HardSwish,
    /// The normal distribution's share below `x`, of mean 0.707107 and deviation 0.282095.
    #[serde(rename = "laplace")]
    Laplace,
    /// The root of `ln(1 + exp(x))`.
    #[serde(rename = "sqrtsoftplus")]
    SqrtSoftplus,
    /// `1 / (1 + exp(-x))`.
    #[serde(rename = "sigmoid")]
    Sigmoid,
    /// The hyperbolic tangent.
    #[serde(rename = "tanh")]
    Tanh,
    /// `x`.
    #[serde(rename = "linear")]
    Linear,
}

impl Activation {
    /// Any shape, unchanged.
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if let Some(curve) = self.curve()
            && kernel::covers(&input)
        {
            return kernel::activate(input, curve);
        }
        match self {
            Self::Gelu => gelu(input),
            Self::GeluTanh => activation::gelu_approximate(input),
            Self::ClippedGelu => gelu(input).clamp(-10.0, 10.0),
            Self::QuickGelu => input.clone() * activation::sigmoid(input * 1.702),
            Self::Relu => activation::relu(input),
            Self::ReluSquared => {
                let positive = activation::relu(input);
                positive.clone() * positive
            }
            Self::Relu6 => activation::relu(input).clamp_max(6.0),
            Self::LeakyRelu => activation::leaky_relu(input, 0.01),
            Self::Silu => activation::silu(input),
            Self::Mish => activation::mish(input),
            Self::HardSwish => input.clone() * activation::relu(input + 3.0).clamp_max(6.0) / 6.0,
            Self::Laplace => (((input - FRAC_1_SQRT_2) / (0.282095 * SQRT_2)).erf() + 1.0) * 0.5,
            Self::SqrtSoftplus => activation::softplus(input, 1.0).sqrt(),
            Self::Sigmoid => activation::sigmoid(input),
            Self::Tanh => input.tanh(),
            Self::Linear => input,
        }
    }

    /// The activation of `gate`, times `up`; both of one shape.
    pub fn gate<const D: usize>(self, gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if let Some(curve) = self.curve()
            && kernel::covers(&gate)
            && kernel::covers(&up)
        {
            return kernel::gated(gate, up, curve);
        }
        self.forward(gate) * up
    }

    /// [`gate`](Self::gate) of the two halves of the last axis, the gate first: `[.., 2 * width]` to `[.., width]`.
    pub fn gate_halves<const D: usize>(self, both: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if let Some(curve) = self.curve()
            && kernel::covers(&both)
        {
            return kernel::gated_halves(both, curve);
        }
        let width = both.dims()[D - 1] / 2;
        self.gate(both.clone().narrow(D - 1, 0, width), both.narrow(D - 1, width, width))
    }

    /// What the fused operations call it.
    #[cfg(feature = "flex")]
    fn curve(self) -> Option<Curve> {
        match self {
            Self::Gelu => Some(Curve::Normal),
            Self::GeluTanh => Some(Curve::NormalByTanh),
            Self::QuickGelu => Some(Curve::Logistic(1.702)),
            Self::Silu => Some(Curve::Logistic(1.0)),
            _ => None,
        }
    }

    /// The activation of a linear layer's output, `[.., in]` to `[.., out]`.
    pub fn after<const D: usize>(self, layer: &Linear, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => linear_gelu(layer, input),
            _ => self.forward(linear(layer, input)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn each_name_gives_its_function() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let tanh_gelu = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865 * (x + 0.044715 * x.powi(3))).tanh());
        type Function<'a> = (&'a str, &'a dyn Fn(f64) -> f64);
        let functions: [Function<'_>; 16] = [
            ("gelu_new", &tanh_gelu),
            ("gelu_pytorch_tanh", &tanh_gelu),
            ("gelu_fast", &tanh_gelu),
            ("quick_gelu", &|x| x * sigmoid(1.702 * x)),
            ("hardswish", &|x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
            ("sqrtsoftplus", &|x| (1.0 + x.exp()).ln().sqrt()),
            ("relu", &|x| x.max(0.0)),
            ("relu2", &|x| x.max(0.0).powi(2)),
            ("relu6", &|x| x.clamp(0.0, 6.0)),
            ("leaky_relu", &|x| if x < 0.0 { 0.01 * x } else { x }),
            ("silu", &|x| x * sigmoid(x)),
            ("swish", &|x| x * sigmoid(x)),
            ("mish", &|x| x * (1.0 + x.exp()).ln().tanh()),
            ("sigmoid", &sigmoid),
            ("tanh", &f64::tanh),
            ("linear", &|x| x),
        ];
        let places = [-3.0, -0.7, 0.0, 0.4, 2.5, 7.0];
        for (name, function) in functions {
            let activation: Activation = serde_json::from_value(name.into()).expect(name);
            let input = Tensor::<1>::from_data(places, &crate::nn::test_device());
            let expected = places.map(function);
            let output = activation.forward(input).into_data();
            output.assert_approx_eq::<f32>(&expected.into(), Tolerance::absolute(2e-6));
        }
    }

    #[test]
    fn functions_of_the_normal_distribution_give_the_values_of_transformers() {
        let laplace = [0.0, 3.049_419e-7, 0.006_094_46, 0.138_150_78, 1.0, 1.0];
        let clipped = [-0.004_049_694, -0.169_374_56, 0.0, 0.262_168_7, 2.484_475_8, 10.0];
        for (activation, expected) in [(Activation::Laplace, laplace), (Activation::ClippedGelu, clipped)] {
            let input = Tensor::<1>::from_data([-3.0, -0.7, 0.0, 0.4, 2.5, 12.0], &crate::nn::test_device());
            let output = activation.forward(input).into_data();
            output.assert_approx_eq::<f32>(&expected.into(), Tolerance::absolute(1e-6));
        }
    }
}
