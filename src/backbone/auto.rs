//! A text backbone whose architecture is known at run time only.

use super::CausalDecoder;
use super::{
    Albert, AlbertConfig, Backbone, Bert, BertConfig, DebertaV2, DebertaV2Config, DistilBert, DistilBertConfig,
    Electra, ElectraConfig, Esm, EsmConfig, EuroBert, EuroBertConfig, Gemma2, Gemma2Config, Gemma3, Gemma3Config, Gpt2,
    Gpt2Config, GptNeox, GptNeoxConfig, InputError, Llama, LlamaConfig, Mistral, MistralConfig, ModernBert,
    ModernBertConfig, MpNet, MpNetConfig, NomicBert, NomicBertConfig, Opt, OptConfig, Phi3, Phi3Config, Pooling, Qwen2,
    Qwen2Config, Qwen3, Qwen3Config, Roberta, RobertaConfig, Stages, T5Config, T5Encoder, TextFeatures, TextInput,
    TextState,
};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::{CausalLm, Classifier, MaskedLm, MultipleChoice, SpanHead, TokenClassifier};
use burn::module::Module;
use burn::tensor::Device;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Each architecture with its configuration and the `model_type`s that it reads.
macro_rules! auto_text {
    ($($name:ident, $config:ident: $($model_type:literal)|+;)*) => {
        /// Any backbone that reads one text a row, chosen by `model_type` of `config.json`: for programs that learn the
        /// architecture at run time. One that knows it names the type itself, such as [`Bert`], and gets what only that has.
        ///
        /// Parameters have the paths of the architecture's own type.
        #[derive(Module, Debug)]
        #[non_exhaustive]
        #[allow(clippy::large_enum_variant)]
        pub enum AutoText {
            $(
                #[doc = concat!("A [`", stringify!($name), "`].")]
                $name($name),
            )*
        }

        /// The configuration of an [`AutoText`].
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        #[allow(clippy::large_enum_variant)]
        pub enum AutoTextConfig {
            $(
                #[doc = concat!("That of a [`", stringify!($name), "`].")]
                $name($config),
            )*
        }

        impl Serialize for AutoTextConfig {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$name(config) => config.serialize(serializer),)*
                }
            }
        }

        impl<'de> Deserialize<'de> for AutoTextConfig {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = Value::deserialize(deserializer)?;
                let of = |error: serde_json::Error| D::Error::custom(error);
                match value["model_type"].as_str() {
                    $($(Some($model_type))|+ => Ok(Self::$name(serde_json::from_value(value).map_err(of)?)),)*
                    found => Err(D::Error::custom(format!(
                        "`model_type` is {}; supported are {}",
                        found.map_or("missing".into(), |found| format!("`{found}`")),
                        MODEL_TYPES.join(", ")
                    ))),
                }
            }
        }

        /// Calls a function of the network's own type.
        macro_rules! of_network {
            ($network:expr, $inner:ident => $call:expr) => {
                match $network {
                    $(AutoText::$name($inner) => $call,)*
                }
            };
        }

        /// Calls a function of `Network`, the type that belongs to a configuration.
        macro_rules! of_config {
            ($given:expr, $inner:ident => $call:expr) => {
                match $given {
                    $(AutoTextConfig::$name($inner) => {
                        type Network = $name;
                        $call
                    })*
                }
            };
        }

        /// A fresh network of the architecture that the configuration is of.
        fn build(config: &AutoTextConfig, pooling: Pooling, seed: u64, device: &Device) -> AutoText {
            match config {
                $(AutoTextConfig::$name(config) => AutoText::$name($name::build(config, pooling, seed, device)),)*
            }
        }

        /// The `model_type`s of all.
        const MODEL_TYPES: &[&str] = &[$($($model_type),+),*];
    };
}

auto_text! {
    Bert, BertConfig: "bert";
    Roberta, RobertaConfig: "roberta" | "xlm-roberta" | "camembert";
    DistilBert, DistilBertConfig: "distilbert";
    Electra, ElectraConfig: "electra";
    Albert, AlbertConfig: "albert";
    MpNet, MpNetConfig: "mpnet";
    Esm, EsmConfig: "esm";
    ModernBert, ModernBertConfig: "modernbert";
    DebertaV2, DebertaV2Config: "deberta-v2";
    EuroBert, EuroBertConfig: "eurobert";
    NomicBert, NomicBertConfig: "nomic_bert";
    T5Encoder, T5Config: "t5";
    Llama, LlamaConfig: "llama";
    Mistral, MistralConfig: "mistral";
    Qwen2, Qwen2Config: "qwen2";
    Qwen3, Qwen3Config: "qwen3";
    Gemma2, Gemma2Config: "gemma2";
    Gemma3, Gemma3Config: "gemma3_text";
    Phi3, Phi3Config: "phi3";
    GptNeox, GptNeoxConfig: "gpt_neox";
    Gpt2, Gpt2Config: "gpt2";
    Opt, OptConfig: "opt";
}

