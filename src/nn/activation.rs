use super::{Linear, gelu, linear, linear_gelu};
#[cfg(feature = "flex")]
use crate::kernel::{self, Curve};
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// What a feed-forward layer applies between its two linear maps (`hidden_act`), by Transformers' names.
///
/// Some functions have several names. Each is a value of its own, so that a configuration is saved as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x * Phi(x)`, exactly.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// [`Gelu`](Self::Gelu) by another name.
    #[serde(rename = "gelu_python")]
    GeluPython,
    /// GELU, at least -10 and at most 10.
    #[serde(rename = "gelu_10")]
    ClippedGelu,
    /// The tanh approximation of GELU.
    #[serde(rename = "gelu_new")]
    GeluTanh,
    /// [`GeluTanh`](Self::GeluTanh) by another name.
    #[serde(rename = "gelu_pytorch_tanh")]
    GeluPytorchTanh,
    /// [`GeluTanh`](Self::GeluTanh) by another name.
    #[serde(rename = "gelu_python_tanh")]
    GeluPythonTanh,
    /// [`GeluTanh`](Self::GeluTanh) by another name.
    #[serde(rename = "gelu_fast")]
    GeluFast,
    /// [`GeluTanh`](Self::GeluTanh) by another name.
    #[serde(rename = "gelu_accurate")]
    GeluAccurate,
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
    #[serde(rename = "silu")]
    Silu,
    /// [`Silu`](Self::Silu) by another name.
    #[serde(rename = "swish")]
    Swish,
    /// `x * min(max(x + 3, 0), 6) / 6`.
    #[serde(rename = "hardswish")]
    HardSwish,
    /// `x * tanh(ln(1 + exp(x)))`.
    #[serde(rename = "mish")]
    Mish,
    /// `Phi((x - sqrt(1 / 2)) / 0.282095)` ([Ma et al., 2022](https://arxiv.org/abs/2209.10655)).
    #[serde(rename = "laplace")]
    Laplace,
    /// `1 / (1 + exp(-x))`.
    #[serde(rename = "sigmoid")]
    Sigmoid,
    /// The square root of `ln(1 + exp(x))`.
    #[serde(rename = "sqrtsoftplus")]
    SqrtSoftplus,
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
            Self::Gelu | Self::GeluPython => gelu(input),
            Self::ClippedGelu => gelu(input).clamp(-10.0, 10.0),
            Self::GeluTanh | Self::GeluPytorchTanh | Self::GeluPythonTanh | Self::GeluFast | Self::GeluAccurate => {
                activation::gelu_approximate(input)
            }
            Self::QuickGelu => input.clone() * activation::sigmoid(input * 1.702),
            Self::Relu => activation::relu(input),
            Self::ReluSquared => {
                let positive = activation::relu(input);
                positive.clone() * positive
            }
            Self::Relu6 => activation::relu(input).clamp_max(6.0),
            Self::LeakyRelu => activation::leaky_relu(input, 0.01),
            Self::Silu | Self::Swish => activation::silu(input),
            Self::HardSwish => input.clone() * (input + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::Mish => activation::mish(input),
            Self::Laplace => (((input - FRAC_1_SQRT_2) / (0.282095 * SQRT_2)).erf() + 1.0) * 0.5,
            Self::Sigmoid => activation::sigmoid(input),
            Self::SqrtSoftplus => activation::softplus(input, 1.0).sqrt(),
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
            Self::Gelu | Self::GeluPython => Some(Curve::Normal),
            Self::GeluTanh | Self::GeluPytorchTanh | Self::GeluPythonTanh | Self::GeluFast | Self::GeluAccurate => {
                Some(Curve::NormalByTanh)
            }
            Self::QuickGelu => Some(Curve::Logistic(1.702)),
            Self::Silu | Self::Swish => Some(Curve::Logistic(1.0)),
            _ => None,
        }
    }

    /// The activation of a linear layer's output, `[.., in]` to `[.., out]`.
    pub fn after<const D: usize>(self, layer: &Linear, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu | Self::GeluPython => linear_gelu(layer, input),
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
        let functions: [Function<'_>; 18] = [
            ("gelu_new", &tanh_gelu),
            ("gelu_pytorch_tanh", &tanh_gelu),
            ("gelu_python_tanh", &tanh_gelu),
            ("gelu_fast", &tanh_gelu),
            ("gelu_accurate", &tanh_gelu),
            ("quick_gelu", &|x| x * sigmoid(1.702 * x)),
            ("relu", &|x| x.max(0.0)),
            ("relu2", &|x| x.max(0.0).powi(2)),
            ("relu6", &|x| x.clamp(0.0, 6.0)),
            ("leaky_relu", &|x| if x < 0.0 { 0.01 * x } else { x }),
            ("silu", &|x| x * sigmoid(x)),
            ("swish", &|x| x * sigmoid(x)),
            ("hardswish", &|x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
            ("mish", &|x| x * (1.0 + x.exp()).ln().tanh()),
            ("sigmoid", &sigmoid),
            ("sqrtsoftplus", &|x| (1.0 + x.exp()).ln().sqrt()),
            ("tanh", &f64::tanh),
            ("linear", &|x| x),
        ];
        for (name, function) in functions {
            let places = [-3.0, -0.7, 0.0, 0.4, 2.5, 7.0];
            check(name, places, places.map(function));
        }
        // Of PyTorch's erf.
        let places = [-0.7, 0.4, 1.0, 12.0];
        check("gelu_python", places, [-0.1693746, 0.2621687, 0.8413447, 12.0000000]);
        check("gelu_10", places, [-0.1693746, 0.2621687, 0.8413447, 10.0000000]);
        check("laplace", places, [0.0000003, 0.1381508, 0.8504296, 1.0000000]);
    }

    fn check<const N: usize>(name: &str, places: [f64; N], expected: [f64; N]) {
        let activation: Activation = serde_json::from_value(name.into()).expect(name);
        let input = Tensor::<1>::from_data(places, &crate::nn::test_device());
        let output = activation.forward(input).into_data();
        output.assert_approx_eq::<f32>(&expected.into(), Tolerance::absolute(2e-6));
    }

    #[test]
    fn a_name_is_saved_as_it_was_read() {
        let names = [
            "gelu",
            "gelu_python",
            "gelu_new",
            "gelu_pytorch_tanh",
            "gelu_python_tanh",
            "gelu_fast",
            "gelu_accurate",
            "silu",
            "swish",
        ];
        for name in names {
            let activation: Activation = serde_json::from_value(name.into()).expect(name);
            assert_eq!(serde_json::to_value(activation).expect("a name"), name);
        }
    }
}
