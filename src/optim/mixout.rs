//! Mixout ([Lee et al., 2020](https://arxiv.org/abs/1909.11299)): in each step, a weight is its starting value with
//! probability `p`.
//!
//! With `u` the starting weights, `m` a mask of 0 (probability `p`) and 1, the forward pass of a step reads
//! `((1 - m) * u + m * w - p * u) / (1 - p)`, whose mean is `w`. It equals `u + m / (1 - p) * (w - u)`, dropout of the way
//! from the start, which is how it is computed here. The slope of the loss by `w` is then `m / (1 - p)` times its slope by
//! what the forward pass reads. Evaluation reads `w`.

use crate::nn::Draw;
use crate::random::mix;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::collections::HashMap;

/// The masks of one step, by parameter id: the same for all of its micro-batches, so that accumulation adds up.
#[derive(Debug, Default)]
pub(crate) struct Mixout {
    /// Masks and starting weights, `[values]`.
    parameters: HashMap<u64, (Draw, Tensor<1>)>,
}

impl Mixout {
    /// Adds a parameter. Its mask is a function of the position (seed, epoch, step) and of its path.
    pub(crate) fn add(&mut self, id: u64, path: &str, position: &[u64], prob: f64, start: Tensor<1>) {
        let path = mix(&path.bytes().map(u64::from).collect::<Vec<_>>());
        let seed = mix(&[mix(position), 0x313D_0077, path]);
        self.parameters.insert(id, (Draw::new(seed, prob), start));
    }

    /// The weights that a forward pass reads, from a plain (not autodiff) model.
    pub(crate) fn mix<M: Module>(&self, model: M) -> M {
        model.map(&mut Mix(self))
    }

    /// Turns gradients by what the forward pass read into gradients by the weights.
    pub(crate) fn scale<M: Module>(&self, model: &M, gradients: &mut GradientsParams) {
        model.visit(&mut Scale(self, gradients));
    }
}

struct Mix<'a>(&'a Mixout);

impl ModuleMapper for Mix<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((draw, start)) = self.0.parameters.get(&param.id.val()) else { return param };
        param.map(|weights| {
            let start = start.clone().reshape(weights.shape());
            draw.apply(weights - start.clone()) + start
        })
    }
}

struct Scale<'a>(&'a Mixout, &'a mut GradientsParams);

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some((draw, _)) = self.0.parameters.get(&param.id.val()) else { return };
        if let Some(gradient) = self.1.remove::<D>(param.id) {
            self.1.register(param.id, draw.apply(gradient));
        }
    }
}

#[cfg(all(test, feature = "flex"))]
pub(super) mod tests {
    use super::*;
    use burn::module::ParamId;
    use burn::tensor::{Device, TensorData};
    use serde::Deserialize;

    /// What PyTorch computes; `tests/fixtures/README.md` says how.
    #[derive(Deserialize)]
    pub(in crate::optim) struct Reference {
        pub(in crate::optim) weights: Vec<f32>,
        pub(in crate::optim) start: Vec<f32>,
        pub(in crate::optim) l2_sp: Penalties,
        mixout: Mixed,
    }
    #[derive(Deserialize)]
    pub(in crate::optim) struct Penalties {
        pub(in crate::optim) strength: f64,
        pub(in crate::optim) to_start: Penalty,
        pub(in crate::optim) to_zero: Penalty,
    }
    #[derive(Deserialize)]
    pub(in crate::optim) struct Penalty {
        pub(in crate::optim) value: f64,
        pub(in crate::optim) gradient: Vec<f32>,
    }
    #[derive(Deserialize)]
    struct Mixed {
        probability: f64,
        kept: Vec<f32>,
        mixed: Vec<f32>,
        /// Of the loss by what the forward pass reads, and by the weights.
        upstream: Vec<f32>,
        gradient: Vec<f32>,
    }

    impl Reference {
        pub(in crate::optim) fn load() -> Self {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/regularisers.json");
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        }
    }

    pub(in crate::optim) fn layer(id: ParamId, values: &[f32], device: &Device) -> Param<Tensor<1>> {
        Param::initialized(id, Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device))
    }

    pub(in crate::optim) fn gradients_of(id: ParamId, values: &[f32], device: &Device) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        gradients.register(id, Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), device));
        gradients
    }

    pub(in crate::optim) fn read(gradients: &GradientsParams, id: ParamId) -> Vec<f32> {
        gradients.get::<1>(id).unwrap().into_data().iter::<f32>().collect()
    }

    fn near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found} {expected}");
        }
    }

    #[test]
    fn the_step_is_that_of_pytorch() {
        let Reference { weights, start, mixout: reference, .. } = Reference::load();
        let (id, device) = (ParamId::new(), Device::flex());
        let start = Tensor::from_data(TensorData::new(start, [weights.len()]), &device);
        let mut mixout = Mixout::default();
        mixout.add(id.val(), "backbone.layer.weight", &[1, 2, 3], reference.probability, start);
        // The reference was computed with the mask that this position gives.
        let mask = mixout.parameters[&id.val()].0.mask(weights.len());
        let kept: Vec<f32> = mask.iter().map(|value| f32::from(*value != 0.0)).collect();
        assert_eq!(kept, reference.kept);
        let mixed = mixout.mix(layer(id, &weights, &device));
        near(&mixed.val().into_data().iter::<f32>().collect::<Vec<_>>(), &reference.mixed);
        let mut gradients = gradients_of(id, &reference.upstream, &device);
        mixout.scale(&mixed, &mut gradients);
        near(&read(&gradients, id), &reference.gradient);
    }

    #[test]
    fn masks_depend_on_the_position_and_the_path_alone() {
        let (id, device) = (ParamId::new(), Device::flex());
        let mask = |position: &[u64], path: &str| {
            let mut mixout = Mixout::default();
            mixout.add(id.val(), path, position, 0.5, Tensor::zeros([64], &device));
            mixout.parameters[&id.val()].0.mask(64)
        };
        assert_eq!(mask(&[1, 2, 3], "a"), mask(&[1, 2, 3], "a"));
        assert_ne!(mask(&[1, 2, 3], "a"), mask(&[1, 2, 4], "a"));
        assert_ne!(mask(&[1, 2, 3], "a"), mask(&[1, 2, 3], "b"));
    }
}
