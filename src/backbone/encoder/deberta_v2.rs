//! DeBERTa v2 and v3 ([He et al., 2020](https://arxiv.org/abs/2006.03654), [2021](https://arxiv.org/abs/2111.09543)), as
//! Transformers' `models/deberta_v2/modeling_deberta_v2.py` runs them: BERT's layers, whose attention also scores tokens
//! against the distances between them.

use super::deberta_v2_config::DebertaV2Config;
use super::deberta_v2_keys::deberta_v2_key_map;
use super::deberta_v2_layer::{Convolution, Distances, Layer};
use super::dense_head::DenseHead;
use super::embeddings::check_tokens;
use super::layer::Pooler;
use super::untied::{leaving_out, projecting_if_untied};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm, MultipleChoice, TokenClassifier};
use crate::nn::{Dropout, Embedding, Init, LayerNorm, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The DeBERTa encoder.
///
/// Each layer's stage also reads the embeddings of distances and their norm, which therefore rest and train with the lowest
/// layer.
#[derive(Module, Debug)]
pub struct DebertaV2 {
    embeddings: Embeddings,
    encoder: Encoder,
    /// Its files have none, so that one that is asked for starts fresh.
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
    /// Where there is a table of them; distances have no limit.
    positions: Option<usize>,
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Layer>,
    /// `[distances, hidden]`.
    rel_embeddings: Option<Embedding>,
    norm: Option<LayerNorm>,
    conv: Option<Convolution>,
    #[module(skip)]
    distances: Distances,
}

impl DebertaV2 {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`DebertaV2Config::check`] says whether it is.
    pub fn new(config: &DebertaV2Config, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let (hidden, distances) = (config.hidden_size, config.distances());
        let relative = config.relative_attention;
        Self {
            embeddings: Embeddings::new(config, &mut init),
            encoder: Encoder {
                layer: (0..config.num_hidden_layers).map(|_| Layer::new(config, &mut init)).collect(),
                rel_embeddings: relative.then(|| init.embedding(distances.entries(), hidden, None)),
                norm: (relative && config.norms_distances())
                    .then(|| LayerNorm::new(hidden, config.layer_norm_eps, device)),
                conv: (config.conv_kernel_size > 0).then(|| Convolution::new(config, &mut init)),
                distances,
            },
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(hidden, &mut init)),
            pooling,
            positions: config.position_biased_input.then_some(config.max_position_embeddings),
        }
    }

    /// A fresh masked-language-model head of its form (`DebertaV2ForMaskedLM`), of either generation.
    pub fn masked_lm(config: &DebertaV2Config, seed: u64, device: &Device) -> MaskedLm {
        let (width, hidden) = (config.embedding_size(), config.hidden_size);
        let head = MaskedLm::with(width, config.vocab_size, config.hidden_act, config.layer_norm_eps, seed, device)
            .reading(hidden, seed, device);
        // The later form reads the token embedding whatever the configuration says.
        if config.legacy { projecting_if_untied(head, &config.extra, width, (seed, device)) } else { head }
    }

    /// The embeddings of distances, `[distances, hidden]`.
    fn relative(&self) -> Option<Tensor<2>> {
        let table = self.encoder.rel_embeddings.as_ref()?.weight.val();
        Some(match &self.encoder.norm {
            Some(norm) => norm.forward(table),
            None => table,
        })
    }
}

impl Backbone for DebertaV2 {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        let Encoder { layer, rel_embeddings, norm, conv, .. } = &self.encoder;
        let shared: Vec<&str> =
            [rel_embeddings.as_ref().map(|_| "encoder.rel_embeddings"), norm.as_ref().map(|_| "encoder.norm")]
                .into_iter()
                .flatten()
                .collect();
        let stages = (0..layer.len()).fold(Stages::new().stage("embeddings"), |stages, index| {
            let stages = stages.stage(format!("encoder.layer.{index}"));
            let own = conv.as_ref().filter(|_| index == 0).map(|_| "encoder.conv");
            own.into_iter().chain(shared.iter().copied()).fold(stages, Stages::also)
        });
        match self.pooler {
            Some(_) => stages.stage("pooler").counted_with_head(),
            None => stages,
        }
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        let Embeddings { word_embeddings, token_type_embeddings, .. } = &self.embeddings;
        check_tokens(word_embeddings, input, self.positions.unwrap_or(usize::MAX))?;
        match token_type_embeddings {
            Some(table) => InputError::check_ids("segment", &input.type_ids, table.weight.dims()[0]),
            None => Ok(()),
        }
    }

    fn positions(&self) -> Option<usize> {
        self.positions
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let layer = stage.checked_sub(1).and_then(|index| self.encoder.layer.get(index));
        layer.map_or(0.0, |layer| layer.mixing_operations(seq))
    }

    fn embed(&self, input: TextInput) -> TextState {
        TextState::new(self.embeddings.forward(&input), input.mask)
    }

    fn stage(&self, index: usize, mut state: TextState) -> TextState {
        match (self.encoder.layer.get(index - 1), &self.pooler) {
            (Some(layer), _) => {
                let before = state.hidden.clone();
                let relative = self.relative().map(|table| (table, self.encoder.distances));
                state.hidden = layer.forward(state.hidden, relative, &state.mask);
                if let Some(conv) = self.encoder.conv.as_ref().filter(|_| index == 1) {
                    state.hidden = conv.forward(before, state.hidden, &state.mask);
                }
            }
            (None, Some(pooler)) => state.pooler_output = Some(pooler.forward(state.hidden.clone())),
            (None, None) => {}
        }
        state
    }

    fn finish(&self, state: TextState) -> TextFeatures {
        state.into_features(self.pooling, self.embeddings.word_embeddings.weight.val())
    }
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Option<Embedding>,
    token_type_embeddings: Option<Embedding>,
    /// Where embeddings and layers have different widths.
    project: Option<Linear>,
    norm: LayerNorm,
    dropout: Dropout,
}

