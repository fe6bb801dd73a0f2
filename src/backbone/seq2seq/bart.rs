//! BART ([Lewis et al., 2019](https://arxiv.org/abs/1910.13461)) and Marian's translation models ([Junczys-Dowmunt et al.,
//! 2018](https://arxiv.org/abs/1804.00344)), as Transformers' `models/bart/modeling_bart.py` and
//! `models/marian/modeling_marian.py` run them. Marian has fixed positions and no norm after its embeddings.

use super::eos::{check_eos, last_place};
use super::sides::{Decoder, Encoder, Tokens};
use super::table::{Place, Side, stages};
use super::{BartConfig, Seq2SeqFeatures, Seq2SeqInput, Seq2SeqState, bart_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, Seq2SeqLm};
use crate::nn::{Activation, Init};
use burn::module::Module;
use burn::tensor::Device;

/// BART or Marian. The encoder's stages come first, so that freezing from the bottom freezes the encoder before the decoder.
#[derive(Module, Debug)]
pub struct Bart {
    embed_tokens: Tokens,
    encoder: Encoder,
    decoder: Decoder,
    #[module(skip)]
    pooling: Pooling,
    eos: Option<usize>,
    max_length: usize,
}

impl Bart {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`BartConfig::check`] says whether it is.
    pub fn new(config: &BartConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.init_std, device);
        Self {
            embed_tokens: Tokens::new(config, &mut init),
            encoder: Encoder::new(config, &mut init),
            decoder: Decoder::new(config, &mut init),
            pooling,
            eos: config.eos(),
            max_length: config.max_position_embeddings,
        }
    }

    /// A fresh language head in the form of `BartForConditionalGeneration` and `MarianMTModel`.
    pub fn language_head(config: &BartConfig, seed: u64, device: &Device) -> Seq2SeqLm {
        let entries = config.target_vocab_size();
        let head = match config.tie_word_embeddings {
            true => Seq2SeqLm::tied(entries),
            false => Seq2SeqLm::untied(config.d_model, entries, seed, device),
        };
        head.with_fixed_bias(device)
    }

    fn pools_at_eos(&self) -> bool {
        self.pooling == Pooling::Eos
    }

    fn place(&self, stage: usize) -> Place {
        Place::of(stage, self.encoder.layers.len())
    }
}

impl Backbone for Bart {
    type Input = Seq2SeqInput;
    type State = Seq2SeqState;
    type Features = Seq2SeqFeatures;

    fn stages(&self) -> Stages {
        let source = self.embed_tokens.paths("encoder");
        let target = self.embed_tokens.paths("decoder");
        let side = |name, embeddings, layers, count| Side { name, embeddings, layers, count, shared: None, norm: None };
        stages(
            side("encoder", &source, "encoder.layers", self.encoder.layers.len()),
            side("decoder", &target, "decoder.layers", self.decoder.layers.len()),
        )
    }

    fn check(&self, input: &Seq2SeqInput) -> Result<(), InputError> {
        let ([source, _], [target, _]) =
            (self.embed_tokens.source().weight.dims(), self.embed_tokens.target().weight.dims());
        input.source.check("the mask of the source", Some(self.max_length), source)?;
        input.target.check("the mask of the target", Some(self.max_length), target)?;
        input.check_rows()?;
        if self.pools_at_eos() { check_eos(input, self.eos) } else { Ok(()) }
    }

    fn positions(&self) -> Option<usize> {
        Some(self.max_length)
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let [_, width] = self.embed_tokens.source().weight.dims();
        stage.checked_sub(1).map_or(0.0, |_| self.place(stage).mixing_operations(seq, width))
    }

    fn embed(&self, input: Seq2SeqInput) -> Seq2SeqState {
        let Seq2SeqInput { source, target } = input;
        let last_eos = self.eos.filter(|_| self.pools_at_eos()).map(|eos| last_place(source.ids.clone(), eos));
        let hidden = self.encoder.embeddings.forward(self.embed_tokens.source(), source.ids);
        Seq2SeqState { last_eos, ..Seq2SeqState::new(hidden, source.mask, target) }
    }

    fn stage(&self, index: usize, mut state: Seq2SeqState) -> Seq2SeqState {
        match self.place(index) {
            Place::Encoder(index) => {
                state.source.hidden = self.encoder.layer(index, state.source.hidden, &state.source.mask);
                state
            }
            Place::Target => {
                let ids = state.target.ids.clone();
                state.target.hidden = Some(self.decoder.embeddings.forward(self.embed_tokens.target(), ids));
                state
            }
            Place::Decoder(index) => {
                state.decode(|hidden, mask, memory| self.decoder.layer(index, hidden, mask, memory))
            }
        }
    }

    fn finish(&self, state: Seq2SeqState) -> Seq2SeqFeatures {
        Seq2SeqFeatures::new(state, self.pooling, self.embed_tokens.target().weight.val())
    }
}

impl FromPretrained for Bart {
    type Config = BartConfig;
    const MODEL_TYPES: &'static [&'static str] = &["bart", "marian"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &BartConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &BartConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &BartConfig) -> KeyMap {
        bart_key_map(config)
    }
    fn hidden_size(config: &BartConfig) -> usize {
        config.d_model
    }
    fn max_length(config: &BartConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &BartConfig) -> f64 {
        config.classifier_dropout
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(config: &BartConfig) -> &'static str {
        if config.is_marian() { "Marian" } else { "Bart" }
    }
    fn classification_pooling(_: &BartConfig) -> Pooling {
        Pooling::Eos
    }
    fn classifier(config: &BartConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let width = config.d_model;
        let dense = Init::new(seed ^ 0xDE45_E001, config.init_std, device).linear(width, width);
        let head = Classifier::new(width, num_labels, seed, device).with_dropout(config.classifier_dropout);
        head.with_dense(dense, Activation::Tanh).with_dropout_first()
    }
}
