//! Hidden states, logits and the loss.

use super::findings::{Array, Row};
use super::inputs::Inputs;
use super::task::{Architecture, Task, load, load_body, loss};
use super::{Options, Result};
use rekindle::backbone::{Backbone, Bert, Pooling, TextFeatures, TextInput};
use rekindle::checkpoint::{Checkpoint, Tensors};
use rekindle::head::{Classifier, MaskedLm, Pretraining};
use std::collections::BTreeMap;

type Named = BTreeMap<String, Array>;

/// Compares every tensor of `expected`.
pub(crate) fn check(
    checkpoint: &Checkpoint,
    architecture: Architecture,
    inputs: &Inputs,
    expected: &Tensors,
    options: &Options,
) -> Result<Vec<Row>> {
    let ours = match architecture {
        Architecture::Body => {
            let body = load_body(checkpoint, &options.device)?;
            let input = inputs.text(&inputs.all(), &options.device);
            body.check(&input)?;
            run_body(&body, input).0
        }
        Architecture::MaskedLm => run::<MaskedLm>(checkpoint, inputs, options)?,
        Architecture::Classifier => run::<Classifier>(checkpoint, inputs, options)?,
        Architecture::Pretraining => run::<Pretraining>(checkpoint, inputs, options)?,
    };
    compare_all(&ours, expected, options.limits.output)
}

/// Compares every tensor of `expected` with ours of the same name; one that we do not have is a failure.
pub(crate) fn compare_all(ours: &Named, expected: &Tensors, limit: f64) -> Result<Vec<Row>> {
    let row = |key: &str| match ours.get(key) {
        Some(array) => Ok(Row::compare(key, array, &Array::read(expected, key)?, limit)),
        None => {
            let known: Vec<&str> = ours.keys().map(String::as_str).collect();
            Ok(Row::failed(key, format!("nothing here computes it; known are {}", known.join(", "))))
        }
    };
    expected.keys().map(row).collect()
}

fn run<H: Task>(checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<Named> {
    let (device, rows) = (&options.device, inputs.all());
    let model = load::<H>(checkpoint, device)?;
    let input = inputs.text(&rows, device);
    model.backbone.check(&input)?;
    let (mut named, features) = run_body(&model.backbone, input);
    let outputs = H::outputs(model.head.forward(features));
    named.extend(outputs.into_iter().map(|(name, array)| (name.to_string(), array)));
    if inputs.has_labels() {
        named.insert("loss".into(), Array::scalar(loss(&model, inputs, &rows, device)?));
    }
    Ok(named)
}

/// The state after every stage that has one, and what the body ends with.
pub(crate) fn run_body(body: &Bert, input: TextInput) -> (Named, TextFeatures) {
    let mut named = Named::new();
    let mut state = body.embed(input);
    for (index, stage) in body.stages().iter().enumerate() {
        if index > 0 {
            state = body.stage(index, state);
        }
        // The pooler leaves the hidden states as they are.
        if stage.name != "pooler" {
            named.insert(format!("hidden_states.{index}"), Array::of(state.hidden.clone()));
        }
    }
    let features = body.finish(state);
    named.insert("last_hidden_state".into(), Array::of(features.hidden.clone()));
    if let (Pooling::Pooler, Some(output)) = (features.pooling, &features.pooler_output) {
        named.insert("pooler_output".into(), Array::of(output.clone()));
    }
    (named, features)
}
