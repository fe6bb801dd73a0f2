//! The optimizer's moments on the host, by parameter path: how they are saved and restored.

use super::adamw::{Moments, Optimizer};
use crate::checkpoint::{CheckpointError, Tensors, floats};
use crate::params::list;
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// The moments of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostMoments {
    pub(crate) path: String,
    pub(crate) steps: i32,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl HostMoments {
    /// Both moments under the names they are saved by.
    pub(crate) fn into_tensors(self) -> [(String, Vec<usize>, Vec<f32>); 2] {
        let size = vec![self.first.len()];
        [(key("first", &self.path), size.clone(), self.first), (key("second", &self.path), size, self.second)]
    }
}

fn key(moment: &str, path: &str) -> String {
    format!("{moment}.{path}")
}

impl Optimizer {
    /// The moments of every parameter of `model` that has any.
    pub(crate) fn moments<M: Module>(&self, model: &M) -> Vec<HostMoments> {
        let host = |tensor: &Tensor<1>| floats(tensor.to_data());
        let entries = list(model).into_iter().filter_map(|entry| Some((self.moments.get(&entry.id)?, entry.path)));
        entries
            .map(|(Moments { first, second, steps }, path)| HostMoments {
                path,
                steps: *steps,
                first: host(first),
                second: host(second),
            })
            .collect()
    }

    /// The same optimizer with the moments that were saved for `model`.
    pub(crate) fn with_moments<M: Module>(
        mut self,
        model: &M,
        saved: &Tensors,
        steps: &BTreeMap<String, i32>,
    ) -> Result<Self, CheckpointError> {
        let device = crate::train::plain_device(model);
        for entry in list(model) {
            let Some(steps) = steps.get(&entry.path) else { continue };
            let read = |moment| -> Result<Tensor<1>, CheckpointError> {
                let key = key(moment, &entry.path);
                let values = saved.finite_f32(&key)?;
                match values.len() == entry.size() {
                    true => Ok(Tensor::from_data(TensorData::new(values, [entry.size()]), &device)),
                    false => {
                        let found = vec![values.len()];
                        Err(CheckpointError::WrongShape { key, expected: vec![entry.size()], found })
                    }
                }
            };
            let moments = Moments { first: read("first")?, second: read("second")?, steps: *steps };
            self.moments.insert(entry.id, moments);
        }
        Ok(self)
    }
}
