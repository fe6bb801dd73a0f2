//! Backbones with an encoder and a decoder, and the heads that only they have.

use crate::check::Result;
use crate::check::findings::Array;
use crate::check::inputs::Inputs;
use crate::check::task::{Named, Task, Traced};
use burn::tensor::Device;
use rekindle::backbone::{
    Backbone, Bart, BartConfig, Seq2SeqFeatures, Seq2SeqInput, Seq2SeqState, SpeechInput, T5, T5Config, Whisper,
    WhisperConfig,
};
use rekindle::checkpoint::Checkpoint;
use rekindle::head::Seq2SeqLm;

macro_rules! pairs {
    ($($backbone:ty, $config:ty, $input:ty, $read:ident, $head:expr;)*) => {$(
        impl Traced for $backbone {
            fn input(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<$input> {
                inputs.$read(rows, device)
            }
            fn trace(&self, input: $input) -> (Named, Seq2SeqFeatures) {
                trace(self, input)
            }
        }

        impl Task<$backbone> for Seq2SeqLm {
            fn fresh(checkpoint: &Checkpoint, config: &$config, device: &Device) -> Result<Self> {
                $head(checkpoint, config, device)
            }
            fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
                inputs.int("labels", rows, device)
            }
            fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
                vec![("logits", Array::of(output))]
            }
        }
    )*};
}
pairs! {
    Bart, BartConfig, Seq2SeqInput, pair, |_, config, device| Ok(Bart::language_head(config, 0, device));
    T5, T5Config, Seq2SeqInput, pair, |checkpoint, _, device| Ok(T5::language_head_of(checkpoint, 0, device)?);
    Whisper, WhisperConfig, SpeechInput, speech, |_, config, device| Ok(Whisper::language_head(config, 0, device));
}

/// The state after every stage of each side; a side's final norm belongs to its last stage.
fn trace<B>(body: &B, input: B::Input) -> (Named, Seq2SeqFeatures)
where
    B: Backbone<State = Seq2SeqState, Features = Seq2SeqFeatures>,
{
    let (mut named, mut sides) = (Named::new(), [0, 0]);
    let mut state = body.embed(input);
    for (index, stage) in body.stages().iter().enumerate() {
        if index > 0 {
            state = body.stage(index, state);
        }
        let is_decoder = stage.name.starts_with("decoder");
        let side = &mut sides[usize::from(is_decoder)];
        let (name, hidden) = match &state.target.hidden {
            Some(hidden) if is_decoder => ("decoder", hidden.clone()),
            _ => ("encoder", state.source.hidden.clone()),
        };
        named.insert(format!("{name}_hidden_states.{side}"), Array::of(hidden));
        *side += 1;
    }
    let features = body.finish(state);
    named.insert("encoder_last_hidden_state".into(), Array::of(features.memory.clone()));
    named.insert("last_hidden_state".into(), Array::of(features.hidden.clone()));
    (named, features)
}
