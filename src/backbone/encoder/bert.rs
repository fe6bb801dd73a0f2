//! BERT ([Devlin et al., 2019](https://arxiv.org/abs/1810.04805)), as Transformers' `models/bert/modeling_bert.py` runs it.

use super::{BertConfig, bert_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState, first_token};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::nn::{Activation, Dropout, Embedding, Init, LayerNorm, Linear, linear, multi_head_attention};
use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};

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
            embeddings: Embeddings::new(config, None, &mut init),
            encoder: Encoder::new(config, &mut init),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config.hidden_size, &mut init)),
            pooling,
            max_length: config.max_position_embeddings,
        }
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
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        self.encoder.stages(self.pooler.as_ref())
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        let [vocabulary, _] = self.embeddings.word_embeddings.weight.dims();
        let [types, _] = self.embeddings.token_type_embeddings.weight.dims();
        InputError::check_shapes(input)?;
        InputError::check_length(&input.ids, self.max_length)?;
        InputError::check_ids("token", &input.ids, vocabulary)?;
        InputError::check_ids("segment", &input.type_ids, types)
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
        let [_, seq] = input.ids.dims();
        let positions = Tensor::<1, Int>::arange(0..seq as i64, &input.ids.device()).unsqueeze();
        TextState::new(self.embeddings.forward(input.ids, input.type_ids, positions), input.mask)
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

impl FromPretrained for Bert {
    type Config = BertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["bert"];

