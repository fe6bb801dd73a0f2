//! NomicBERT ([Nussbaum et al., 2024](https://arxiv.org/abs/2402.01613)), as Transformers'
//! `models/nomic_bert/modeling_nomic_bert.py` runs it: BERT with rotary positions, gated feed-forward layers and no biases in
//! its maps.

use super::embeddings::check_documents;
use super::layer::Pooler;
use super::nomic_bert_config::NomicBertConfig;
use super::nomic_bert_keys::nomic_bert_key_map;
use super::rotary_mix::{RotaryMix, runs_rotary_layers};
use super::untied::{leaving_out, projecting_if_untied};
use crate::backbone::{Backbone, InputError, Pooling, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::MaskedLm;
use crate::nn::{Dropout, Embedding, GatedMlp, Init, LayerNorm, Linear, Reach, RopeScaling, Rotary, Visible, linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The NomicBERT encoder.
#[derive(Module, Debug)]
pub struct NomicBert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    token_type_embeddings: Embedding,
    norm: LayerNorm,
    dropout: Dropout,
}

impl NomicBert {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`NomicBertConfig::check`] says whether it is.
    pub fn new(config: &NomicBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let hidden = config.hidden_size;
        Self {
            embeddings: Embeddings {
                word_embeddings: init.embedding(config.vocab_size, hidden, config.pad_token_id),
                token_type_embeddings: init.embedding(config.type_vocab_size, hidden, None),
                norm: LayerNorm::new(hidden, config.layer_norm_eps, device),
                dropout: Dropout::new(config.hidden_dropout_prob),
            },
            layers: (0..config.num_hidden_layers).map(|_| Layer::new(config, &mut init)).collect(),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(hidden, &mut init)),
            pooling,
        }
    }

    /// A fresh masked-language-model head of its form (`NomicBertForMaskedLM`).
    pub fn masked_lm(config: &NomicBertConfig, seed: u64, device: &Device) -> MaskedLm {
        let NomicBertConfig { hidden_size, vocab_size, hidden_act, layer_norm_eps, .. } = *config;
        let head = MaskedLm::with(hidden_size, vocab_size, hidden_act, layer_norm_eps, seed, device);
        projecting_if_untied(head, &config.extra, hidden_size, (seed, device))
    }

    fn table(&self) -> &Embedding {
        &self.embeddings.word_embeddings
    }
}

impl Backbone for NomicBert {
    runs_rotary_layers!();

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        check_documents(self.table(), input, usize::MAX)?;
        let types = self.embeddings.token_type_embeddings.weight.dims()[0];
        InputError::check_ids("segment", &input.type_ids, types)
    }

    fn embed(&self, input: TextInput) -> TextState {
        let Embeddings { word_embeddings, token_type_embeddings, norm, dropout } = &self.embeddings;
        let sum = word_embeddings.forward(input.ids) + token_type_embeddings.forward(input.type_ids);
        TextState::packed(dropout.forward(norm.forward(sum)), input.mask, input.documents)
    }
}

#[derive(Module, Debug)]
struct Layer {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    mlp: GatedMlp,
    mlp_norm: LayerNorm,
    attention_dropout: Dropout,
    mlp_dropout: Dropout,
}

impl Layer {
    fn new(config: &NomicBertConfig, init: &mut Init) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |init: &Init| LayerNorm::new(hidden, config.layer_norm_eps, init.device());
        Self {
            attention: SelfAttention::new(config, init),
            attention_norm: norm(init),
            mlp: GatedMlp::new(hidden, inner, false, config.hidden_act, init),
            mlp_norm: norm(init),
            attention_dropout: Dropout::new(config.hidden_dropout_prob),
            mlp_dropout: Dropout::new(config.hidden_dropout_prob),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.attention.forward(hidden.clone(), visible);
        let hidden = self.attention_norm.forward_residual(mixed, hidden, &self.attention_dropout);
        let inner = self.mlp.forward(hidden.clone());
        self.mlp_norm.forward_residual(inner, hidden, &self.mlp_dropout)
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    /// Queries, keys and values of all heads, one after the other.
    qkv: Linear,
    output: Linear,
    mix: RotaryMix,
}

impl SelfAttention {
    fn new(config: &NomicBertConfig, init: &mut Init) -> Self {
        let (hidden, heads, width) = (config.hidden_size, config.num_attention_heads, config.head_width());
        // A configuration that was checked has them.
        let rotary = config.rotary().unwrap_or(Rotary::new(1000.0, width, RopeScaling::None));
        let dropout = config.attention_probs_dropout_prob;
        Self {
            qkv: init.linear_with(hidden, 3 * heads * width, false),
            output: init.linear_with(heads * width, hidden, false),
            mix: RotaryMix::new([heads, heads, width], rotary, Reach::Everywhere, dropout),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        linear(&self.output, self.mix.forward_fused(linear(&self.qkv, hidden), visible))
    }
}

impl FromPretrained for NomicBert {
    type Config = NomicBertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["nomic_bert"];

    fn check_config(config: &NomicBertConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &NomicBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &NomicBertConfig) -> KeyMap {
        leaving_out(nomic_bert_key_map(), "cls.predictions.bias", &config.extra)
    }
    fn hidden_size(config: &NomicBertConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &NomicBertConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &NomicBertConfig) -> f64 {
        config.classifier_dropout.unwrap_or(config.hidden_dropout_prob)
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &NomicBertConfig) -> &'static str {
        "NomicBert"
    }
}
