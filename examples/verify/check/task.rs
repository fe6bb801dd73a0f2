//! What is needed of a head and of a backbone so that Transformers' numbers can be compared with theirs.

use super::Result;
use super::case::Case;
use super::findings::Array;
use super::inputs::Inputs;
use burn::tensor::Device;
use rekindle::Model;
use rekindle::backbone::Pooling;
use rekindle::checkpoint::{Checkpoint, FromPretrained, Loaded};
use rekindle::head::TaskHead;
use serde_json::Value;
use std::collections::BTreeMap;

/// Outputs by Transformers' names.
pub(crate) type Named = BTreeMap<String, Array>;

/// A backbone whose intermediate results can be named as Transformers names them.
pub(crate) trait Traced: FromPretrained + 'static {
    /// Its input of some rows.
    fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Input>;

    /// Runs it stage by stage.
    fn trace(&self, input: Self::Input) -> (Named, Self::Features);

    /// The pooling of the bare body, as far as the file has the parameters for it.
    fn body_pooling(_config: &Self::Config, _keys: &[String]) -> Pooling {
        Pooling::Mean
    }
}

/// A head as a class of Transformers has it on a backbone.
pub(crate) trait Task<B: Traced>: TaskHead<B::Features> {
    /// The head that the class has instead for the problem of a checkpoint.
    fn instead(_checkpoint: &Checkpoint, _inputs: &Inputs) -> Option<Box<dyn Case>> {
        None
    }

    /// A head of the checkpoint's sizes.
    fn fresh(checkpoint: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self>;

    /// The pooling that the head reads.
    fn pooling(_config: &B::Config) -> Pooling {
        Pooling::Mean
    }

    /// Whether the batch holds what the loss compares with.
    fn has_targets(inputs: &Inputs) -> bool {
        inputs.has_labels()
    }

    /// Targets of some rows.
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets>;

    /// The outputs under Transformers' names, the main one first.
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)>;
}

/// The checkpoint's model, dropout as its configuration says.
pub(crate) fn load<B: Traced, H: Task<B>>(checkpoint: &Checkpoint, device: &Device) -> Result<Model<B, H>> {
    Ok(load_whole(checkpoint, &checkpoint.config::<B>()?, device)?.module)
}

/// The checkpoint's model without dropout, to train as Transformers does in `eval` mode.
pub(crate) fn load_still<B: Traced, H: Task<B>>(checkpoint: &Checkpoint, device: &Device) -> Result<Model<B, H>> {
    let given = checkpoint.config::<B>()?;
    let mut config = serde_json::to_value(&given)?;
    still(&mut config);
    // Without it, some heads have a dropout of their own.
    config[B::dropout_field(&given)] = 0.0.into();
    Ok(load_whole(checkpoint, &serde_json::from_value(config)?, device)?.module)
}

/// Sets every probability of dropout and of masking to 0.
fn still(config: &mut Value) {
    for (key, value) in config.as_object_mut().into_iter().flatten() {
        let is_dropout =
            ["dropout", "pdrop", "drop_path", "layerdrop", "jitter_noise", "mask_time_prob", "mask_feature_prob"]
                .iter()
                .any(|part| key.contains(part));
        if value.is_number() && is_dropout {
            *value = 0.0.into();
        }
        still(value);
    }
}

/// A model of this configuration, all of it from the checkpoint.
pub(crate) fn load_whole<B: Traced, H: Task<B>>(
    checkpoint: &Checkpoint,
    config: &B::Config,
    device: &Device,
) -> Result<Loaded<Model<B, H>>> {
    let head = H::fresh(checkpoint, config, device)?;
    let fresh = Model::new(B::build(config, H::pooling(config), 0, device), head);
    complete(checkpoint.model(&fresh)?)
}

/// The bare body, with a pooler where the file has one.
pub(crate) fn load_body<B: Traced>(checkpoint: &Checkpoint, device: &Device) -> Result<Loaded<B>> {
    let config = checkpoint.config::<B>()?;
    let keys = B::key_map(&config).normalise(checkpoint.tensors().keys())?;
    let keys: Vec<String> = keys.into_keys().collect();
    complete(checkpoint.backbone::<B>(B::body_pooling(&config, &keys), device)?)
}

/// Refuses what the file did not fill.
fn complete<M>(loaded: Loaded<M>) -> Result<Loaded<M>> {
    match loaded.report.reinitialised.as_slice() {
        [] => Ok(loaded),
        paths => Err(format!("the weights lack {}; nothing can be compared", paths.join(", ")).into()),
    }
}

/// The mean loss of some rows, without a graph.
pub(crate) fn loss<B: Traced, H: Task<B>>(
    model: &Model<B, H>,
    inputs: &Inputs,
    rows: &[usize],
    device: &Device,
) -> Result<f64> {
    let features = model.features(B::input(inputs, rows, device)?);
    let loss = model.head.loss(features, H::targets(inputs, rows, device)?);
    Ok(f64::from(loss.sum.into_scalar::<f32>()) / loss.weight)
}
