//! Parameters and gradients under the names and in the layout of files.

use super::Result;
use super::findings::Array;
use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use rekindle::Model;
use rekindle::backbone::Backbone;
use rekindle::checkpoint::{FromPretrained, KeyMap, Tensors};
use rekindle::params::Inventory;
use std::collections::{BTreeMap, HashMap};

/// The key map for a model as it is.
pub(crate) fn map_of<B: FromPretrained, H: Module + ModuleDisplay>(
    model: &Model<B, H>,
    config: &B::Config,
) -> Result<KeyMap> {
    let entries = Inventory::of(model)?.entries;
    Ok(B::key_map(config).of_module(entries.iter().map(|entry| entry.path.as_str())))
}

/// Every parameter by its key.
pub(crate) fn parameters<B: Backbone, H: Module + ModuleDisplay>(
    model: &Model<B, H>,
    map: &KeyMap,
) -> Result<BTreeMap<String, Array>> {
    collect(model, map, None)
}

/// The gradients that there are, by the key of their parameter.
pub(crate) fn gradients<B: Backbone, H: Module + ModuleDisplay>(
    model: &Model<B, H>,
    map: &KeyMap,
    gradients: &GradientsParams,
) -> Result<BTreeMap<String, Array>> {
    collect(model, map, Some(gradients))
}

/// The key that a parameter has in files.
pub(crate) fn key_of(map: &KeyMap, path: &str) -> Result<String> {
    map.to_file(path).ok_or_else(|| format!("`{path}` has no key in files").into())
}

/// A file's parameters, from our key to the file's; a tied copy stands for its original.
pub(crate) fn file_keys<'a>(map: &KeyMap, keys: impl IntoIterator<Item = &'a str>) -> Result<Vec<(String, String)>> {
    let original = |key: String| {
        let tied = map.tied_keys().iter().find(|(copy, _)| *copy == key);
        tied.map_or(key, |(_, original)| original.clone())
    };
    let keys: Vec<&str> = keys.into_iter().collect();
    // A file of a few parameters may hold none of the body, and so no key with its prefix, but is not one of a bare body.
    let normal = match keys.iter().all(|key| !map.to_paths(key).is_empty()) {
        true => keys.into_iter().map(|key| (key.to_string(), key.to_string())).collect(),
        false => map.normalise(keys)?,
    };
    Ok(normal.into_iter().map(|(key, file_key)| (original(key), file_key)).collect())
}

/// What a file says of a parameter that the model has.
pub(crate) fn lookup<'a>(ours: &'a BTreeMap<String, Array>, key: &str, file: &Tensors) -> Result<&'a Array> {
    let unknown = || format!("`{}` holds `{key}`, which the model does not have", file.path().display());
    Ok(ours.get(key).ok_or_else(unknown)?)
}

struct Collector<'a> {
    /// Reads gradients where there are some, else the parameters themselves.
    gradients: Option<&'a GradientsParams>,
    values: HashMap<u64, Vec<f32>>,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            Some(gradients) => gradients.get::<D>(param.id),
            None => Some(param.val()),
        };
        if let Some(tensor) = tensor {
            self.values.insert(param.id.val(), tensor.into_data().iter::<f32>().collect());
        }
    }
}

fn collect<B: Backbone, H: Module + ModuleDisplay>(
    model: &Model<B, H>,
    map: &KeyMap,
    gradients: Option<&GradientsParams>,
) -> Result<BTreeMap<String, Array>> {
    let mut collector = Collector { gradients, values: HashMap::new() };
    model.visit(&mut collector);
    let mut named = BTreeMap::new();
    for entry in Inventory::of(model)?.entries {
        let Some(values) = collector.values.remove(&entry.id) else { continue };
        let array = match (entry.is_linear && map.transposes(&entry.path), entry.shape.as_slice()) {
            (true, [rows, columns]) => transposed(&values, *rows, *columns),
            _ => Array { shape: map.stored_shape(&entry.path, &entry.shape), values },
        };
        named.insert(key_of(map, &entry.path)?, array);
    }
    Ok(named)
}

/// A linear map is `[in, out]` in memory and `[out, in]` in files.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Array {
    let values = (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column]));
    Array { shape: vec![columns, rows], values: values.collect() }
}
