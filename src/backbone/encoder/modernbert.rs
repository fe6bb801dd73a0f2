//! ModernBERT ([Warner et al., 2024](https://arxiv.org/abs/2412.13663)), as Transformers'
//! `models/modernbert/modeling_modernbert.py` runs it: each sublayer is normalised before it runs, positions are rotary, the
//! feed-forward layers are gated, and most layers look at the places nearby only.

use super::embeddings::check_documents;
use super::layer::Pooler;
use super::modernbert_config::ModernBertConfig;
use super::modernbert_keys::modernbert_key_map;
use super::rotary_mix::{RotaryMix, runs_rotary_layers};
use crate::backbone::{Backbone, InputError, LayerKind, Pooling, TextInput, TextState};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{Classifier, MaskedLm, MultipleChoice, SpanHead, TokenClassifier, Transform};
use crate::nn::{Activation, Dropout, Embedding, Init, LayerNorm, Linear, Reach, RopeScaling, Rotary, Visible, linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The ModernBERT encoder. It does not read segment ids.
#[derive(Module, Debug)]
pub struct ModernBert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    norm: LayerNorm,
    /// Its files have none, so that one that is asked for starts fresh.
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
}

impl ModernBert {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`ModernBertConfig::check`] says whether it is.
    pub fn new(config: &ModernBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let kinds = config.layer_types();
        Self {
            embeddings: Embeddings {
                word_embeddings: init.embedding(config.vocab_size, config.hidden_size, config.pad_token_id),
                norm: norm(config, device),
                dropout: Dropout::new(config.embedding_dropout),
            },
            layers: kinds.into_iter().enumerate().map(|(at, kind)| Layer::new(config, at, kind, &mut init)).collect(),
            norm: norm(config, device),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config.hidden_size, &mut init)),
            pooling,
        }
    }

    /// A fresh masked-language-model head of its form (`ModernBertForMaskedLM`).
    pub fn masked_lm(config: &ModernBertConfig, seed: u64, device: &Device) -> MaskedLm {
        let head = MaskedLm::bare(config.vocab_size, config.decoder_bias, device);
        let head = head.with_transform(transform(config, seed, device));
        if config.tie_word_embeddings { head } else { head.untied(config.hidden_size, seed, device) }
    }

    fn table(&self) -> &Embedding {
        &self.embeddings.word_embeddings
    }
}

fn norm(config: &ModernBertConfig, device: &Device) -> LayerNorm {
    let norm = LayerNorm::new(config.hidden_size, config.norm_eps, device);
    if config.norm_bias { norm } else { norm.without_bias() }
}

/// The dense layer of all heads.
fn dense(config: &ModernBertConfig, seed: u64, device: &Device) -> Linear {
    let mut init = Init::new(seed ^ 0x30DE_2BE7, config.initializer_range, device);
    init.linear_with(config.hidden_size, config.hidden_size, config.classifier_bias)
}

fn transform(config: &ModernBertConfig, seed: u64, device: &Device) -> Transform {
    Transform::new(dense(config, seed, device), config.classifier_activation, norm(config, device))
}

impl Backbone for ModernBert {
    runs_rotary_layers!(norm);

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        check_documents(self.table(), input, usize::MAX)
    }

    fn embed(&self, input: TextInput) -> TextState {
        let Embeddings { word_embeddings, norm, dropout } = &self.embeddings;
        let hidden = dropout.forward(norm.forward(word_embeddings.forward(input.ids)));
        TextState::packed(hidden, input.mask, input.documents)
    }
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    norm: LayerNorm,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Layer {
    /// The first layer has none, for its input is normalised already.
    attention_norm: Option<LayerNorm>,
    attention: SelfAttention,
    mlp_norm: LayerNorm,
    mlp: Gated,
}