/// The arms of a match for architectures that share a head.
macro_rules! head_of {
    ($config:expr, $seed:expr, $device:expr, $head:ident of $($name:ident),*) => {
        match $config {
            $(AutoTextConfig::$name(config) => Ok($name::$head(config, $seed, $device)),)*
            other => Err(CheckpointError::UnsupportedConfig {
                field: "model_type".into(),
                value: format!("that of {}", AutoText::class_prefix(other)),
                supported: concat!("with ", stringify!($head), ": ", $(stringify!($name), " "),*).trim_end().into(),
            }),
        }
    };
}

impl AutoText {
    /// A fresh masked-language-model head in the form that Transformers gives it on this architecture.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] for an architecture without one.
    pub fn masked_lm(config: &AutoTextConfig, seed: u64, device: &Device) -> Result<MaskedLm, CheckpointError> {
        head_of!(config, seed, device, masked_lm of Bert, Roberta, DistilBert, Electra, Albert, MpNet, ModernBert, DebertaV2,
            EuroBert, NomicBert, Esm)
    }

    /// A fresh next-token head in the form that Transformers gives it on this architecture.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] for an architecture without one.
    pub fn causal_lm(config: &AutoTextConfig, seed: u64, device: &Device) -> Result<CausalLm, CheckpointError> {
        head_of!(config, seed, device, causal_lm of Llama, Mistral, Qwen2, Qwen3, Gemma2, Gemma3, Phi3, GptNeox, Gpt2, Opt)
    }
}

impl Backbone for AutoText {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        of_network!(self, network => network.stages())
    }
    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        of_network!(self, network => network.check(input))
    }
    fn positions(&self) -> Option<usize> {
        of_network!(self, network => network.positions())
    }
    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        of_network!(self, network => network.mixing_operations(stage, seq))
    }
    fn operations_spared(&self, stage: usize, seq: usize) -> f64 {
        of_network!(self, network => network.operations_spared(stage, seq))
    }
    fn leaves_out(&self, stage: usize) -> bool {
        of_network!(self, network => network.leaves_out(stage))
    }
    fn embed(&self, input: TextInput) -> TextState {
        of_network!(self, network => network.embed(input))
    }
    fn stage(&self, index: usize, state: TextState) -> TextState {
        of_network!(self, network => network.stage(index, state))
    }
    fn stage_pooled(&self, index: usize, state: TextState) -> TextState {
        of_network!(self, network => network.stage_pooled(index, state))
    }
    fn finish(&self, state: TextState) -> TextFeatures {
        of_network!(self, network => network.finish(state))
    }
}

impl FromPretrained for AutoText {
    type Config = AutoTextConfig;
    const MODEL_TYPES: &'static [&'static str] = MODEL_TYPES;

    fn build(config: &AutoTextConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        build(config, pooling, seed, device)
    }
    fn check_config(config: &AutoTextConfig) -> Result<(), CheckpointError> {
        of_config!(config, config => Network::check_config(config))
    }
    fn key_map(config: &AutoTextConfig) -> KeyMap {
        of_config!(config, config => Network::key_map(config))
    }
    fn input_names(config: &AutoTextConfig) -> &'static [&'static str] {
        of_config!(config, config => Network::input_names(config))
    }
    fn dropout_field(config: &AutoTextConfig) -> &'static str {
        of_config!(config, config => Network::dropout_field(config))
    }
    fn hidden_size(config: &AutoTextConfig) -> usize {
        of_config!(config, config => Network::hidden_size(config))
    }
    fn max_length(config: &AutoTextConfig) -> usize {
        of_config!(config, config => <Network as FromPretrained>::max_length(config))
    }
    fn head_dropout(config: &AutoTextConfig) -> f64 {
        of_config!(config, config => Network::head_dropout(config))
    }
    fn pooling(&self) -> Pooling {
        of_network!(self, network => network.pooling())
    }
    fn class_prefix(config: &AutoTextConfig) -> &'static str {
        of_config!(config, config => Network::class_prefix(config))
    }
    fn body_class(config: &AutoTextConfig) -> String {
        of_config!(config, config => Network::body_class(config))
    }
    fn classification_pooling(config: &AutoTextConfig) -> Pooling {
        of_config!(config, config => Network::classification_pooling(config))
    }
    fn classifier(config: &AutoTextConfig, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        of_config!(config, config => Network::classifier(config, num_labels, seed, device))
    }
    fn token_classifier(config: &AutoTextConfig, num_labels: usize, seed: u64, device: &Device) -> TokenClassifier {
        of_config!(config, config => Network::token_classifier(config, num_labels, seed, device))
    }
    fn span_head(config: &AutoTextConfig, seed: u64, device: &Device) -> SpanHead {
        of_config!(config, config => Network::span_head(config, seed, device))
    }
    fn choice_pooling(config: &AutoTextConfig) -> Pooling {
        of_config!(config, config => Network::choice_pooling(config))
    }
    fn multiple_choice(config: &AutoTextConfig, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        of_config!(config, config => Network::multiple_choice(config, choices, seed, device))
    }
}
