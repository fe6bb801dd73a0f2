//! Clipping: bounds on single gradient values and on the norm of all gradients together.

use super::gradients::{GradientNorms, clip_factor};
use crate::nn::power;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The norm of all gradients together that is bounded; `norm_type` of `torch.nn.utils.clip_grad_norm_`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormType {
    /// The `p`-th root of the sum of `p`-th powers; 2 is the usual length. At least 1.
    P(f64),
    /// The largest absolute value.
    Max,
}

impl Default for NormType {
    fn default() -> Self {
        Self::P(2.0)
    }
}

impl NormType {
    pub(crate) fn is_norm(self) -> bool {
        matches!(self, Self::Max) || matches!(self, Self::P(p) if p >= 1.0 && p.is_finite())
    }

    /// The norm of all of a model's gradients together.
    pub fn of<M: Module>(self, model: &M, gradients: &GradientsParams) -> f64 {
        let p = match self {
            Self::P(2.0) => return GradientNorms::of(model, gradients).total(),
            Self::P(p) => p,
            Self::Max => return largest(model, gradients),
        };
        // Powers of values up to 1 cannot become infinite.
        let largest = largest(model, gradients);
        if largest == 0.0 || !largest.is_finite() {
            return largest;
        }
        let sums = each(model, gradients, &|gradient| power(gradient.abs() / largest, p).sum());
        largest * sums.iter().sum::<f64>().powf(p.recip())
    }
}

/// What a step does to its gradients before the optimizer sees them. Values are bounded first, then the norm of what that
/// leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clipping {
    /// Largest norm of all gradients together (`clip_grad_norm_`).
    pub norm: Option<f64>,
    /// Which norm.
    pub norm_type: NormType,
    /// Largest absolute value of each gradient (`clip_grad_value_`).
    pub value: Option<f64>,
}

impl Clipping {
    /// Clips the summed gradients of a step that weighs `weight`, as if they were divided by it. Gives the gradients and
    /// what is left to multiply them with. `length` is the L2 norm of the sums.
    pub fn apply<M: Module>(
        &self,
        model: &M,
        gradients: GradientsParams,
        length: f64,
        weight: f64,
    ) -> (GradientsParams, f64) {
        let (gradients, scale) = match self.value {
            None => (gradients, 1.0 / weight),
            Some(most) => (bounded(model, gradients, 1.0 / weight, most), 1.0),
        };
        let Some(max_norm) = self.norm else { return (gradients, scale) };
        let norm = match (self.value, self.norm_type) {
            (None, NormType::P(2.0)) => length,
            _ => self.norm_type.of(model, &gradients),
        };
        (gradients, scale * clip_factor(norm * scale, max_norm))
    }
}

/// The gradients times `scale`, cut off at `-most` and `most`.
fn bounded<M: Module>(model: &M, gradients: GradientsParams, scale: f64, most: f64) -> GradientsParams {
    struct Bound(GradientsParams, f64, f64);
    impl ModuleVisitor for Bound {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, (gradient * self.1).clamp(-self.2, self.2));
            }
        }
    }
    let mut bound = Bound(gradients, scale, most);
    model.visit(&mut bound);
    bound.0
}

fn largest<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    let largest = each(model, gradients, &|gradient| gradient.abs().max());
    largest.into_iter().fold(0.0, |most, value| if value.is_nan() { value } else { most.max(value) })
}

/// A figure `[1]` of every gradient, in one transfer from the device.
fn each<M: Module>(model: &M, gradients: &GradientsParams, figure: &dyn Fn(Tensor<1>) -> Tensor<1>) -> Vec<f64> {
    struct Each<'a>(&'a GradientsParams, &'a dyn Fn(Tensor<1>) -> Tensor<1>, Vec<Tensor<1>>);
    impl ModuleVisitor for Each<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                let size = gradient.shape().num_elements();
                self.2.push((self.1)(gradient.reshape([size])));
            }
        }
    }
    let mut each = Each(gradients, figure, vec![]);
    model.visit(&mut each);
    match each.2.is_empty() {
        true => vec![],
        false => Tensor::cat(each.2, 0).into_data().iter::<f64>().collect(),
    }
}