impl Layer {
    fn new(config: &ModernBertConfig, at: usize, kind: LayerKind, init: &mut Init) -> Self {
        Self {
            attention_norm: (at > 0).then(|| norm(config, init.device())),
            attention: SelfAttention::new(config, kind, init),
            mlp_norm: norm(config, init.device()),
            mlp: Gated::new(config, init),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let normal = match &self.attention_norm {
            Some(norm) => norm.forward(hidden.clone()),
            None => hidden.clone(),
        };
        let hidden = hidden + self.attention.forward(normal, visible);
        let inner = self.mlp.forward(self.mlp_norm.forward(hidden.clone()));
        hidden + inner
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    /// Queries, keys and values of all heads, one after the other.
    qkv: Linear,
    output: Linear,
    dropout: Dropout,
    mix: RotaryMix,
}

impl SelfAttention {
    fn new(config: &ModernBertConfig, kind: LayerKind, init: &mut Init) -> Self {
        let (hidden, heads, bias) = (config.hidden_size, config.num_attention_heads, config.attention_bias);
        let width = hidden / heads;
        let reach = match kind {
            LayerKind::FullAttention => Reach::Everywhere,
            LayerKind::SlidingAttention => Reach::Within(config.local_attention / 2),
        };
        // A configuration that was checked has them.
        let rotary = config.rotary(kind).unwrap_or(Rotary::new(10_000.0, width, RopeScaling::None));
        Self {
            qkv: init.linear_with(hidden, 3 * hidden, bias),
            output: init.linear_with(hidden, hidden, bias),
            dropout: Dropout::new(config.attention_dropout),
            mix: RotaryMix::new([heads, heads, width], rotary, reach, config.attention_dropout),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.mix.forward_fused(linear(&self.qkv, hidden), visible);
        self.dropout.forward(linear(&self.output, mixed))
    }
}

/// A gated feed-forward layer whose two inner maps are one: the first half of its values is activated and multiplied with
/// the second.
#[derive(Module, Debug)]
struct Gated {
    input: Linear,
    output: Linear,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Gated {
    fn new(config: &ModernBertConfig, init: &mut Init) -> Self {
        let (hidden, inner, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
        Self {
            input: init.linear_with(hidden, 2 * inner, bias),
            output: init.linear_with(inner, hidden, bias),
            dropout: Dropout::new(config.mlp_dropout),
            activation: config.hidden_activation,
        }
    }

    fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let gated = self.activation.gate_halves(linear(&self.input, hidden));
        linear(&self.output, self.dropout.forward(gated))
    }
}

impl FromPretrained for ModernBert {
    type Config = ModernBertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["modernbert"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &ModernBertConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &ModernBertConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(_: &ModernBertConfig) -> KeyMap {
        modernbert_key_map()
    }
    fn hidden_size(config: &ModernBertConfig) -> usize {
        config.hidden_size
    }
    fn max_length(config: &ModernBertConfig) -> usize {
        config.max_position_embeddings
    }
    fn head_dropout(config: &ModernBertConfig) -> f64 {
        config.classifier_dropout
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &ModernBertConfig) -> &'static str {
        "ModernBert"
    }
    fn classification_pooling(config: &ModernBertConfig) -> Pooling {
        config.classifier_pooling
    }
    fn classifier(config: &ModernBertConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        Classifier::new(config.hidden_size, num_labels, seed, device)
            .with_dropout(config.classifier_dropout)
            .with_dense(dense(config, seed, device), config.classifier_activation)
            .with_norm(norm(config, device))
    }
    fn token_classifier(config: &ModernBertConfig, num_labels: usize, seed: u64, device: &Device) -> TokenClassifier {
        TokenClassifier::new(config.hidden_size, num_labels, seed, device)
            .with_dropout(config.classifier_dropout)
            .with_transform(transform(config, seed, device))
    }
    fn span_head(config: &ModernBertConfig, seed: u64, device: &Device) -> SpanHead {
        SpanHead::new(config.hidden_size, seed, device)
            .with_dropout(config.classifier_dropout)
            .with_transform(transform(config, seed, device))
    }
    fn choice_pooling(config: &ModernBertConfig) -> Pooling {
        config.classifier_pooling
    }
    fn multiple_choice(config: &ModernBertConfig, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        MultipleChoice::new(config.hidden_size, choices, seed, device)
            .with_dropout(config.classifier_dropout)
            .with_transform(transform(config, seed, device))
    }
}
