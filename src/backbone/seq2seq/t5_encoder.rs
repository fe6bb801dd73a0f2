//! T5's encoder alone.

use super::T5Config;
use super::t5::PRETRAINED_LENGTH;
use super::t5_keys::t5_encoder_key_map;
use super::t5_stacks::EncoderStack;
use super::table::Place;
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::nn::{Embedding, Init};
use burn::module::Module;
use burn::tensor::Device;

/// The encoder of T5 without its decoder (`T5EncoderModel`), from any file of T5.
#[derive(Module, Debug)]
pub struct T5Encoder {
    shared: Embedding,
    encoder: EncoderStack,
    #[module(skip)]
    pooling: Pooling,
}

impl T5Encoder {
    /// A fresh network with weights drawn from `seed`. It has no pooler: of [`Pooling`], it knows `Cls` and `Mean`.
    ///
    /// The configuration is taken as valid; [`T5Config::check`] says whether it is.
    pub fn new(config: &T5Config, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_factor, device);
        let shared = init.embedding(config.vocab_size, config.d_model, None);
        Self { shared, encoder: EncoderStack::new(config, &mut init), pooling }
    }
}

impl Backbone for T5Encoder {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        self.encoder.side().add(Stages::new(), &[], None)
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        let [entries, _] = self.shared.weight.dims();
        InputError::check_shapes(input)?;
        InputError::check_length(&input.ids, usize::MAX)?;
        InputError::check_ids("token", &input.ids, entries)
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let block = stage.checked_sub(1).and_then(|index| self.encoder.block.get(index));
        block.map_or(0.0, |block| Place::Encoder(0).mixing_operations(seq, block.inner_width()))
    }

    fn embed(&self, input: TextInput) -> TextState {
        TextState::new(self.encoder.begin(self.shared.forward(input.ids)), input.mask)
    }

    fn stage(&self, index: usize, mut state: TextState) -> TextState {
        state.hidden = self.encoder.block(index - 1, state.hidden, &state.mask);
        state
    }

    fn finish(&self, state: TextState) -> TextFeatures {
        state.into_features(self.pooling, self.shared.weight.val())
    }
}

impl FromPretrained for T5Encoder {
    type Config = T5Config;
    const MODEL_TYPES: &'static [&'static str] = &["t5"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &T5Config) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &T5Config, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &T5Config) -> KeyMap {
        t5_encoder_key_map(config)
    }
    fn hidden_size(config: &T5Config) -> usize {
        config.d_model
    }
    fn max_length(_: &T5Config) -> usize {
        PRETRAINED_LENGTH
    }
    fn head_dropout(config: &T5Config) -> f64 {
        config.classifier_dropout
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &T5Config) -> &'static str {
        "T5"
    }
    fn body_class(_: &T5Config) -> String {
        "T5EncoderModel".into()
    }
    fn classification_pooling(_: &T5Config) -> Pooling {
        Pooling::Mean
    }
}
