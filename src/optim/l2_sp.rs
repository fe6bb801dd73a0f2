//! L2-SP ([Li et al., 2018](https://arxiv.org/abs/1802.01483)): a penalty on the way from the weights that training started
//! from, instead of one on the weights.

use super::gradients::square_sum;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::collections::HashMap;

/// Where a parameter is drawn to, and how strongly.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    /// The starting weights, `[values]`; `None` draws to 0.
    pub(crate) to: Option<Tensor<1>>,
    pub(crate) strength: f64,
}

/// The penalty, the sum of `strength / 2 * |w - to|^2` over the parameters that have a pull and a gradient. `scale` times
/// its gradient, `strength * (w - to)`, is added to `gradients`. The model is a plain (not autodiff) one.
pub(crate) fn l2_sp<M: Module>(
    model: &M,
    gradients: &mut GradientsParams,
    pulls: &HashMap<u64, Pull>,
    scale: f64,
) -> f64 {
    let mut penalty = Penalty { gradients, pulls, scale, strengths: vec![], squares: vec![] };
    model.visit(&mut penalty);
    if penalty.squares.is_empty() {
        return 0.0;
    }
    let squares = Tensor::cat(penalty.squares, 0).into_data();
    penalty.strengths.iter().zip(squares.iter::<f64>()).map(|(strength, square)| strength / 2.0 * square).sum()
}

struct Penalty<'a> {
    gradients: &'a mut GradientsParams,
    pulls: &'a HashMap<u64, Pull>,
    scale: f64,
    strengths: Vec<f64>,
    squares: Vec<Tensor<1>>,
}

impl ModuleVisitor for Penalty<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(Pull { to, strength }) = self.pulls.get(&param.id.val()) else { return };
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let weights = param.val();
        let apart = match to {
            Some(to) => weights.clone() - to.clone().reshape(weights.shape()),
            None => weights,
        };
        self.strengths.push(*strength);
        self.squares.push(square_sum(apart.clone()));
        self.gradients.register(param.id, gradient + apart * (strength * self.scale));
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::optim::mixout::tests::{Reference, gradients_of, layer, read};
    use burn::module::ParamId;

    #[test]
    fn value_and_gradient_are_those_of_pytorch() {
        let Reference { weights, start, l2_sp: expected, .. } = Reference::load();
        let (id, device) = (ParamId::new(), burn::tensor::Device::flex());
        let shape = [weights.len()];
        let model = layer(id, &weights, &device);
        let start = Tensor::from_data(burn::tensor::TensorData::new(start, shape), &device);
        for (to, reference) in [(Some(start), &expected.to_start), (None, &expected.to_zero)] {
            // Gradients are summed over a weight of 4, by which the trainer divides later.
            let mut gradients = gradients_of(id, &vec![0.5 * 4.0; weights.len()], &device);
            let pulls = HashMap::from([(id.val(), Pull { to, strength: expected.strength })]);
            let value = l2_sp(&model, &mut gradients, &pulls, 4.0);
            assert!((value - reference.value).abs() <= 1e-6 * reference.value, "{value} {}", reference.value);
            for (found, expected) in read(&gradients, id).iter().zip(&reference.gradient) {
                assert!((found / 4.0 - 0.5 - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}