impl Embeddings {
    fn new(config: &DebertaV2Config, init: &mut Init) -> Self {
        let (width, hidden) = (config.embedding_size(), config.hidden_size);
        let (positions, types) = (config.max_position_embeddings, config.type_vocab_size);
        Self {
            word_embeddings: init.embedding(config.vocab_size, width, config.pad_token_id),
            position_embeddings: config.position_biased_input.then(|| init.embedding(positions, width, None)),
            token_type_embeddings: (types > 0).then(|| init.embedding(types, width, None)),
            project: (width != hidden).then(|| init.linear_with(width, hidden, false)),
            norm: LayerNorm::new(hidden, config.layer_norm_eps, init.device()),
            dropout: Dropout::new(config.hidden_dropout_prob),
        }
    }

    /// `[batch, seq, hidden]`, 0 at padding.
    fn forward(&self, input: &TextInput) -> Tensor<3> {
        let mut sum = self.word_embeddings.forward(input.ids.clone());
        if let Some(table) = &self.position_embeddings {
            sum = sum + table.forward(input.positions());
        }
        if let Some(table) = &self.token_type_embeddings {
            sum = sum + table.forward(input.type_ids.clone());
        }
        if let Some(project) = &self.project {
            sum = linear(project, sum);
        }
        let real = input.mask.clone().float().unsqueeze_dim::<3>(2);
        self.dropout.forward(self.norm.forward(sum) * real)
    }
}

impl FromPretrained for DebertaV2 {
    type Config = DebertaV2Config;
    const MODEL_TYPES: &'static [&'static str] = &["deberta-v2"];
    const DROPOUT_FIELD: &'static str = "cls_dropout";

    fn check_config(config: &DebertaV2Config) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &DebertaV2Config, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &DebertaV2Config) -> KeyMap {
        leaving_out(deberta_v2_key_map(config), "cls.predictions.bias", &config.extra)
    }
    fn hidden_size(config: &DebertaV2Config) -> usize {
        config.hidden_size
    }
    fn max_length(config: &DebertaV2Config) -> usize {
        config.max_length()
    }
    fn head_dropout(config: &DebertaV2Config) -> f64 {
        config.head_dropout()
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &DebertaV2Config) -> &'static str {
        "DebertaV2"
    }
    fn classification_pooling(_: &DebertaV2Config) -> Pooling {
        Pooling::Cls
    }
    fn classifier(config: &DebertaV2Config, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        context_pooler(config).classifier(num_labels, seed, device)
    }
    /// Its dropout is that of the layers, whatever the classifier's is.
    fn token_classifier(config: &DebertaV2Config, num_labels: usize, seed: u64, device: &Device) -> TokenClassifier {
        TokenClassifier::new(config.hidden_size, num_labels, seed, device).with_dropout(config.hidden_dropout_prob)
    }
    fn choice_pooling(_: &DebertaV2Config) -> Pooling {
        Pooling::Cls
    }
    fn multiple_choice(config: &DebertaV2Config, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        context_pooler(config).multiple_choice(choices, seed, device)
    }
}

/// What the heads of whole texts have before their last map.
fn context_pooler(config: &DebertaV2Config) -> DenseHead {
    DenseHead {
        hidden: config.hidden_size,
        deviation: config.initializer_range,
        activation: config.pooler_hidden_act,
        dropout: config.head_dropout(),
    }
}
