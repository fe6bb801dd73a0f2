//! Gradients of the loss.

use super::findings::{Array, Row};
use super::inputs::Inputs;
use super::named::{file_keys, gradients, lookup, map_of};
use super::readme::{number_after, read};
use super::task::{Task, Traced, load_still};
use super::{Options, Result};
use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use rekindle::Model;
use rekindle::checkpoint::{Checkpoint, KeyMap, Tensors};
use std::collections::BTreeMap;
use std::path::Path;

/// Compares every gradient of the file; a parameter that it does not name must have none.
pub(crate) fn check<B: Traced, H: Task<B>>(
    checkpoint: &Checkpoint,
    inputs: &Inputs,
    path: &Path,
    options: &Options,
) -> Result<Vec<Row>> {
    let model = load_still::<B, H>(checkpoint, &options.device)?.train();
    let map = map_of(&model, &checkpoint.config::<B>()?)?;
    let mut ours = compute(&model, &map, inputs, options)?;
    let file = Tensors::open_file(path)?;
    let mut expected = BTreeMap::new();
    for (key, file_key) in file_keys(&map, file.keys())? {
        lookup(&ours, &key, &file)?;
        expected.insert(key, Array::read(&file, &file_key)?);
    }
    let largest = expected.values().map(Array::largest).fold(0.0, f64::max);
    let readme = read(checkpoint.folder());
    let stated = number_after(&readme, "Gradients of the float64 run differ by at most ");
    let floor = stated.map_or(1e-6 * largest, |spread| options.limits.spreads * spread);
    let floor = options.limits.gradient_floor.unwrap_or(floor);
    let mut rows = vec![];
    for (key, array) in &expected {
        let limit = floor.max(options.limits.gradient_ratio * array.largest());
        if let Some(ours) = ours.remove(key) {
            rows.push(Row::compare(format!("grad {key}"), &ours, array, limit));
        }
    }
    let unnamed = ours.into_iter().filter(|(_, array)| array.largest() != 0.0);
    rows.extend(unnamed.map(|(key, _)| Row::failed(format!("grad {key}"), "not in grads.safetensors".into())));
    Ok(rows)
}

/// Switches off what acts while training alone, such as a batch norm's own statistics: gradients are those of `eval` mode.
struct Evaluating;

impl ModuleMapper for Evaluating {
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag.with_value(false)
    }
}

fn compute<B: Traced, H: Task<B>>(
    model: &Model<B, H>,
    map: &KeyMap,
    inputs: &Inputs,
    options: &Options,
) -> Result<BTreeMap<String, Array>> {
    let (device, rows) = (&options.device, inputs.all());
    let model = model.clone().train().map(&mut Evaluating);
    let features = model.features(B::input(inputs, &rows, device)?);
    let loss = model.head.loss(features, H::targets(inputs, &rows, device)?);
    let mean = loss.sum / loss.weight;
    gradients(&model, map, &GradientsParams::from_grads(mean.backward(), &model))
}
