//! RoBERTa ([Liu et al., 2019](https://arxiv.org/abs/1907.11692)), XLM-RoBERTa ([Conneau et al.,
//! 2020](https://arxiv.org/abs/1911.02116)) and CamemBERT ([Martin et al., 2020](https://arxiv.org/abs/1911.03894)), as
//! Transformers' `models/roberta/modeling_roberta.py` runs them: BERT's layers, positions that are counted past the padding
//! id, and another classification head.

use super::dense_head::DenseHead;
use super::embeddings::{Embeddings, check_documents, counted_past, counted_past_by_document};
use super::layer::Pooler;
use super::stack::{Encoder, runs_encoder};
use super::untied::{leaving_out, projecting_if_untied};
use super::{BertConfig, RobertaConfig, roberta_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm, MultipleChoice};
use crate::nn::{Activation, Init};
use burn::module::Module;
use burn::tensor::Device;

/// The RoBERTa encoder. Parameter paths are [`Bert`](super::Bert)'s.
#[derive(Module, Debug)]
pub struct Roberta {
    embeddings: Embeddings,
    encoder: Encoder,
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
    padding: usize,
    max_length: usize,
}

impl Roberta {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`RobertaConfig::check`] says whether it is.
    pub fn new(config: &RobertaConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let (padding, max_length) = (config.padding(), config.max_length());
        let config = config.fields();
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            embeddings: Embeddings::new(config.embeddings(Some(padding)), &mut init),
            encoder: Encoder::new(&config.layer(), config.num_hidden_layers, &mut init),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config.hidden_size, &mut init)),
            pooling,
            padding,
            max_length,
        }
    }

    /// A fresh masked-language-model head of its form (`RobertaForMaskedLM`).
    pub fn masked_lm(config: &RobertaConfig, seed: u64, device: &Device) -> MaskedLm {
        let config = config.fields();
        // The head's activation is exact GELU whatever `hidden_act` says.
        let BertConfig { hidden_size, vocab_size, layer_norm_eps, .. } = *config;
        let head = MaskedLm::with(hidden_size, vocab_size, Activation::Gelu, layer_norm_eps, seed, device);
        projecting_if_untied(head, &config.extra, hidden_size, (seed, device))
    }
}

impl Backbone for Roberta {
    runs_encoder!();

    fn stages(&self) -> Stages {
        self.encoder.stages(Stages::new().stage("embeddings"), None, self.pooler.as_ref())
    }

    /// One segment is what most checkpoints have, so segment ids are read only where the table has several.
    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        match self.embeddings.types() {
            1 => check_documents(&self.embeddings.word_embeddings, input, self.max_length),
            _ => self.embeddings.check_documents(input, self.max_length),
        }
    }

    fn embed(&self, input: TextInput) -> TextState {
        let one_segment = self.embeddings.types() == 1;
        let positions = match input.documents {
            Some(_) => counted_past_by_document(self.padding, &input),
            None => counted_past(self.padding, &input.ids),
        };
        let type_ids = if one_segment { input.type_ids.zeros_like() } else { input.type_ids };
        let hidden = self.embeddings.forward(input.ids, type_ids, positions);
        TextState::packed(hidden, input.mask, input.documents)
    }
}

impl FromPretrained for Roberta {
    type Config = RobertaConfig;
    const MODEL_TYPES: &'static [&'static str] = &["roberta", "xlm-roberta", "camembert"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &RobertaConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &RobertaConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &RobertaConfig) -> KeyMap {
        leaving_out(roberta_key_map(), "lm_head.bias", &config.fields().extra)
    }
    fn hidden_size(config: &RobertaConfig) -> usize {
        config.fields().hidden_size
    }
    fn max_length(config: &RobertaConfig) -> usize {
        config.max_length()
    }
    fn head_dropout(config: &RobertaConfig) -> f64 {
        config.fields().head_dropout()
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(config: &RobertaConfig) -> &'static str {
        match config.fields().model_type.as_str() {
            "xlm-roberta" => "XLMRoberta",
            "camembert" => "Camembert",
            _ => "Roberta",
        }
    }
    fn classification_pooling(_: &RobertaConfig) -> Pooling {
        Pooling::Cls
    }
    fn classifier(config: &RobertaConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let (fields, activation) = (config.fields(), Activation::Tanh);
        let (hidden, deviation, dropout) = (fields.hidden_size, fields.initializer_range, fields.head_dropout());
        DenseHead { hidden, deviation, activation, dropout }.classifier(num_labels, seed, device).with_dropout_first()
    }
    /// Its dropout is that of the layers, whatever the classifier's is.
    fn multiple_choice(config: &RobertaConfig, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        let BertConfig { hidden_size, hidden_dropout_prob, .. } = *config.fields();
        MultipleChoice::new(hidden_size, choices, seed, device).with_dropout(hidden_dropout_prob)
    }
}
