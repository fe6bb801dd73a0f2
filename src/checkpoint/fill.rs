//! Fills a module's parameters from a file, one tensor at a time: no more of the file is in memory than one window.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

use super::error::CheckpointError;
use super::tensors::Tensors;

/// Which parameter, by its id, takes which tensor. Keys and shapes were checked.
#[derive(Debug, Default)]
pub(super) struct Plan(HashMap<u64, Place>);

#[derive(Debug)]
struct Place {
    key: String,
    /// Files keep a linear map as `[out, in]`, Burn as `[in, out]`.
    transposed: bool,
}

impl Plan {
    pub(super) fn add(&mut self, id: u64, key: &str, transposed: bool) {
        self.0.insert(id, Place { key: key.into(), transposed });
    }

    /// A copy of `module` with the values that the plan names, each of which is finite.
    pub(super) fn fill<M: Module>(self, module: &M, tensors: &Tensors) -> Result<M, CheckpointError> {
        let mut fill = Fill { tensors, places: self.0, error: None };
        let filled = module.clone().map(&mut fill);
        fill.error.map_or(Ok(filled), Err)
    }
}

struct Fill<'a> {
    tensors: &'a Tensors,
    places: HashMap<u64, Place>,
    error: Option<CheckpointError>,
}

impl Fill<'_> {
    fn read(&mut self, id: u64) -> Option<Vec<f32>> {
        let place = self.places.remove(&id).filter(|_| self.error.is_none())?;
        let values = match place.transposed {
            true => self.tensors.finite_transposed(&place.key),
            false => self.tensors.finite_f32(&place.key),
        };
        values.map_err(|error| self.error = Some(error)).ok()
    }
}

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(values) = self.read(param.id.val()) else { return param };
        let tensor = Tensor::from_data(TensorData::new(values, param.lazy_shape()), &param.lazy_device());
        match param.is_initialized() {
            true => param.map(|_| tensor),
            // Mapping a parameter that has no value yet would first make the one that is replaced.
            false => Param::initialized(param.id, tensor).set_require_grad(true),
        }
    }
}
