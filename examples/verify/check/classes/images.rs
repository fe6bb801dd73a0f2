//! Backbones that read images, and heads that only they have.

use super::text::pooling;
use crate::check::Result;
use crate::check::findings::Array;
use crate::check::inputs::Inputs;
use crate::check::task::{Named, Task, Traced};
use burn::tensor::Device;
use rekindle::backbone::{
    Backbone, ConvNext, Dinov2, ImageInput, MapFeatures, MapState, PatchFeatures, PatchState, Pooled, Pooling, ResNet,
    Swin, Vit, VitConfig,
};
use rekindle::checkpoint::Checkpoint;
use rekindle::head::{TwoClassifiers, TwoTargets};

impl Traced for Vit {
    fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<ImageInput> {
        inputs.images(rows, device)
    }
    fn trace(&self, input: ImageInput) -> (Named, PatchFeatures) {
        let (mut named, features) = trace_patches(self, input);
        if features.pooling == Pooling::Pooler {
            named.insert("pooler_output".into(), Array::of(features.pooled()));
        }
        (named, features)
    }
    fn body_pooling(config: &VitConfig, keys: &[String]) -> Pooling {
        pooling::<Self>(config, keys)
    }
}

/// The state after embeddings and layers; the final norm's is `last_hidden_state` alone.
pub(super) fn trace_patches<B>(body: &B, input: ImageInput) -> (Named, PatchFeatures)
where
    B: Backbone<Input = ImageInput, State = PatchState, Features = PatchFeatures>,
{
    let mut named = Named::new();
    let mut state = body.embed(input);
    for (index, stage) in body.stages().iter().enumerate() {
        if index > 0 {
            state = body.stage(index, state);
        }
        if !stage.with_head {
            named.insert(format!("hidden_states.{index}"), Array::of(state.hidden.clone()));
        }
    }
    let features = body.finish(state);
    named.insert("last_hidden_state".into(), Array::of(features.hidden.clone()));
    (named, features)
}

impl Traced for Dinov2 {
    fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<ImageInput> {
        inputs.images(rows, device)
    }
    fn trace(&self, input: ImageInput) -> (Named, PatchFeatures) {
        let (mut named, features) = trace_patches(self, input);
        let class_token = features.hidden.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
        named.insert("pooler_output".into(), Array::of(class_token));
        (named, features)
    }
}

/// Backbones that make maps; `Layout` says how Transformers lays their states out.
macro_rules! traced {
    ($($backbone:ty: $layout:ident),* $(,)?) => {$(
        impl Traced for $backbone {
            fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<ImageInput> {
                inputs.images(rows, device)
            }
            fn trace(&self, input: ImageInput) -> (Named, MapFeatures) {
                trace_maps(self, input, Layout::$layout)
            }
        }
    )*};
}
traced!(ConvNext: Maps, ResNet: MapsAndSquare, Swin: Tokens);

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Maps `[batch, channels, height, width]`, pooled to `[batch, channels]`.
    Maps,
    /// The same, pooled to `[batch, channels, 1, 1]`.
    MapsAndSquare,
    /// Places in a row, `[batch, height * width, channels]`.
    Tokens,
}

/// The state after the embeddings and after each group of layers.
fn trace_maps<B>(body: &B, input: ImageInput, layout: Layout) -> (Named, MapFeatures)
where
    B: Backbone<Input = ImageInput, State = MapState, Features = MapFeatures>,
{
    let mut named = Named::new();
    let (mut state, stages) = (body.embed(input), body.stages());
    let group = |stage: usize| stages.get(stage).map(|stage| stage.name.split('.').take(3).collect::<Vec<_>>());
    let mut groups = 0;
    for index in 0..stages.len() {
        if index > 0 {
            state = body.stage(index, state);
        }
        if !stages[index].with_head && group(index) != group(index + 1) {
            let map = state.map.clone();
            let array = if layout == Layout::Tokens { Array::of(map.flatten::<3>(1, 2)) } else { Array::of(map) };
            named.insert(format!("hidden_states.{groups}"), array);
            groups += 1;
        }
    }
    let features = body.finish(state);
    let last = features.map.clone();
    let last = match layout {
        Layout::Tokens => Array::of(last.flatten::<3>(2, 3).swap_dims(1, 2)),
        _ => Array::of(last),
    };
    named.insert("last_hidden_state".into(), last);
    let pooled = features.pooled();
    let pooled = match layout {
        Layout::MapsAndSquare => Array::of(pooled.unsqueeze_dims::<4>(&[2, 3])),
        _ => Array::of(pooled),
    };
    named.insert("pooler_output".into(), pooled);
    (named, features)
}

impl Task<Vit> for TwoClassifiers {
    fn fresh(checkpoint: &Checkpoint, config: &VitConfig, device: &Device) -> Result<Self> {
        let map = <Vit as rekindle::checkpoint::FromPretrained>::key_map(config);
        let num_labels = super::heads::rows_of(checkpoint, &map, "head.cls.weight")?;
        Ok(Self::new(config.hidden_size, num_labels, 0, device))
    }
    fn pooling(_: &VitConfig) -> Pooling {
        Pooling::Cls
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<TwoTargets> {
        let labels = inputs.row_labels(rows, device)?;
        Ok(TwoTargets { teacher: labels.clone(), labels })
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        let logits = output.mean();
        vec![
            ("logits", Array::of(logits)),
            ("cls_logits", Array::of(output.cls)),
            ("distillation_logits", Array::of(output.distillation)),
        ]
    }
}
