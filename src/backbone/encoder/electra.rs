//! ELECTRA ([Clark et al., 2020](https://arxiv.org/abs/2003.10555)), as Transformers' `models/electra/modeling_electra.py`
//! runs it: BERT's layers on embeddings that may be narrower. A small generator fills masked places, and the discriminator
//! learns to tell its tokens from the original ones.

use super::dense_head::DenseHead;
use super::embeddings::Embeddings;
use super::layer::Pooler;
use super::stack::{Encoder, runs_encoder};
use super::untied::projecting_if_untied;
use super::{ElectraConfig, electra_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm, MultipleChoice, ReplacedToken};
use crate::nn::{Activation, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::Device;

/// The ELECTRA encoder, generator or discriminator. Parameter paths are [`Bert`](super::Bert)'s.
#[derive(Module, Debug)]
pub struct Electra {
    embeddings: Embeddings,
    /// Where embeddings and layers have different widths.
    embeddings_project: Option<Linear>,
    encoder: Encoder,
    /// Its files have none, so that one that is asked for starts fresh.
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
    max_length: usize,
}

impl Electra {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`ElectraConfig::check`] says whether it is.
    pub fn new(config: &ElectraConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let (width, hidden) = (config.embedding_size, config.hidden_size);
        Self {
            embeddings: Embeddings::new(config.embeddings(), &mut init),
            embeddings_project: (width != hidden).then(|| init.linear(width, hidden)),
            encoder: Encoder::new(&config.layer(), config.num_hidden_layers, &mut init),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(hidden, &mut init)),
            pooling,
            max_length: config.max_position_embeddings,
        }
    }

    /// A fresh masked-language-model head of its form, that of the generator (`ElectraForMaskedLM`).
    pub fn masked_lm(config: &ElectraConfig, seed: u64, device: &Device) -> MaskedLm {
        let (width, hidden) = (config.embedding_size, config.hidden_size);
        // The head's activation is exact GELU whatever `hidden_act` says.
        let head = MaskedLm::with(width, config.vocab_size, Activation::Gelu, config.layer_norm_eps, seed, device)
            .reading(hidden, seed, device);
        projecting_if_untied(head, &config.extra, width, (seed, device))
    }

    /// A fresh head of its form that tells replaced tokens, that of the discriminator (`ElectraForPreTraining`).
    pub fn replaced_token(config: &ElectraConfig, seed: u64, device: &Device) -> ReplacedToken {
        ReplacedToken::new(config.hidden_size, config.hidden_act, seed, device)
    }
}

impl Backbone for Electra {
    runs_encoder!();

    fn stages(&self) -> Stages {
        let embeddings = Stages::new().stage("embeddings");
        let first = match self.embeddings_project {
            Some(_) => embeddings.also("embeddings_project"),
            None => embeddings,
        };
        self.encoder.stages(first, None, self.pooler.as_ref())
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.embeddings.check_documents(input, self.max_length)
    }

    fn embed(&self, input: TextInput) -> TextState {
        let positions = input.positions();
        let embedded = self.embeddings.forward(input.ids, input.type_ids, positions);
        let hidden = match &self.embeddings_project {
            Some(project) => linear(project, embedded),
            None => embedded,
        };
        TextState::packed(hidden, input.mask, input.documents)
    }
}

impl FromPretrained for Electra {
    type Config = ElectraConfig;
    const MODEL_TYPES: &'static [&'static str] = &["electra"];

    fn check_config(config: &ElectraConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &ElectraConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(_: &ElectraConfig) -> KeyMap {
        electra_key_map()
    }
    fn hidden_size(config: &ElectraConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &ElectraConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &ElectraConfig) -> f64 {
        config.head_dropout()
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &ElectraConfig) -> &'static str {
        "Electra"
    }
    fn classification_pooling(_: &ElectraConfig) -> Pooling {
        Pooling::Cls
    }
    fn classifier(config: &ElectraConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let (hidden, deviation) = (config.hidden_size, config.initializer_range);
        // GELU whatever `hidden_act` says.
        let head = DenseHead { hidden, deviation, activation: Activation::Gelu, dropout: config.head_dropout() };
        head.classifier(num_labels, seed, device).with_dropout_first()
    }
    fn choice_pooling(_: &ElectraConfig) -> Pooling {
        Pooling::Cls
    }
    fn multiple_choice(config: &ElectraConfig, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        let (hidden, deviation) = (config.hidden_size, config.initializer_range);
        let activation = config.summary_activation.unwrap_or(Activation::Linear);
        DenseHead { hidden, deviation, activation, dropout: config.summary_last_dropout }
            .multiple_choice(choices, seed, device)
    }
}
