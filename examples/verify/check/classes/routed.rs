//! Mixtures of experts.

use crate::check::Result;
use crate::check::findings::Array;
use crate::check::inputs::Inputs;
use crate::check::task::{Named, Task, Traced};
use burn::tensor::Device;
use rekindle::backbone::{Backbone, Mixtral, MixtralConfig, RoutedFeatures, TextInput};
use rekindle::checkpoint::Checkpoint;
use rekindle::head::RoutedCausalLm;

impl Traced for Mixtral {
    fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<TextInput> {
        inputs.text(rows, device)
    }

    /// The states after the embeddings and every layer, the norm in place of the last, as in Transformers.
    fn trace(&self, input: TextInput) -> (Named, RoutedFeatures) {
        let mut state = self.embed(input);
        let mut hidden = vec![Array::of(state.text.hidden.clone())];
        for (index, stage) in self.stages().iter().enumerate().skip(1) {
            state = self.stage(index, state);
            if stage.with_head {
                hidden.pop();
            }
            hidden.push(Array::of(state.text.hidden.clone()));
        }
        let states = hidden.into_iter().enumerate();
        let mut named: Named = states.map(|(index, array)| (format!("hidden_states.{index}"), array)).collect();
        let features = self.finish(state);
        named.insert("last_hidden_state".into(), Array::of(features.text.hidden.clone()));
        (named, features)
    }
}

impl Task<Mixtral> for RoutedCausalLm {
    fn fresh(_: &Checkpoint, config: &MixtralConfig, device: &Device) -> Result<Self> {
        Ok(Mixtral::routed_lm(config, 0, device))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.int("labels", rows, device)
    }
    fn outputs((logits, balance): Self::Output) -> Vec<(&'static str, Array)> {
        let balance = balance.map(|balance| Array::scalar(balance.into_scalar::<f32>().into()));
        let named = [("logits", Some(Array::of(logits))), ("aux_loss", balance)];
        named.into_iter().filter_map(|(name, array)| Some((name, array?))).collect()
    }
}
