//! BERT ([Devlin et al., 2019](https://arxiv.org/abs/1810.04805)), as Transformers' `models/bert/modeling_bert.py` runs it.

use super::embeddings::Embeddings;
use super::layer::Pooler;
use super::stack::{Encoder, runs_encoder};
use super::untied::{leaving_out, projecting_if_untied};
use super::{BertConfig, bert_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::MaskedLm;
use crate::nn::Init;
use burn::module::Module;
use burn::tensor::Device;

/// The BERT encoder. Parameter paths follow Transformers' without its `self` and `dense` levels.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    encoder: Encoder,
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
    max_length: usize,
}

impl Bert {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`BertConfig::check`](BertConfig::check) says whether it is.
    pub fn new(config: &BertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            embeddings: Embeddings::new(config.embeddings(None), &mut init),
            encoder: Encoder::new(&config.layer(), config.num_hidden_layers, &mut init),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config.hidden_size, &mut init)),
            pooling,
            max_length: config.max_position_embeddings,
        }
    }

    /// A fresh masked-language-model head of its form (`BertForMaskedLM`).
    pub fn masked_lm(config: &BertConfig, seed: u64, device: &Device) -> MaskedLm {
        let BertConfig { hidden_size, vocab_size, hidden_act, layer_norm_eps, .. } = *config;
        let head = MaskedLm::with(hidden_size, vocab_size, hidden_act, layer_norm_eps, seed, device);
        projecting_if_untied(head, &config.extra, hidden_size, (seed, device))
    }

    /// How its features are pooled.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Longest input in tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }
}

impl Backbone for Bert {
    runs_encoder!();

    fn stages(&self) -> Stages {
        self.encoder.stages(Stages::new().stage("embeddings"), None, self.pooler.as_ref())
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.embeddings.check_documents(input, self.max_length)
    }

    fn embed(&self, input: TextInput) -> TextState {
        let positions = input.positions();
        let hidden = self.embeddings.forward(input.ids, input.type_ids, positions);
        TextState::packed(hidden, input.mask, input.documents)
    }
}

impl FromPretrained for Bert {
    type Config = BertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["bert"];

    fn check_config(config: &BertConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &BertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &BertConfig) -> KeyMap {
        leaving_out(bert_key_map(), "cls.predictions.bias", &config.extra)
    }
    fn hidden_size(config: &BertConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &BertConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &BertConfig) -> f64 {
        config.head_dropout()
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &BertConfig) -> &'static str {
        "Bert"
    }
}
