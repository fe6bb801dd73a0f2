//! RoBERTa ([Liu et al., 2019](https://arxiv.org/abs/1907.11692)), XLM-RoBERTa ([Conneau et al.,
//! 2020](https://arxiv.org/abs/1911.02116)) and CamemBERT ([Martin et al., 2020](https://arxiv.org/abs/1911.03894)), as
//! Transformers' `models/roberta/modeling_roberta.py` runs them: BERT's layers, positions that are counted past the padding
//! id, and another classification head.

use super::bert::{Embeddings, Encoder, Pooler};
use super::{RobertaConfig, roberta_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm};
use crate::nn::{Activation, Init};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

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
            embeddings: Embeddings::new(config, Some(padding), &mut init),
            encoder: Encoder::new(config, &mut init),
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
        MaskedLm::with(config.hidden_size, config.vocab_size, Activation::Gelu, config.layer_norm_eps, seed, device)
    }

    /// Real tokens count from `padding + 1`; padding stays at `padding`.
    fn positions_of(&self, ids: &Tensor<2, Int>) -> Tensor<2, Int> {
        let real = ids.clone().not_equal_elem(self.padding as i64).int();
        real.clone().cumsum(1) * real + self.padding as i64
    }
}

impl Backbone for Roberta {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        self.encoder.stages(self.pooler.as_ref())
    }

    /// One segment is what most checkpoints have, so segment ids are read only where the table has several.
    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        let [vocabulary, _] = self.embeddings.word_embeddings.weight.dims();
        let [types, _] = self.embeddings.token_type_embeddings.weight.dims();
        InputError::check_shapes(input)?;
        InputError::check_length(&input.ids, self.max_length)?;
        InputError::check_ids("token", &input.ids, vocabulary)?;
        if types == 1 { Ok(()) } else { InputError::check_ids("segment", &input.type_ids, types) }
    }

    fn positions(&self) -> Option<usize> {
        Some(self.max_length)
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        self.encoder.mixing_operations(stage, seq)
    }

    fn operations_spared(&self, stage: usize, seq: usize) -> f64 {
        self.encoder.operations_spared(stage, seq, self.pooling)
    }

    fn embed(&self, input: TextInput) -> TextState {
        let [types, _] = self.embeddings.token_type_embeddings.weight.dims();
        let type_ids = if types == 1 { input.type_ids.zeros_like() } else { input.type_ids };
        let positions = self.positions_of(&input.ids);
        TextState::new(self.embeddings.forward(input.ids, type_ids, positions), input.mask)
    }

    fn stage(&self, index: usize, state: TextState) -> TextState {
        self.encoder.stage(self.pooler.as_ref(), index, state)
    }

    fn stage_pooled(&self, index: usize, state: TextState) -> TextState {
        self.encoder.stage_pooled(self.pooler.as_ref(), self.pooling, index, state)
    }

    fn finish(&self, state: TextState) -> TextFeatures {
        state.into_features(self.pooling, self.embeddings.word_embeddings.weight.val())
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
    fn key_map(_: &RobertaConfig) -> KeyMap {
        roberta_key_map()
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
        let (fields, hidden) = (config.fields(), config.fields().hidden_size);
        let dense = Init::new(seed ^ 0xDE45_E001, fields.initializer_range, device).linear(hidden, hidden);
        let head = Classifier::new(hidden, num_labels, seed, device).with_dropout(fields.head_dropout());
        head.with_dense(dense, Activation::Tanh).with_dropout_first()
    }
}