    fn check_config(config: &BertConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &BertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(_: &BertConfig) -> KeyMap {
        bert_key_map()
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

/// The sum of three tables, normalised.
#[derive(Module, Debug)]
pub(super) struct Embeddings {
    pub(super) word_embeddings: Embedding,
    pub(super) position_embeddings: Embedding,
    pub(super) token_type_embeddings: Embedding,
    norm: LayerNorm,
    dropout: Dropout,
}

impl Embeddings {
    /// A look-up of position `padding_position` adds nothing to the gradient.
    pub(super) fn new(config: &BertConfig, padding_position: Option<usize>, init: &mut Init) -> Self {
        let hidden = config.hidden_size;
        Self {
            word_embeddings: init.embedding(config.vocab_size, hidden, config.pad_token_id),
            position_embeddings: init.embedding(config.max_position_embeddings, hidden, padding_position),
            token_type_embeddings: init.embedding(config.type_vocab_size, hidden, None),
            norm: LayerNorm::new(hidden, config.layer_norm_eps, init.device()),
            dropout: Dropout::new(config.hidden_dropout_prob),
        }
    }

    /// `positions` is `[batch, seq]`, or `[1, seq]` where they are those of every row.
    pub(super) fn forward(
        &self,
        ids: Tensor<2, Int>,
        type_ids: Tensor<2, Int>,
        positions: Tensor<2, Int>,
    ) -> Tensor<3> {
        let sum = self.word_embeddings.forward(ids)
            + self.token_type_embeddings.forward(type_ids)
            + self.position_embeddings.forward(positions);
        self.dropout.forward(self.norm.forward(sum))
    }
}

/// The layers, with which a pooler may follow.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    pub(super) layer: Vec<Layer>,
}

impl Encoder {
    pub(super) fn new(config: &BertConfig, init: &mut Init) -> Self {
        Self { layer: (0..config.num_hidden_layers).map(|_| Layer::new(config, init)).collect() }
    }

    /// The stages of embeddings, layers and pooler.
    pub(super) fn stages(&self, pooler: Option<&Pooler>) -> Stages {
        let stages = Stages::new().stage("embeddings").stages("encoder.layer", self.layer.len());
        match pooler {
            Some(_) => stages.stage("pooler").counted_with_head(),
            None => stages,
        }
    }

    /// Layer `index - 1`, or the pooler.
    pub(super) fn stage(&self, pooler: Option<&Pooler>, index: usize, mut state: TextState) -> TextState {
        match (self.layer.get(index - 1), pooler) {
            (Some(layer), _) => state.hidden = layer.forward(state.hidden.clone(), state.hidden, &state.mask),
            (None, Some(pooler)) => state.pooler_output = Some(pooler.forward(state.hidden.clone())),
            (None, None) => {}
        }
        state
    }

    /// As [`stage`](Self::stage), but the last layer makes what the pooling reads alone.
    pub(super) fn stage_pooled(
        &self,
        pooler: Option<&Pooler>,
        pooling: Pooling,
        index: usize,
        mut state: TextState,
    ) -> TextState {
        let Some(layer) = self.layer_of_first_token(index, pooling) else { return self.stage(pooler, index, state) };
        let first = state.hidden.clone().narrow(1, 0, 1);
        state.hidden = layer.forward(first, state.hidden, &state.mask);
        state.mask = state.mask.narrow(1, 0, 1);
        state
    }

    /// See [`Backbone::mixing_operations`].
    pub(super) fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let layer = stage.checked_sub(1).and_then(|index| self.layer.get(index));
        // Queries with keys, probabilities with values: two operations for each pair of positions and each feature.
        layer.map_or(0.0, |layer| 4.0 * (seq * seq * layer.attention.query.weight.dims()[0]) as f64)
    }

    /// See [`Backbone::operations_spared`].
    pub(super) fn operations_spared(&self, stage: usize, seq: usize, pooling: Pooling) -> f64 {
        let Some(layer) = self.layer_of_first_token(stage, pooling) else { return 0.0 };
        let Layer { attention, intermediate, output, .. } = layer;
        let products = [&attention.query, &attention.output, intermediate, output];
        let values: usize = products.iter().map(|linear| linear.weight.shape().num_elements()).sum();
        let mixed = seq * attention.query.weight.dims()[0];
        (seq.saturating_sub(1) * (2 * values + 4 * mixed)) as f64
    }

    /// The layer of this stage, if it is the last one and the pooling reads its first token alone.
    fn layer_of_first_token(&self, stage: usize, pooling: Pooling) -> Option<&Layer> {
        let is_last = stage == self.layer.len() && pooling != Pooling::Mean;
        self.layer.last().filter(|_| is_last)
    }
}

#[derive(Module, Debug)]
pub(super) struct Layer {
    attention: SelfAttention,
    intermediate: Linear,
    output: Linear,
    norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Layer {
    fn new(config: &BertConfig, init: &mut Init) -> Self {
        Self {
            attention: SelfAttention::new(config, init),
            intermediate: init.linear(config.hidden_size, config.intermediate_size),
            output: init.linear(config.intermediate_size, config.hidden_size),
            norm: LayerNorm::new(config.hidden_size, config.layer_norm_eps, init.device()),
            dropout: Dropout::new(config.hidden_dropout_prob),
            activation: config.hidden_act,
        }
    }

    /// The layer at the places `asking`, `[batch, places, hidden]`, of a sequence `hidden`, `[batch, seq, hidden]`.
    fn forward(&self, asking: Tensor<3>, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let hidden = self.attention.forward(asking, hidden, mask);
        let inner = self.activation.after(&self.intermediate, hidden.clone());
        self.norm.forward_residual(linear(&self.output, inner), hidden, &self.dropout)
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm: LayerNorm,
    probability_dropout: Dropout,
    dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    fn new(config: &BertConfig, init: &mut Init) -> Self {
        let hidden = config.hidden_size;
        Self {
            query: init.linear(hidden, hidden),
            key: init.linear(hidden, hidden),
            value: init.linear(hidden, hidden),
            output: init.linear(hidden, hidden),
            norm: LayerNorm::new(hidden, config.layer_norm_eps, init.device()),
            probability_dropout: Dropout::new(config.attention_probs_dropout_prob),
            dropout: Dropout::new(config.hidden_dropout_prob),
            heads: config.num_attention_heads,
        }
    }

    fn forward(&self, asking: Tensor<3>, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let query = linear(&self.query, asking.clone());
        let [key, value] = [&self.key, &self.value].map(|layer| linear(layer, hidden.clone()));
        let dropout = &self.probability_dropout;
        let mixed = multi_head_attention(query, key, value, self.heads, Some(mask.clone()), dropout);
        self.norm.forward_residual(linear(&self.output, mixed), asking, &self.dropout)
    }
}

#[derive(Module, Debug)]
pub(super) struct Pooler {
    dense: Linear,
}

impl Pooler {
    pub(super) fn new(hidden_size: usize, init: &mut Init) -> Self {
        Self { dense: init.linear(hidden_size, hidden_size) }
    }

    fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        linear(&self.dense, first_token(hidden)).tanh()
    }
}
