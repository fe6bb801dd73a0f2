//! ESM-2 ([Lin et al., 2022](https://doi.org/10.1101/2022.07.20.500902)) and ESM-1b ([Rives et al.,
//! 2021](https://doi.org/10.1073/pnas.2016239118)), encoders of protein sequences, as Transformers'
//! `models/esm/modeling_esm.py` runs them: each sublayer is normalised before it runs, and masked tokens may be dropped.

use super::dense_head::DenseHead;
use super::embeddings::{check_tokens, counted_past};
use super::layer::Pooler;
use super::{EsmConfig, EsmPositions, esm_key_map};
use crate::backbone::config::ties_embeddings;
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm};
use crate::nn::{
    Activation, Buffer, Dropout, Embedding, Init, LayerNorm, Linear, RopeScaling, Rotary, linear, merge_heads,
    multi_head_attention, split_heads,
};
use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};

/// The ESM encoder. It does not read segment ids.
#[derive(Module, Debug)]
pub struct Esm {
    embeddings: Embeddings,
    encoder: Encoder,
    pooler: Option<Pooler>,
    contact_head: ContactHead,
    #[module(skip)]
    pooling: Pooling,
    max_length: usize,
}

/// The weights by which contacts are predicted from attention maps, one a head and layer. The maps are not kept here, so
/// nothing reads these weights; they are kept for the files that are saved.
#[derive(Module, Debug)]
struct ContactHead {
    regression: Buffer<2>,
    bias: Buffer<1>,
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Layer>,
    norm: LayerNorm,
}

impl Esm {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`EsmConfig::check`] says whether it is.
    pub fn new(config: &EsmConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            embeddings: Embeddings::new(config, &mut init),
            encoder: Encoder {
                layer: (0..config.num_hidden_layers).map(|_| Layer::new(config, &mut init)).collect(),
                norm: LayerNorm::new(config.hidden_size, config.layer_norm_eps, device),
            },
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config.hidden_size, &mut init)),
            contact_head: ContactHead {
                regression: Buffer::new(Tensor::zeros(
                    [1, config.num_hidden_layers * config.num_attention_heads],
                    device,
                )),
                bias: Buffer::new(Tensor::zeros([1], device)),
            },
            pooling,
            max_length: config.max_length(),
        }
    }

    /// The layer of this stage, if it is the last one and the pooling reads its first token alone.
    fn layer_of_first_token(&self, stage: usize) -> Option<&Layer> {
        let is_last = stage == self.encoder.layer.len() && self.pooling != Pooling::Mean;
        self.encoder.layer.last().filter(|_| is_last)
    }

    /// A fresh masked-language-model head of its form (`EsmForMaskedLM`).
    pub fn masked_lm(config: &EsmConfig, seed: u64, device: &Device) -> MaskedLm {
        let EsmConfig { hidden_size, vocab_size, layer_norm_eps, .. } = *config;
        let head = MaskedLm::with(hidden_size, vocab_size, Activation::Gelu, layer_norm_eps, seed, device);
        if ties_embeddings(&config.extra) { head } else { head.untied(hidden_size, seed, device) }
    }
}

impl Backbone for Esm {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        let layers = Stages::new().stage("embeddings").stages("encoder.layer", self.encoder.layer.len());
        let stages = layers.stage("encoder.norm").also("contact_head").counted_with_head();
        match self.pooler {
            Some(_) => stages.stage("pooler").counted_with_head(),
            None => stages,
        }
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        check_tokens(&self.embeddings.word_embeddings, input, self.positions().unwrap_or(usize::MAX))
    }

    /// Rotary positions have no limit.
    fn positions(&self) -> Option<usize> {
        self.embeddings.position_embeddings.as_ref().map(|_| self.max_length)
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let layer = stage.checked_sub(1).and_then(|index| self.encoder.layer.get(index));
        layer.map_or(0.0, |layer| 4.0 * (seq * seq * layer.attention.query.weight.dims()[0]) as f64)
    }

    fn operations_spared(&self, stage: usize, seq: usize) -> f64 {
        self.layer_of_first_token(stage).map_or(0.0, |layer| layer.operations_spared(seq))
    }

    fn embed(&self, input: TextInput) -> TextState {
        TextState::new(self.embeddings.forward(input.ids, &input.mask), input.mask)
    }

    fn stage(&self, index: usize, mut state: TextState) -> TextState {
        let layers = self.encoder.layer.len();
        match (self.encoder.layer.get(index - 1), &self.pooler) {
            (Some(layer), _) => {
                let [_, seq, _] = state.hidden.dims();
                state.hidden = layer.forward(state.hidden, seq, &state.mask);
            }
            (None, _) if index == layers + 1 => state.hidden = self.encoder.norm.forward(state.hidden),
            (None, Some(pooler)) => state.pooler_output = Some(pooler.forward(state.hidden.clone())),
            (None, None) => {}
        }
        state
    }

    fn stage_pooled(&self, index: usize, mut state: TextState) -> TextState {
        let Some(layer) = self.layer_of_first_token(index) else { return self.stage(index, state) };
        state.hidden = layer.forward(state.hidden, 1, &state.mask);
        state.mask = state.mask.narrow(1, 0, 1);
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
    norm: Option<LayerNorm>,
    padding: usize,
    dropped_token: Option<usize>,
}

