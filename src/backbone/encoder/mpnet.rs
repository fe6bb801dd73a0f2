//! MPNet ([Song et al., 2020](https://arxiv.org/abs/2004.09297)), as Transformers' `models/mpnet/modeling_mpnet.py` runs it:
//! BERT's layers, and a bias on attention scores by the distance of two tokens, which all layers share.

use super::dense_head::DenseHead;
use super::embeddings::{Embeddings, counted_past};
use super::layer::Pooler;
use super::mpnet_config::{BUCKETS, PADDING};
use super::stack::{Encoder, runs_encoder};
use super::untied::{leaving_out, projecting_if_untied};
use super::{MpNetConfig, mpnet_key_map};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm, MultipleChoice};
use crate::nn::{Activation, Embedding, Init};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The MPNet encoder. Parameter paths are [`Bert`](super::Bert)'s. It does not read segment ids.
///
/// Each layer's stage also reads `relative_attention_bias`, which therefore rests and trains with the lowest layer.
#[derive(Module, Debug)]
pub struct MpNet {
    embeddings: Embeddings,
    encoder: Encoder,
    /// `[buckets, heads]`.
    relative_attention_bias: Embedding,
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
    max_length: usize,
}

impl MpNet {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`MpNetConfig::check`] says whether it is.
    pub fn new(config: &MpNetConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let (buckets, heads) = (config.relative_attention_num_buckets, config.num_attention_heads);
        Self {
            embeddings: Embeddings::new(config.embeddings(), &mut init),
            encoder: Encoder::new(&config.layer(), config.num_hidden_layers, &mut init),
            relative_attention_bias: init.embedding(buckets, heads, None),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config.hidden_size, &mut init)),
            pooling,
            max_length: config.max_length(),
        }
    }

    /// A fresh masked-language-model head of its form (`MPNetForMaskedLM`).
    pub fn masked_lm(config: &MpNetConfig, seed: u64, device: &Device) -> MaskedLm {
        // The head's activation is exact GELU whatever `hidden_act` says.
        let MpNetConfig { hidden_size, vocab_size, layer_norm_eps, .. } = *config;
        let head = MaskedLm::with(hidden_size, vocab_size, Activation::Gelu, layer_norm_eps, seed, device);
        projecting_if_untied(head, &config.extra, hidden_size, (seed, device))
    }

    /// What a layer's stage adds to attention scores, `[1, heads, seq, seq]`; `None` in other stages.
    fn bias(&self, stage: usize, state: &TextState) -> Option<Tensor<4>> {
        let [_, seq, _] = state.hidden.dims();
        self.encoder.is_layer(stage).then(|| {
            let buckets = (0..seq).flat_map(|query| (0..seq).map(move |key| bucket(query, key)));
            let buckets = TensorData::new(buckets.collect::<Vec<i64>>(), [seq, seq]);
            let buckets = Tensor::<2, Int>::from_data(buckets, &state.hidden.device().inner());
            // [query, key, heads] to [heads, query, key].
            self.relative_attention_bias.forward(buckets).permute([2, 0, 1]).unsqueeze()
        })
    }
}

/// The entry of the bias table for a query and a key at these places: half of the entries are for keys after the query;
/// the first half of those count single places, the others ever wider ranges up to [`FARTHEST`].
fn bucket(query: usize, key: usize) -> i64 {
    let (half, exact) = (BUCKETS / 2, BUCKETS / 4);
    let distance = query.abs_diff(key);
    // In f32 as PyTorch computes it.
    let range = (distance as f32 / exact as f32).ln() / (FARTHEST / exact as f32).ln() * (half - exact) as f32;
    let within = if distance < exact { distance } else { (exact + range as usize).min(half - 1) };
    (within + if key > query { half } else { 0 }) as i64
}

/// Distances from here on share an entry.
const FARTHEST: f32 = 128.0;

impl Backbone for MpNet {
    runs_encoder!(Self::bias);

    fn stages(&self) -> Stages {
        let shared = Some("relative_attention_bias");
        self.encoder.stages(Stages::new().stage("embeddings"), shared, self.pooler.as_ref())
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.embeddings.check(input, self.max_length)
    }

    fn embed(&self, input: TextInput) -> TextState {
        let positions = counted_past(PADDING, &input.ids);
        TextState::new(self.embeddings.forward(input.ids, input.type_ids, positions), input.mask)
    }
}

impl FromPretrained for MpNet {
    type Config = MpNetConfig;
    const MODEL_TYPES: &'static [&'static str] = &["mpnet"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &MpNetConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &MpNetConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &MpNetConfig) -> KeyMap {
        leaving_out(mpnet_key_map(), "lm_head.bias", &config.extra)
    }
    fn hidden_size(config: &MpNetConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &MpNetConfig) -> usize {
        config.max_length()
    }
    fn head_dropout(config: &MpNetConfig) -> f64 {
        config.head_dropout()
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &MpNetConfig) -> &'static str {
        "MPNet"
    }
    fn classification_pooling(_: &MpNetConfig) -> Pooling {
        Pooling::Cls
    }
    fn classifier(config: &MpNetConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let (hidden, deviation) = (config.hidden_size, config.initializer_range);
        let head = DenseHead { hidden, deviation, activation: Activation::Tanh, dropout: config.head_dropout() };
        head.classifier(num_labels, seed, device).with_dropout_first()
    }
    /// Its dropout is that of the layers, whatever the classifier's is.
    fn multiple_choice(config: &MpNetConfig, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        let MpNetConfig { hidden_size, hidden_dropout_prob, .. } = *config;
        MultipleChoice::new(hidden_size, choices, seed, device).with_dropout(hidden_dropout_prob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_places_and_then_ranges() {
        // Of Transformers' `relative_position_bucket`.
        let expected =
            [(0, 0), (1, 1), (7, 7), (8, 8), (11, 8), (12, 9), (16, 10), (23, 11), (32, 12), (64, 14), (91, 15)];
        for (distance, entry) in expected {
            assert_eq!(bucket(distance, 0), entry, "{distance} before");
            assert_eq!(bucket(0, distance), if distance == 0 { 0 } else { 16 + entry }, "{distance} after");
        }
        assert_eq!((bucket(500, 0), bucket(0, 500)), (15, 31));
    }
}
