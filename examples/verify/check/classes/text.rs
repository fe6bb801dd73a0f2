//! Backbones that read one text a row.

use crate::check::Result;
use crate::check::findings::Array;
use crate::check::inputs::Inputs;
use crate::check::task::{Named, Traced};
use burn::tensor::Device;
use rekindle::backbone::{AutoText, AutoTextConfig, Backbone, Pooling, TextFeatures, TextInput};
use rekindle::checkpoint::FromPretrained;

impl Traced for AutoText {
    fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<TextInput> {
        inputs.text(rows, device)
    }
    fn trace(&self, input: TextInput) -> (Named, TextFeatures) {
        trace(self, input)
    }
    fn body_pooling(config: &AutoTextConfig, keys: &[String]) -> Pooling {
        pooling::<Self>(config, keys)
    }
}

/// The pooler where the file has one.
pub(super) fn pooling<B: FromPretrained>(config: &B::Config, keys: &[String]) -> Pooling {
    let pooler = B::key_map(config).to_file("backbone.pooler.dense.weight");
    if pooler.is_some_and(|key| keys.contains(&key)) { Pooling::Pooler } else { Pooling::Mean }
}

/// The state after every stage: `hidden_states.0` is that of the embeddings, and a final norm's takes the place of the
/// last layer's, as in Transformers.
fn trace(body: &AutoText, input: TextInput) -> (Named, TextFeatures) {
    let mut hidden = vec![];
    let mut state = body.embed(input);
    for (index, stage) in body.stages().iter().enumerate() {
        if index > 0 {
            state = body.stage(index, state);
        }
        if stage.name.contains("pooler") {
            continue;
        }
        if stage.with_head {
            hidden.pop();
        }
        hidden.push(Array::of(state.hidden.clone()));
    }
    let states = hidden.into_iter().enumerate();
    let mut named: Named = states.map(|(index, array)| (format!("hidden_states.{index}"), array)).collect();
    let features = body.finish(state);
    named.insert("last_hidden_state".into(), Array::of(features.hidden.clone()));
    if let (Pooling::Pooler, Some(output)) = (features.pooling, &features.pooler_output) {
        named.insert("pooler_output".into(), Array::of(output.clone()));
    }
    (named, features)
}