/// The share of masked tokens in ESM's pretraining, of which 80 % were replaced by the mask token.
const MASKED_IN_TRAINING: f64 = 0.15 * 0.8;

impl Embeddings {
    fn new(config: &EsmConfig, init: &mut Init) -> Self {
        let (hidden, padding) = (config.hidden_size, Some(config.padding()));
        let absolute = config.position_embedding_type == EsmPositions::Absolute;
        Self {
            word_embeddings: init.embedding(config.vocab_size, hidden, padding),
            position_embeddings: absolute.then(|| init.embedding(config.max_position_embeddings, hidden, padding)),
            norm: (config.emb_layer_norm_before == Some(true))
                .then(|| LayerNorm::new(hidden, config.layer_norm_eps, init.device())),
            padding: config.padding(),
            dropped_token: config.dropped_token(),
        }
    }

    /// `[batch, seq]` to `[batch, seq, hidden]`, 0 at padding.
    fn forward(&self, ids: Tensor<2, Int>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let mut hidden = self.word_embeddings.forward(ids.clone());
        if let Some(token) = self.dropped_token {
            hidden = drop_token(hidden, ids.clone().equal_elem(token as i64), mask);
        }
        if let Some(table) = &self.position_embeddings {
            hidden = hidden + table.forward(counted_past(self.padding, &ids));
        }
        if let Some(norm) = &self.norm {
            hidden = norm.forward(hidden);
        }
        hidden * mask.clone().float().unsqueeze_dim::<3>(2)
    }
}

/// Zeroes the embeddings of tokens that are `dropped`, `[batch, seq]`, and scales the others up by how many are left: to
/// the share that was left in pretraining. A row without any other token stays 0.
fn drop_token(hidden: Tensor<3>, dropped: Tensor<2, Bool>, mask: &Tensor<2, Bool>) -> Tensor<3> {
    let shape = hidden.dims();
    let count = |places: Tensor<2, Bool>| places.float().sum_dim(1);
    let share = count(dropped.clone()) / count(mask.clone()).clamp_min(1.0);
    let left = (-share + 1.0).clamp_min(f64::from(f32::EPSILON));
    let hidden = hidden.mask_fill(dropped.unsqueeze_dim::<3>(2).expand(shape), 0.0);
    hidden * (1.0 - MASKED_IN_TRAINING) / left.unsqueeze_dim::<3>(2)
}

#[derive(Module, Debug)]
struct Layer {
    attention_norm: LayerNorm,
    attention: SelfAttention,
    norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    dropout: Dropout,
}

