//! What the configuration files of decoders with rotary positions and root mean square norms have in common.

use crate::backbone::config::{check_deviation, check_epsilon, check_probabilities, check_sizes, check_total, ensure};
use crate::backbone::rope::RopeFields;
use crate::checkpoint::CheckpointError;
use crate::nn::{Reach, RopeScaling, Rotary};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A `config.json` in Transformers' names: the fields that all have, with the defaults of this class of Transformers,
/// and its own.
macro_rules! decoder_config {
    (
        $(#[$doc:meta])*
        $name:ident, $model_type:literal { $($size:ident: $value:expr,)* }
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
    ) => {
        $(#[$doc])*
        ///
        /// Keys that are not read, such as those of the rotary embeddings, are kept in `extra` and written again.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            /// The kind of model.
            pub model_type: String,
            /// Entries of the token embedding.
            pub vocab_size: usize,
            /// Width of a token's vector.
            pub hidden_size: usize,
            /// Width inside the feed-forward layer.
            pub intermediate_size: usize,
            /// Number of layers.
            pub num_hidden_layers: usize,
            /// Heads of queries.
            pub num_attention_heads: usize,
            /// Heads of keys and values, each for several heads of queries; as many as those where `None`.
            pub num_key_value_heads: Option<usize>,
            /// Width of a head; `hidden_size / num_attention_heads` where `None`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub head_dim: Option<usize>,
            /// Length in tokens that the network was trained for. Rotary positions go on beyond it.
            pub max_position_embeddings: usize,
            /// Deviation of fresh weights.
            pub initializer_range: f64,
            /// Added to the mean square in norms.
            pub rms_norm_eps: f64,
            /// Dropout on attention probabilities while training; none where the file says null.
            #[serde(deserialize_with = "crate::backbone::decoder::config::none_where_null")]
            pub attention_dropout: f64,
            /// Whether the output projection is the token embedding.
            pub tie_word_embeddings: bool,
            /// Id of the padding token, from the end where it is negative; its embedding gets no gradient from look-ups.
            pub pad_token_id: Option<i64>,
            $($(#[$field_doc])* pub $field: $type,)*
            /// The other keys of the file.
            #[serde(flatten)]
            pub extra: serde_json::Map<String, serde_json::Value>,
        }

        impl Default for $name {
            /// What Transformers takes for keys that are absent.
            fn default() -> Self {
                Self {
                    model_type: $model_type.into(),
                    initializer_range: 0.02,
                    attention_dropout: 0.0,
                    $($size: $value,)*
                    $($field: $default,)*
                    extra: serde_json::Map::new(),
                }
            }
        }

        impl $name {
            /// The fields that all have.
            pub(super) fn sizes(&self) -> $crate::backbone::decoder::config::Sizes<'_> {
                $crate::backbone::decoder::config::Sizes {
                    model_type: &self.model_type,
                    vocab_size: self.vocab_size,
                    hidden_size: self.hidden_size,
                    intermediate_size: self.intermediate_size,
                    num_hidden_layers: self.num_hidden_layers,
                    heads: self.num_attention_heads,
                    groups: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
                    head_dim: self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1)),
                    max_position_embeddings: self.max_position_embeddings,
                    initializer_range: self.initializer_range,
                    rms_norm_eps: self.rms_norm_eps,
                    attention_dropout: self.attention_dropout,
                    tied: self.tie_word_embeddings,
                    pad_token_id: self.pad_token_id,
                    extra: &self.extra,
                }
            }
        }
    };
}
pub(super) use decoder_config;

/// The fields that the configurations of all these decoders have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes<'a> {
    pub(super) model_type: &'a str,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) heads: usize,
    pub(super) groups: usize,
    pub(super) head_dim: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) initializer_range: f64,
    pub(super) rms_norm_eps: f64,
    pub(super) attention_dropout: f64,
    pub(super) tied: bool,
    pub(super) pad_token_id: Option<i64>,
    pub(super) extra: &'a Map<String, Value>,
}

