//! The stages that all decoders have: embeddings, layers, a norm at the end.

use super::config::{Sizes, head_dropout};
use super::layer::DecoderLayer;
use crate::backbone::{Stages, TextState};
use crate::checkpoint::{FromPretrained, KeyMap};
use crate::head::CausalLm;
use crate::nn::{Init, RmsNorm};
use burn::tensor::{Device, Tensor};

/// A decoder that predicts the next token.
pub trait CausalDecoder: FromPretrained {
    /// A fresh head for the next token in the form that Transformers gives it on this architecture (`..ForCausalLM`):
    /// tied to the token embedding or not, as the configuration says.
    fn causal_lm(config: &Self::Config, seed: u64, device: &Device) -> CausalLm;
}

/// Stages for a table of tokens, layers and a norm.
pub(super) fn stages(layers: usize) -> Stages {
    Stages::new().stage("embed_tokens").stages("layers", layers).stage("norm").counted_with_head()
}

/// Layer `index - 1`, or the norm at the end.
pub(super) fn stage<L: DecoderLayer>(
    layers: &[L],
    norm: impl Fn(Tensor<3>) -> Tensor<3>,
    index: usize,
    mut state: TextState,
) -> TextState {
    let visible = state.visible();
    state.hidden = match layers.get(index - 1) {
        Some(layer) => layer.forward(state.hidden, &visible),
        None => norm(state.hidden),
    };
    state
}

/// See [`Backbone::mixing_operations`](crate::backbone::Backbone::mixing_operations).
pub(super) fn mixing_operations<L: DecoderLayer>(layers: &[L], stage: usize, seq: usize) -> f64 {
    let layer = stage.checked_sub(1).and_then(|index| layers.get(index));
    // Queries with keys, probabilities with values: two operations for each pair of places and each feature.
    layer.map_or(0.0, |layer| 4.0 * (seq * seq * layer.attention_width()) as f64)
}

/// The table of `..Model` and its heads, where parameters are called as in files.
fn key_map(tied: bool) -> KeyMap {
    let map = KeyMap::new("model")
        .rule("backbone.embed_tokens", "model.embed_tokens")
        .rule("backbone.layers", "model.layers")
        .rule("backbone.norm", "model.norm")
        .rule("head.linear", "score")
        .rule("head.outputs", "qa_outputs")
        .ignore("**.rotary_emb.inv_freq", "made from the configuration");
    match tied {
        true => map.tied("lm_head.weight", "model.embed_tokens.weight"),
        false => map.rule("head.lm_head", "lm_head"),
    }
}

/// The table of an architecture whose class for question answering calls the body `transformer`.
pub(super) fn with_spans(map: KeyMap) -> KeyMap {
    map.prefixed_with("head.outputs", "transformer")
}

/// What tells a decoder of root mean square norms from others of its kind.
pub(super) trait RotaryConfig {
    type Layer;

    fn sizes(&self) -> Sizes<'_>;

    fn layer(&self, index: usize, init: &mut Init) -> Self::Layer;

    /// The norm at the end.
    fn norm(&self, device: &Device) -> RmsNorm {
        RmsNorm::new(self.sizes().hidden_size, self.sizes().rms_norm_eps, device)
    }

    /// What embeddings are multiplied by.
    fn embedding_scale(&self) -> Option<f64> {
        None
    }

    /// What the logits of the next token are kept within.
    fn logit_cap(&self) -> Option<f64> {
        None
    }

    /// The table of keys with those of heads that this decoder alone has.
    fn with_own_heads(&self, map: KeyMap) -> KeyMap {
        map
    }
}

/// What a configuration says of a decoder's files and heads.
pub(super) trait DecoderFile {
    fn key_map(&self) -> KeyMap;

    /// Width of the features.
    fn width(&self) -> usize;

    /// Length in tokens that the network was trained for.
    fn positions(&self) -> usize;

    /// Dropout before a head for token classes.
    fn head_dropout(&self) -> f64;

    fn causal_lm(&self, seed: u64, device: &Device) -> CausalLm;
}

impl<C: RotaryConfig> DecoderFile for C {
    fn key_map(&self) -> KeyMap {
        self.with_own_heads(key_map(self.sizes().tied))
    }

    fn width(&self) -> usize {
        self.sizes().hidden_size
    }

    fn positions(&self) -> usize {
        self.sizes().max_position_embeddings
    }

    fn head_dropout(&self) -> f64 {
        head_dropout(self.sizes().extra)
    }

    fn causal_lm(&self, seed: u64, device: &Device) -> CausalLm {
        let Sizes { hidden_size, vocab_size, tied, .. } = self.sizes();
        let head = match tied {
            true => CausalLm::tied(vocab_size),
            false => CausalLm::untied(hidden_size, vocab_size, seed, device),
        };
        match self.logit_cap() {
            Some(cap) => head.with_soft_cap(cap),
            None => head,
        }
    }
}

