//! Gradients of the loss.

use super::findings::{Array, Row};
use super::inputs::Inputs;
use super::named::{file_keys, gradients, lookup};
use super::readme::number_after;
use super::task::{Architecture, Task, load_still};
use super::{Options, Result};
use burn::module::Module;
use burn::optim::GradientsParams;
use rekindle::backbone::Backbone;
use rekindle::checkpoint::{Checkpoint, Tensors};
use rekindle::head::{Classifier, MaskedLm, Pretraining};
use std::collections::BTreeMap;
use std::path::Path;

/// Compares every gradient of the file; a parameter that it does not name must have none.
pub(crate) fn check(
    checkpoint: &Checkpoint,
    architecture: Architecture,
    inputs: &Inputs,
    path: &Path,
    readme: &str,
    options: &Options,
) -> Result<Vec<Row>> {
    let mut ours = match architecture {
        Architecture::Body => return Err(architecture.no_loss()),
        Architecture::MaskedLm => compute::<MaskedLm>(checkpoint, inputs, options)?,
        Architecture::Classifier => compute::<Classifier>(checkpoint, inputs, options)?,
        Architecture::Pretraining => compute::<Pretraining>(checkpoint, inputs, options)?,
    };
    let file = Tensors::open_file(path)?;
    let mut expected = BTreeMap::new();
    for (key, file_key) in file_keys(file.keys())? {
        lookup(&ours, &key, &file)?;
        expected.insert(key, Array::read(&file, &file_key)?);
    }
    let largest = expected.values().map(Array::largest).fold(0.0, f64::max);
    let stated = number_after(readme, "Gradients of the float64 run differ by at most ");
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

fn compute<H: Task>(checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<BTreeMap<String, Array>> {
    let (device, rows) = (&options.device, inputs.all());
    let model = load_still::<H>(checkpoint, device)?.train();
    let features = model.backbone.forward(inputs.text(&rows, device));
    let loss = model.head.loss(features, H::targets(inputs, &rows, device)?);
    let mean = loss.sum / loss.weight;
    gradients(&model, &GradientsParams::from_grads(mean.backward(), &model))
}
