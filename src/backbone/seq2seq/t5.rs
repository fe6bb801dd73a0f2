//! T5 ([Raffel et al., 2019](https://arxiv.org/abs/1910.10683)) in both releases, as Transformers' `models/t5/modeling_t5.py`
//! runs it.

use super::eos::{check_eos, last_place};
use super::t5_keys::t5_key_map;
use super::t5_stacks::{DecoderStack, EncoderStack};
use super::table::{Place, stages};
use super::{Seq2SeqFeatures, Seq2SeqInput, Seq2SeqState, T5Config};
use crate::backbone::{Backbone, InputError, Pooling, Stages};
use crate::checkpoint::{Checkpoint, CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, Seq2SeqLm};
use crate::nn::{Activation, Embedding, Init};
use burn::module::Module;
use burn::tensor::Device;

/// T5: encoder and decoder with one table of tokens. All blocks of a side read one table of relative positions, so it is
/// part of every one of its stages.
#[derive(Module, Debug)]
pub struct T5 {
    shared: Embedding,
    encoder: EncoderStack,
    decoder: DecoderStack,
    #[module(skip)]
    pooling: Pooling,
    eos: Option<usize>,
}

impl T5 {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`T5Config::check`] says whether it is.
    pub fn new(config: &T5Config, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_factor, device);
        Self {
            shared: init.embedding(config.vocab_size, config.d_model, None),
            encoder: EncoderStack::new(config, &mut init),
            decoder: DecoderStack::new(config, &mut init),
            pooling,
            eos: config.eos(),
        }
    }

    /// A fresh language head in the form of `T5ForConditionalGeneration`. It shares the token embedding; the files of T5 1.1
    /// have a projection of their own, for which `own_projection` makes room.
    pub fn language_head(config: &T5Config, own_projection: bool, seed: u64, device: &Device) -> Seq2SeqLm {
        let head = match own_projection {
            true => Seq2SeqLm::untied(config.d_model, config.vocab_size, seed, device),
            false => Seq2SeqLm::tied(config.vocab_size),
        };
        head.with_scale(config.output_scale())
    }

    /// [`language_head`](Self::language_head) with room for the projection that a checkpoint has of its own, if it has one that
    /// differs from the token embedding: the configuration does not say so.
    ///
    /// # Errors
    /// [`CheckpointError`] for a configuration that is not T5's or a file that cannot be read.
    pub fn language_head_of(checkpoint: &Checkpoint, seed: u64, device: &Device) -> Result<Seq2SeqLm, CheckpointError> {
        let (tensors, own, shared) = (checkpoint.tensors(), "lm_head.weight", "shared.weight");
        let has_both = tensors.contains(own) && tensors.contains(shared);
        let differs = has_both && tensors.f32(own)? != tensors.f32(shared)?;
        Ok(Self::language_head(&checkpoint.config::<Self>()?, differs, seed, device))
    }

    fn place(&self, stage: usize) -> Place {
        Place::of(stage, self.encoder.block.len())
    }
}

impl Backbone for T5 {
    type Input = Seq2SeqInput;
    type State = Seq2SeqState;
    type Features = Seq2SeqFeatures;

    fn stages(&self) -> Stages {
        stages(self.encoder.side(), self.decoder.side())
    }

    fn check(&self, input: &Seq2SeqInput) -> Result<(), InputError> {
        let [entries, _] = self.shared.weight.dims();
        input.source.check("the mask of the source", None, entries)?;
        input.target.check("the mask of the target", None, entries)?;
        input.check_rows()?;
        if self.pooling == Pooling::Eos { check_eos(input, self.eos) } else { Ok(()) }
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let width = self.encoder.block.first().map_or(0, |block| block.inner_width());
        stage.checked_sub(1).map_or(0.0, |_| self.place(stage).mixing_operations(seq, width))
    }

    fn embed(&self, input: Seq2SeqInput) -> Seq2SeqState {
        let Seq2SeqInput { source, target } = input;
        let eos = self.eos.filter(|_| self.pooling == Pooling::Eos);
        let last_eos = eos.map(|eos| last_place(source.ids.clone(), eos));
        let hidden = self.encoder.begin(self.shared.forward(source.ids));
        Seq2SeqState { last_eos, ..Seq2SeqState::new(hidden, source.mask, target) }
    }

    fn stage(&self, index: usize, mut state: Seq2SeqState) -> Seq2SeqState {
        match self.place(index) {
            Place::Encoder(index) => {
                state.source.hidden = self.encoder.block(index, state.source.hidden, &state.source.mask);
                state
            }
            Place::Target => {
                state.target.hidden = Some(self.decoder.begin(self.shared.forward(state.target.ids.clone())));
                state
            }
            Place::Decoder(index) => {
                state.decode(|hidden, mask, memory| self.decoder.block(index, hidden, mask, memory))
            }
        }
    }

    fn finish(&self, state: Seq2SeqState) -> Seq2SeqFeatures {
        Seq2SeqFeatures::new(state, self.pooling, self.shared.weight.val())
    }
}

impl FromPretrained for T5 {
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
        t5_key_map(config)
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
    fn classification_pooling(_: &T5Config) -> Pooling {
        Pooling::Eos
    }
    fn classifier(config: &T5Config, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let width = config.d_model;
        let deviation = config.initializer_factor * (width as f64).powf(-0.5);
        let dense = Init::new(seed ^ 0xDE45_E001, deviation, device).linear(width, width);
        let head = Classifier::new(width, num_labels, seed, device).with_dropout(config.classifier_dropout);
        head.with_dense(dense, Activation::Tanh).with_dropout_first()
    }
}

/// Relative positions have no end; texts of this length are what T5 was pretrained with.
pub(super) const PRETRAINED_LENGTH: usize = 512;