impl Layer {
    fn new(config: &EsmConfig, init: &mut Init) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |init: &Init| LayerNorm::new(hidden, config.layer_norm_eps, init.device());
        Self {
            attention_norm: norm(init),
            attention: SelfAttention::new(config, init),
            norm: norm(init),
            intermediate: init.linear(hidden, inner),
            output: init.linear(inner, hidden),
            dropout: Dropout::new(config.hidden_dropout_prob.unwrap_or(0.0)),
        }
    }

    /// Operations that a row of `seq` takes less where one place asks.
    fn operations_spared(&self, seq: usize) -> f64 {
        let Self { attention, intermediate, output, .. } = self;
        let products = [&attention.query, &attention.output, intermediate, output];
        let values: usize = products.iter().map(|linear| linear.weight.shape().num_elements()).sum();
        let hidden = attention.query.weight.dims()[0];
        (seq.saturating_sub(1) * (2 * values + 4 * seq * hidden)) as f64
    }

    /// The layer at the first `places` places of a sequence, `[batch, seq, hidden]` to `[batch, places, hidden]`.
    fn forward(&self, hidden: Tensor<3>, places: usize, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let mixed = self.attention.forward(self.attention_norm.forward(hidden.clone()), places, mask);
        let hidden = first(hidden, places) + self.dropout.forward(mixed);
        // GELU whatever the configuration says.
        let inner = Activation::Gelu.after(&self.intermediate, self.norm.forward(hidden.clone()));
        hidden + self.dropout.forward(linear(&self.output, inner))
    }
}

/// The first `places` places of `[batch, seq, hidden]`.
fn first(hidden: Tensor<3>, places: usize) -> Tensor<3> {
    if places == hidden.dims()[1] { hidden } else { hidden.narrow(1, 0, places) }
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    probability_dropout: Dropout,
    heads: usize,
    #[module(skip)]
    rotary: Option<Rotary>,
}

impl SelfAttention {
    fn new(config: &EsmConfig, init: &mut Init) -> Self {
        let hidden = config.hidden_size;
        let rotary = || Rotary::new(config.rope_theta, config.head_width(), RopeScaling::None);
        Self {
            query: init.linear(hidden, hidden),
            key: init.linear(hidden, hidden),
            value: init.linear(hidden, hidden),
            output: init.linear(hidden, hidden),
            probability_dropout: Dropout::new(config.attention_probs_dropout_prob.unwrap_or(0.0)),
            heads: config.num_attention_heads,
            rotary: (config.position_embedding_type == EsmPositions::Rotary).then(rotary),
        }
    }

    fn forward(&self, hidden: Tensor<3>, places: usize, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let query = linear(&self.query, first(hidden.clone(), places));
        let [key, value] = [&self.key, &self.value].map(|layer| linear(layer, hidden.clone()));
        let [query, key] = [query, key].map(|input| self.turned(input));
        let (visible, dropout) = (Some(mask.clone()), &self.probability_dropout);
        linear(&self.output, multi_head_attention(query, key, value, self.heads, visible, dropout))
    }

    /// Queries or keys of the first places of a sequence, `[batch, places, hidden]`, turned by their place.
    fn turned(&self, input: Tensor<3>) -> Tensor<3> {
        let Some(rotary) = &self.rotary else { return input };
        let rotation = rotary.rotation(input.dims()[1], &input.device().inner());
        merge_heads(rotation.apply(split_heads(input, self.heads)))
    }
}

/// The angle by which each pair of a head's values turns from one place to the next, `[width / 2]`.
fn frequencies(theta: f64, width: usize) -> Vec<f32> {
    (0..width / 2).map(|pair| 1.0 / (theta as f32).powf((2 * pair) as f32 / width as f32)).collect()
}

impl FromPretrained for Esm {
    type Config = EsmConfig;
    const MODEL_TYPES: &'static [&'static str] = &["esm"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &EsmConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &EsmConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &EsmConfig) -> KeyMap {
        let map = esm_key_map(config.position_embedding_type);
        match config.position_embedding_type {
            EsmPositions::Absolute => map,
            // Transformers kept them in every layer, and reads them from there.
            EsmPositions::Rotary => (0..config.num_hidden_layers).fold(map, |map, layer| {
                let key = format!("esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq");
                map.computed(&key, frequencies(config.rope_theta, config.head_width()))
            }),
        }
    }
    fn hidden_size(config: &EsmConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &EsmConfig) -> usize {
        config.max_length()
    }
    fn head_dropout(config: &EsmConfig) -> f64 {
        config.head_dropout()
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &EsmConfig) -> &'static str {
        "Esm"
    }
    fn classification_pooling(_: &EsmConfig) -> Pooling {
        Pooling::Cls
    }
    fn classifier(config: &EsmConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let (hidden, deviation) = (config.hidden_size, config.initializer_range);
        let head = DenseHead { hidden, deviation, activation: Activation::Tanh, dropout: config.head_dropout() };
        head.classifier(num_labels, seed, device).with_dropout_first()
    }
}
