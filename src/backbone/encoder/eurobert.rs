//! EuroBERT ([Boizard et al., 2025](https://arxiv.org/abs/2503.05500)), as Transformers' `models/eurobert/modeling_eurobert.py`
//! runs it: LLaMA's layers, in which every token sees every other one.

use super::embeddings::check_documents;
use super::eurobert_config::EuroBertConfig;
use super::eurobert_keys::eurobert_key_map;
use super::layer::Pooler;
use super::rotary_mix::{RotaryMix, runs_rotary_layers};
use crate::backbone::{Backbone, InputError, Pooling, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm};
use crate::nn::{Activation, Embedding, GatedMlp, Init, Linear, Reach, RmsNorm, RopeScaling, Rotary, Visible, linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The EuroBERT encoder. It does not read segment ids.
#[derive(Module, Debug)]
pub struct EuroBert {
    embeddings: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// Its files have none, so that one that is asked for starts fresh.
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
}

impl EuroBert {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`EuroBertConfig::check`] says whether it is.
    pub fn new(config: &EuroBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            embeddings: init.embedding(config.vocab_size, config.hidden_size, config.pad_token_id),
            layers: (0..config.num_hidden_layers).map(|_| Layer::new(config, &mut init)).collect(),
            norm: RmsNorm::new(config.hidden_size, config.rms_norm_eps, device),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config.hidden_size, &mut init)),
            pooling,
        }
    }

    /// A fresh masked-language-model head of its form (`EuroBertForMaskedLM`): a projection alone.
    pub fn masked_lm(config: &EuroBertConfig, seed: u64, device: &Device) -> MaskedLm {
        let head = MaskedLm::bare(config.vocab_size, config.mlp_bias, device);
        if config.tie_word_embeddings { head } else { head.untied(config.hidden_size, seed, device) }
    }

    fn table(&self) -> &Embedding {
        &self.embeddings
    }
}

impl Backbone for EuroBert {
    runs_rotary_layers!(norm);

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        check_documents(self.table(), input, usize::MAX)
    }

    fn embed(&self, input: TextInput) -> TextState {
        TextState::packed(self.embeddings.forward(input.ids), input.mask, input.documents)
    }
}

#[derive(Module, Debug)]
struct Layer {
    attention_norm: RmsNorm,
    attention: SelfAttention,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
}

impl Layer {
    fn new(config: &EuroBertConfig, init: &mut Init) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |init: &Init| RmsNorm::new(hidden, config.rms_norm_eps, init.device());
        Self {
            attention_norm: norm(init),
            attention: SelfAttention::new(config, init),
            mlp_norm: norm(init),
            mlp: GatedMlp::new(hidden, inner, config.mlp_bias, config.hidden_act, init),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.attention.forward(self.attention_norm.forward(hidden.clone()), visible);
        let [hidden, normal] = self.mlp_norm.forward_residual(mixed, hidden, None);
        hidden + self.mlp.forward(normal)
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    mix: RotaryMix,
}

impl SelfAttention {
    fn new(config: &EuroBertConfig, init: &mut Init) -> Self {
        let (hidden, bias) = (config.hidden_size, config.attention_bias);
        let sizes @ [heads, groups, width] = config.heads();
        // A configuration that was checked has them.
        let rotary = config.rotary().unwrap_or(Rotary::new(10_000.0, width, RopeScaling::None));
        Self {
            query: init.linear_with(hidden, heads * width, bias),
            key: init.linear_with(hidden, groups * width, bias),
            value: init.linear_with(hidden, groups * width, bias),
            output: init.linear_with(heads * width, hidden, bias),
            mix: RotaryMix::new(sizes, rotary, Reach::Everywhere, config.attention_dropout),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|map| linear(map, hidden.clone()));
        linear(&self.output, self.mix.forward(query, key, value, visible))
    }
}

impl FromPretrained for EuroBert {
    type Config = EuroBertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["eurobert"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &EuroBertConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &EuroBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(_: &EuroBertConfig) -> KeyMap {
        eurobert_key_map()
    }
    fn hidden_size(config: &EuroBertConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &EuroBertConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &EuroBertConfig) -> f64 {
        config.classifier_dropout.unwrap_or(0.0)
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &EuroBertConfig) -> &'static str {
        "EuroBert"
    }
    fn classification_pooling(config: &EuroBertConfig) -> Pooling {
        config.pooling()
    }
    /// Its dense layer runs GELU whatever the configuration says.
    fn classifier(config: &EuroBertConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let dense = Init::new(seed ^ 0xE02B_E272, config.initializer_range, device)
            .linear(config.hidden_size, config.hidden_size);
        let head = Classifier::new(config.hidden_size, num_labels, seed, device)
            .with_dropout(Self::head_dropout(config))
            .with_dense(dense, Activation::Gelu);
        if config.pools_late() { head.with_late_pooling() } else { head }
    }
}