impl<'a> Sizes<'a> {
    /// Checks them; `model_type` is what the file has to say.
    pub(super) fn check(&self, model_type: &str) -> Result<(), CheckpointError> {
        ensure(self.model_type == model_type, "model_type", self.model_type, model_type)?;
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        let fits = self.groups > 0 && self.heads.is_multiple_of(self.groups);
        ensure(
            fits,
            "num_key_value_heads",
            self.groups,
            &format!("a divisor of num_attention_heads ({})", self.heads),
        )?;
        check_total(&[
            &[2, self.vocab_size, self.hidden_size],
            &[self.num_hidden_layers, 4, self.hidden_size, self.heads, self.head_dim],
            &[self.num_hidden_layers, 3, self.hidden_size, self.intermediate_size],
        ])?;
        check_epsilon("rms_norm_eps", self.rms_norm_eps)?;
        check_deviation("initializer_range", self.initializer_range)?;
        check_probabilities(&[("attention_dropout", self.attention_dropout)])?;
        check_padding(self.pad_token_id, self.vocab_size)
    }

    /// The rotary keys.
    pub(super) fn rope(&self) -> RopeFields<'a> {
        RopeFields::new(self.extra, self.head_dim, self.max_position_embeddings)
    }

    /// The rotary positions that all layers share, of a configuration that was checked; without scaling where it cannot
    /// be read.
    pub(super) fn rotary(&self) -> Rotary {
        self.rope().shared().unwrap_or_else(|_| Rotary::new(10_000.0, self.head_dim, RopeScaling::None))
    }
}

/// Writes a number without a fraction where it has none: Transformers refuses `256.0` for fields of whole numbers.
pub(super) fn whole_where_it_is<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Below 2^53 a float holds every whole number.
    match value.fract() == 0.0 && value.abs() < 9e15 {
        true => serializer.serialize_i64(*value as i64),
        false => serializer.serialize_f64(*value),
    }
}

/// Reads a probability of which null is none.
pub(super) fn none_where_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(0.0))
}

/// Dropout before a head for token classes, as Transformers' generic head takes it.
pub(super) fn head_dropout(extra: &Map<String, Value>) -> f64 {
    let given = ["classifier_dropout", "hidden_dropout"].iter().find_map(|field| extra.get(*field)?.as_f64());
    given.unwrap_or(0.1)
}

/// The padding id is an entry of the vocabulary, counted from either end.
pub(super) fn check_padding(id: Option<i64>, vocab_size: usize) -> Result<(), CheckpointError> {
    let fits = id.is_none_or(|id| padding_row(id, vocab_size).is_some());
    ensure(fits, "pad_token_id", id.unwrap_or_default(), &format!("an id of the vocabulary of {vocab_size}"))
}

/// The row of the embedding that belongs to a padding id.
pub(super) fn padding_row(id: i64, vocab_size: usize) -> Option<usize> {
    let from_start = if id < 0 { id.checked_add(vocab_size as i64)? } else { id };
    usize::try_from(from_start).ok().filter(|row| *row < vocab_size)
}

/// How far the layers of one kind see (`layer_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    /// All places that the network's direction allows.
    FullAttention,
    /// Of these, those in a window.
    SlidingAttention,
}

/// The reach of a causal layer with a window of `window` tokens, if any.
pub(super) fn causal(window: Option<usize>) -> Reach {
    window.map_or(Reach::Back, Reach::BackWithin)
}

/// A window of tokens holds at least one.
pub(super) fn check_window(window: Option<usize>) -> Result<(), CheckpointError> {
    ensure(window != Some(0), "sliding_window", 0, "a number above 0, or null")
}

/// One kind for each layer; those of a window need one.
pub(super) fn check_layer_types(
    kinds: &[LayerKind],
    layers: usize,
    window: Option<usize>,
) -> Result<(), CheckpointError> {
    let count = format!("{} kinds", kinds.len());
    ensure(kinds.len() == layers, "layer_types", count, &format!("one for each of the {layers} layers"))?;
    let fits = window.is_some() || !kinds.contains(&LayerKind::SlidingAttention);
    ensure(fits, "sliding_window", "null", "a number, for some `layer_types` are `sliding_attention`")?;
    check_window(window)
}
