//! The optimizer's state on the host, by parameter path: how it is saved and restored.

use super::optimizer::{Moments, Optimizer};
use crate::checkpoint::{CheckpointError, Tensors, floats};
use crate::params::list;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// The state of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostMoments {
    pub(crate) path: String,
    pub(crate) steps: i32,
    tensors: Vec<(String, Vec<f32>)>,
}

impl HostMoments {
    /// All tensors under the names they are saved by.
    pub(crate) fn into_tensors(self) -> impl Iterator<Item = (String, Vec<usize>, Vec<f32>)> {
        self.tensors.into_iter().map(|(key, values)| (key, vec![values.len()], values))
    }
}

/// Values on the host.
pub(super) fn host(tensor: &Tensor<1>) -> Vec<f32> {
    floats(tensor.to_data())
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
    /// The state of every parameter of `model` that has any.
    pub(crate) fn moments<M: Module>(&self, model: &M) -> Vec<HostMoments> {
        let entries = list(model).into_iter().filter_map(|entry| Some((self.moments.get(&entry.id)?, entry)));
        entries
            .map(|(Moments { tensors, steps }, entry)| {
                let names = self.config.state(&entry.shape).into_iter().map(|(name, _)| key(name, &entry.path));
                let tensors = names.zip(tensors.iter().map(host)).collect();
                HostMoments { path: entry.path, steps: *steps, tensors }
            })
            .collect()
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
