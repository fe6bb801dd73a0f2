//! DistilBERT ([Sanh et al., 2019](https://arxiv.org/abs/1910.01108)), as Transformers'
//! `models/distilbert/modeling_distilbert.py` runs it: BERT's layers without segments and pooler.

use super::dense_head::DenseHead;
use super::distilbert_config::EPSILON;
use super::embeddings::Embeddings;
use super::layer::Pooler;
use super::stack::{Encoder, runs_encoder};
use super::untied::projecting_if_untied;
use super::{DistilBertConfig, distilbert_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm, MultipleChoice, SpanHead, TokenClassifier};
use crate::nn::{Activation, Init};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

/// The DistilBERT encoder. Parameter paths are [`Bert`](super::Bert)'s. It does not read segment ids.
#[derive(Module, Debug)]
pub struct DistilBert {
    embeddings: Embeddings,
    encoder: Encoder,
    /// Its files have none, so that one that is asked for starts fresh.
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
    max_length: usize,
}

impl DistilBert {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`DistilBertConfig::check`] says whether it is.
    pub fn new(config: &DistilBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let (width, positions) = (config.dim, config.max_position_embeddings);
        let embeddings = Embeddings::new(config.embeddings(), &mut init);
        Self {
            embeddings: match config.sinusoidal_pos_embds {
                true => embeddings.with_positions(sinusoids(positions, width, device)),
                false => embeddings,
            },
            encoder: Encoder::new(&config.layer(), config.n_layers, &mut init),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(width, &mut init)),
            pooling,
            max_length: positions,
        }
    }

    /// A fresh masked-language-model head of its form (`DistilBertForMaskedLM`).
    pub fn masked_lm(config: &DistilBertConfig, seed: u64, device: &Device) -> MaskedLm {
        let head = MaskedLm::with(config.dim, config.vocab_size, config.activation, EPSILON, seed, device);
        projecting_if_untied(head, &config.extra, config.dim, (seed, device))
    }
}

/// What stands before the last linear map of whole texts: ReLU whatever `activation` says.
fn dense_head(config: &DistilBertConfig) -> DenseHead {
    let (hidden, deviation, dropout) = (config.dim, config.initializer_range, config.seq_classif_dropout);
    DenseHead { hidden, deviation, activation: Activation::Relu, dropout }
}

/// Sines at even places and cosines at odd ones, `[positions, width]` ([Vaswani et al.,
/// 2017](https://arxiv.org/abs/1706.03762)).
fn sinusoids(positions: usize, width: usize, device: &Device) -> Tensor<2> {
    let value = |position: usize, place: usize| {
        let angle = position as f64 / 10_000f64.powf((place / 2 * 2) as f64 / width as f64);
        (if place.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
    };
    let values: Vec<f32> = (0..positions).flat_map(|row| (0..width).map(move |place| value(row, place))).collect();
    Tensor::from_data(TensorData::new(values, [positions, width]), device)
}

impl Backbone for DistilBert {
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

impl FromPretrained for DistilBert {
    type Config = DistilBertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["distilbert"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];
    const DROPOUT_FIELD: &'static str = "seq_classif_dropout";

    fn check_config(config: &DistilBertConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &DistilBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(_: &DistilBertConfig) -> KeyMap {
        distilbert_key_map()
    }
    fn hidden_size(config: &DistilBertConfig) -> usize {
        config.dim
    }
    fn max_length(config: &DistilBertConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &DistilBertConfig) -> f64 {
        config.seq_classif_dropout
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &DistilBertConfig) -> &'static str {
        "DistilBert"
    }
    fn classification_pooling(_: &DistilBertConfig) -> Pooling {
        Pooling::Cls
    }
    fn classifier(config: &DistilBertConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        dense_head(config).classifier(num_labels, seed, device)
    }
    fn choice_pooling(_: &DistilBertConfig) -> Pooling {
        Pooling::Cls
    }
    fn multiple_choice(config: &DistilBertConfig, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        dense_head(config).multiple_choice(choices, seed, device)
    }
    fn token_classifier(config: &DistilBertConfig, num_labels: usize, seed: u64, device: &Device) -> TokenClassifier {
        TokenClassifier::new(config.dim, num_labels, seed, device).with_dropout(config.dropout)
    }
    fn span_head(config: &DistilBertConfig, seed: u64, device: &Device) -> SpanHead {
        SpanHead::new(config.dim, seed, device).with_dropout(config.qa_dropout)
    }
}
