//! Sums and norms over the gradients of a whole model.

use crate::params::list;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::collections::HashMap;

/// The L2 norm of each parameter's gradient, by path, in the model's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GradientNorms {
    /// Paths and norms.
    pub by_path: Vec<(String, f64)>,
}

impl GradientNorms {
    /// Reads the norms of all gradients in one transfer from the device.
    pub fn of<M: Module>(model: &M, gradients: &GradientsParams) -> Self {
        let mut squares = Squares { gradients, ids: vec![], sums: vec![] };
        model.visit(&mut squares);
        if squares.sums.is_empty() {
            return Self::default();
        }
        let sums = Tensor::cat(squares.sums, 0).into_data();
        let norms: HashMap<u64, f64> = squares.ids.into_iter().zip(sums.iter::<f64>().map(f64::sqrt)).collect();
        let by_path = list(model).into_iter().filter_map(|entry| Some((entry.path, *norms.get(&entry.id)?)));
        Self { by_path: by_path.collect() }
    }

    /// The norm over all parameters together.
    pub fn total(&self) -> f64 {
        self.by_path.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt()
    }

    /// The first parameter whose gradient is not finite.
    pub fn not_finite(&self) -> Option<&str> {
        self.by_path.iter().find(|(_, norm)| !norm.is_finite()).map(|(path, _)| path.as_str())
    }
}

/// The factor of `torch.nn.utils.clip_grad_norm_`: `max_norm / (norm + 1e-6)`, at most 1.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

/// The sum of squares, `[1]`.
pub(super) fn square_sum<const D: usize>(gradient: Tensor<D>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if crate::kernel::covers(&gradient) && !gradient.device().is_autodiff() {
        return crate::kernel::square_sum(gradient);
    }
    gradient.square().sum()
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    ids: Vec<u64>,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.ids.push(param.id.val());
            self.sums.push(square_sum(gradient));
        }
    }
}
