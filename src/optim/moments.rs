//! The optimizer's state by parameter path: how it is saved and restored.

use super::optimizer::{Moments, Optimizer};
use crate::checkpoint::{CheckpointError, Held, Tensors};
use crate::params::list;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// A tensor of one axis under a name.
pub(super) fn named(name: String, tensor: &Tensor<1>) -> Held {
    (name, tensor.dims().to_vec(), tensor.clone())
}

/// `[size]` values from a file.
pub(super) fn read(saved: &Tensors, key: String, size: usize, device: &Device) -> Result<Tensor<1>, CheckpointError> {
    let values = saved.finite_f32(&key)?;
    match values.len() == size {
        true => Ok(Tensor::from_data(TensorData::new(values, [size]), device)),
        false => Err(CheckpointError::WrongShape { key, expected: vec![size], found: vec![values.len()] }),
    }
}

fn key(name: &str, path: &str) -> String {
    format!("{name}.{path}")
}

impl Optimizer {
    /// The state of every parameter of `model` that has any, under the names it is saved by, and the updates that each
    /// parameter's has seen.
    pub(crate) fn moments<M: Module>(&self, model: &M) -> (Vec<Held>, BTreeMap<String, i32>) {
        let (mut held, mut seen) = (vec![], BTreeMap::new());
        for entry in list(model) {
            let Some(Moments { tensors, steps }) = self.moments.get(&entry.id) else { continue };
            let names = self.config.state(&entry.shape).into_iter().map(|(name, _)| key(name, &entry.path));
            held.extend(names.zip(tensors).map(|(name, tensor)| named(name, tensor)));
            seen.insert(entry.path, *steps);
        }
        (held, seen)
    }

    /// The same optimizer with the state that was saved for `model`.
    pub(crate) fn with_moments<M: Module>(
        mut self,
        model: &M,
        saved: &Tensors,
        steps: &BTreeMap<String, i32>,
    ) -> Result<Self, CheckpointError> {
        let device = crate::train::plain_device(model);
        for entry in list(model) {
            let Some(steps) = steps.get(&entry.path) else { continue };
            let state = self.config.state(&entry.shape).into_iter();
            let tensors = state.map(|(name, size)| read(saved, key(name, &entry.path), size, &device));
            let moments = Moments { tensors: tensors.collect::<Result<_, _>>()?, steps: *steps };
            self.moments.insert(entry.id, moments);
        }
        Ok(self)
    }
}
