//! Hidden states, logits and the loss.

use super::findings::{Array, Row};
use super::inputs::Inputs;
use super::task::{Named, Task, Traced, load, loss};
use super::{Options, Result};
use rekindle::checkpoint::{Checkpoint, Tensors};

/// Compares every tensor of `expected` with ours of the same name; one that we do not have is a failure.
pub(crate) fn compare_all(ours: &Named, expected: &Tensors, limit: f64) -> Result<Vec<Row>> {
    let row = |key: &str| match ours.get(key) {
        Some(array) => {
            let mut expected = Array::read(expected, key)?;
            // DeBERTa's classifier drops its last axis where that is one number which is learned.
            if array.shape.strip_suffix(&[1]) == Some(&expected.shape[..]) {
                expected.shape.push(1);
            }
            Ok(Row::compare(key, array, &expected, limit))
        }
        None => {
            let known: Vec<&str> = ours.keys().map(String::as_str).collect();
            Ok(Row::failed(key, format!("nothing here computes it; known are {}", known.join(", "))))
        }
    };
    expected.keys().map(row).collect()
}

/// Everything that backbone and head make of a batch.
pub(crate) fn run<B: Traced, H: Task<B>>(checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<Named> {
    let (device, rows) = (&options.device, inputs.all());
    let model = load::<B, H>(checkpoint, device)?;
    let input = B::input(inputs, &rows, device)?;
    model.backbone.check(&input)?;
    let (mut named, _) = model.backbone.trace(input.clone());
    let outputs = H::outputs(model.forward(input));
    named.extend(outputs.into_iter().map(|(name, array)| (name.to_string(), array)));
    if H::has_targets(inputs) {
        named.insert("loss".into(), Array::scalar(loss(&model, inputs, &rows, device)?));
    }
    Ok(named)
}
