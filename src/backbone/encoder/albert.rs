//! ALBERT ([Lan et al., 2020](https://arxiv.org/abs/1909.11942)), as Transformers' `models/albert/modeling_albert.py` runs
//! it: narrow embeddings, and few layers that are run several times.

use super::embeddings::Embeddings;
use super::layer::Pooler;
use super::stack::{Encoder, runs_encoder};
use super::untied::{leaving_out, projecting_if_untied};
use super::{AlbertConfig, albert_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::MaskedLm;
use crate::nn::{Init, Linear, linear};
use burn::module::Module;
use burn::tensor::Device;

/// The ALBERT encoder. Parameter paths are [`Bert`](super::Bert)'s, with each layer once however often it runs.
///
/// A stage is one run of a layer, so that several stages read the same parameters, which belong to the first of them: they
/// rest as soon as that stage does, and have its learning rate where rates fall from layer to layer. A run of a layer that
/// trains is never taken from the cache.
#[derive(Module, Debug)]
pub struct Albert {
    embeddings: Embeddings,
    embeddings_project: Linear,
    encoder: Encoder,
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
    max_length: usize,
}

impl Albert {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`AlbertConfig::check`] says whether it is.
    pub fn new(config: &AlbertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let hidden = config.hidden_size;
        Self {
            embeddings: Embeddings::new(config.embeddings(), &mut init),
            embeddings_project: init.linear(config.embedding_size, hidden),
            encoder: Encoder::shared(&config.layer(), config.layers(), config.runs(), &mut init),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(hidden, &mut init)),
            pooling,
            max_length: config.max_position_embeddings,
        }
    }

    /// A fresh masked-language-model head of its form (`AlbertForMaskedLM`).
    pub fn masked_lm(config: &AlbertConfig, seed: u64, device: &Device) -> MaskedLm {
        let (width, vocabulary, epsilon) = (config.embedding_size, config.vocab_size, config.layer_norm_eps);
        let head = MaskedLm::with(width, vocabulary, config.hidden_act, epsilon, seed, device);
        let head = head.reading(config.hidden_size, seed, device);
        projecting_if_untied(head, &config.extra, width, (seed, device))
    }
}

impl Backbone for Albert {
    runs_encoder!();

    fn stages(&self) -> Stages {
        let first = Stages::new().stage("embeddings").also("embeddings_project");
        self.encoder.stages(first, None, self.pooler.as_ref())
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.embeddings.check_documents(input, self.max_length)
    }

    fn embed(&self, input: TextInput) -> TextState {
        let positions = input.positions();
        let embedded = self.embeddings.forward(input.ids, input.type_ids, positions);
        TextState::packed(linear(&self.embeddings_project, embedded), input.mask, input.documents)
    }
}

impl FromPretrained for Albert {
    type Config = AlbertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["albert"];
    const DROPOUT_FIELD: &'static str = "classifier_dropout_prob";

    fn check_config(config: &AlbertConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &AlbertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &AlbertConfig) -> KeyMap {
        let map = albert_key_map(config.num_hidden_groups, config.inner_group_num);
        leaving_out(map, "predictions.bias", &config.extra)
    }
    fn hidden_size(config: &AlbertConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &AlbertConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &AlbertConfig) -> f64 {
        config.head_dropout()
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &AlbertConfig) -> &'static str {
        "Albert"
    }
}