/// A backbone of a token embedding, layers of one kind and a root mean square norm, from a [`RotaryConfig`].
macro_rules! rotary_decoder {
    ($(#[$doc:meta])* $name:ident, $config:ty, $layer:ty, $model_type:literal, $class:literal) => {
        $(#[$doc])*
        #[derive(burn::module::Module, Debug)]
        pub struct $name {
            embed_tokens: $crate::nn::Embedding,
            layers: Vec<$layer>,
            norm: $crate::nn::RmsNorm,
            #[module(skip)]
            frame: $crate::backbone::decoder::frame::Frame,
        }

        impl $name {
            /// A fresh network with weights drawn from `seed`.
            ///
            /// The configuration is taken as valid; its `check` says whether it is.
            pub fn new(
                config: &$config,
                pooling: $crate::backbone::Pooling,
                seed: u64,
                device: &burn::tensor::Device,
            ) -> Self {
                use $crate::backbone::decoder::{body::RotaryConfig, config::padding_row, frame::Frame};
                let sizes = config.sizes();
                let mut init = $crate::nn::Init::new(seed, sizes.initializer_range, device);
                let padding = sizes.pad_token_id;
                let row = padding.and_then(|id| padding_row(id, sizes.vocab_size));
                Self {
                    embed_tokens: init.embedding(sizes.vocab_size, sizes.hidden_size, row),
                    layers: (0..sizes.num_hidden_layers).map(|index| config.layer(index, &mut init)).collect(),
                    norm: config.norm(device),
                    frame: Frame { pooling, padding, scale: config.embedding_scale() },
                }
            }
        }

        impl $crate::backbone::Backbone for $name {
            type Input = $crate::backbone::TextInput;
            type State = $crate::backbone::TextState;
            type Features = $crate::backbone::TextFeatures;

            fn stages(&self) -> $crate::backbone::Stages {
                $crate::backbone::decoder::body::stages(self.layers.len())
            }
            fn check(&self, input: &Self::Input) -> Result<(), $crate::backbone::InputError> {
                self.frame.check(input, self.embed_tokens.weight.dims()[0], None)
            }
            fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
                $crate::backbone::decoder::body::mixing_operations(&self.layers, stage, seq)
            }
            fn embed(&self, input: Self::Input) -> Self::State {
                self.frame.state(self.embed_tokens.forward(input.ids.clone()), input)
            }
            fn stage(&self, index: usize, state: Self::State) -> Self::State {
                $crate::backbone::decoder::body::stage(&self.layers, |hidden| self.norm.forward(hidden), index, state)
            }
            fn finish(&self, state: Self::State) -> Self::Features {
                state.into_features(self.frame.pooling, self.embed_tokens.weight.val())
            }
        }

        $crate::backbone::decoder::body::pretrained_decoder!($name, $config, $model_type, $class);
    };
}
pub(super) use rotary_decoder;

/// How a decoder is built from a file of a [`DecoderFile`], and the heads that Transformers puts on it.
macro_rules! pretrained_decoder {
    ($name:ident, $config:ty, $model_type:literal, $class:literal) => {
        impl $crate::checkpoint::FromPretrained for $name {
            type Config = $config;
            const MODEL_TYPES: &'static [&'static str] = &[$model_type];
            const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

            fn check_config(config: &$config) -> Result<(), $crate::checkpoint::CheckpointError> {
                config.check()
            }
            fn build(
                config: &$config,
                pooling: $crate::backbone::Pooling,
                seed: u64,
                device: &burn::tensor::Device,
            ) -> Self {
                Self::new(config, pooling, seed, device)
            }
            fn key_map(config: &$config) -> $crate::checkpoint::KeyMap {
                $crate::backbone::decoder::body::DecoderFile::key_map(config)
            }
            fn hidden_size(config: &$config) -> usize {
                $crate::backbone::decoder::body::DecoderFile::width(config)
            }
            fn max_length(config: &$config) -> usize {
                $crate::backbone::decoder::body::DecoderFile::positions(config)
            }
            fn head_dropout(config: &$config) -> f64 {
                $crate::backbone::decoder::body::DecoderFile::head_dropout(config)
            }
            fn pooling(&self) -> $crate::backbone::Pooling {
                self.frame.pooling
            }
            fn class_prefix(_: &$config) -> &'static str {
                $class
            }
            fn classification_pooling(_: &$config) -> $crate::backbone::Pooling {
                $crate::backbone::Pooling::LastToken
            }
            fn classifier(
                config: &$config,
                num_labels: usize,
                seed: u64,
                device: &burn::tensor::Device,
            ) -> $crate::head::Classifier {
                let head = $crate::head::Classifier::new(Self::hidden_size(config), num_labels, seed, device);
                head.with_dropout(0.0).without_bias()
            }
        }

        impl $crate::backbone::CausalDecoder for $name {
            fn causal_lm(config: &$config, seed: u64, device: &burn::tensor::Device) -> $crate::head::CausalLm {
                $crate::backbone::decoder::body::DecoderFile::causal_lm(config, seed, device)
            }
        }
    };
}
pub(super) use pretrained_decoder;
