//! BERT's configuration file.

use crate::checkpoint::CheckpointError;
use crate::nn::{Linear, gelu, linear, linear_gelu};
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a feed-forward layer applies between its two linear maps (`hidden_act`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x * Phi(x)`, exactly.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// The tanh approximation of GELU.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// `max(x, 0)`.
    #[serde(rename = "relu")]
    Relu,
    /// `x * sigmoid(x)`.
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

impl Activation {
    /// Any shape, unchanged.
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => gelu(input),
            Self::GeluTanh => activation::gelu_approximate(input),
            Self::Relu => activation::relu(input),
            Self::Silu => activation::silu(input),
        }
    }

    /// The activation of a linear layer's output, `[.., in]` to `[.., out]`.
    pub fn after<const D: usize>(self, layer: &Linear, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => linear_gelu(layer, input),
            _ => self.forward(linear(layer, input)),
        }
    }
}

/// BERT's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// `bert`, also where the file does not say, as those of 2019; Transformers wants it.
    #[serde(default = "bert")]
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Between the linear maps of the feed-forward layer.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    #[serde(default = "tenth")]
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    #[serde(default = "tenth")]
    pub attention_probs_dropout_prob: f64,
    /// Longest input in tokens.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Segment ids.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Deviation of fresh weights.
    #[serde(default = "default_deviation")]
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// Id of the padding token (0 where the file does not say); its embedding gets no gradient from look-ups.
    #[serde(default = "zero_id")]
    pub pad_token_id: Option<usize>,
    /// Dropout before the classifier; `hidden_dropout_prob` where `None`.
    #[serde(default)]
    pub classifier_dropout: Option<f64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for BertConfig {
    /// The sizes of `bert-base-uncased`.
    fn default() -> Self {
        Self {
            model_type: bert(),
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: tenth(),
            attention_probs_dropout_prob: tenth(),
            max_position_embeddings: default_positions(),
            type_vocab_size: two(),
            initializer_range: default_deviation(),
            layer_norm_eps: default_epsilon(),
            pad_token_id: zero_id(),
            classifier_dropout: None,
            extra: Map::new(),
        }
    }
}

fn bert() -> String {
    "bert".into()
}
fn tenth() -> f64 {
    0.1
}
fn two() -> usize {
    2
}
fn zero_id() -> Option<usize> {
    Some(0)
}
fn default_positions() -> usize {
    512
}
fn default_deviation() -> f64 {
    0.02
}
fn default_epsilon() -> f64 {
    1e-12
}

impl BertConfig {
    /// Dropout before a classification head, as Transformers takes it: `classifier_dropout`, or else
    /// `hidden_dropout_prob`.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == bert(), "model_type", &self.model_type, "bert")?;
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        for (field, size) in sizes {
            ensure(size > 0, field, size, "a number above 0")?;
        }
        // A damaged file must not ask for more memory than any machine has.
        let fits = self.parameters().is_some_and(|count| count <= MOST_PARAMETERS);
        ensure(fits, "hidden_size", self.hidden_size, "sizes of at most 100 billion parameters together")?;
        let divides = self.hidden_size.is_multiple_of(self.num_attention_heads);
        ensure(divides, "num_attention_heads", self.num_attention_heads, "a divisor of hidden_size")?;
        for (field, prob) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ] {
            ensure((0.0..1.0).contains(&prob), field, prob, "a probability from 0 to below 1")?;
        }
        ensure(self.layer_norm_eps > 0.0, "layer_norm_eps", self.layer_norm_eps, "a number above 0")?;
        ensure(
            self.pad_token_id.is_none_or(|id| id < self.vocab_size),
            "pad_token_id",
            "beyond vocab_size",
            "an id of the vocabulary",
        )?;
        self.check_extra()
    }

    /// The number of values of an encoder of these sizes, `None` where it overflows.
    fn parameters(&self) -> Option<usize> {
        let tables = self.vocab_size.checked_add(self.max_position_embeddings)?.checked_add(self.type_vocab_size)?;
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let layer = hidden.checked_add(1)?.checked_mul(hidden)?.checked_mul(4)?;
        let layer = layer.checked_add(hidden.checked_add(1)?.checked_mul(inner)?.checked_mul(2)?)?;
        tables.checked_mul(hidden)?.checked_add(layer.checked_mul(self.num_hidden_layers)?)
    }

    /// Keys that change what is computed, with the one value that is computed here.
    fn check_extra(&self) -> Result<(), CheckpointError> {
        let only = [
            ("position_embedding_type", Value::from("absolute")),
            ("is_decoder", Value::from(false)),
            ("add_cross_attention", Value::from(false)),
            ("tie_word_embeddings", Value::from(true)),
        ];
        for (field, supported) in only {
            let found = self.extra.get(field).filter(|value| !value.is_null()).unwrap_or(&supported);
            ensure(*found == supported, field, found, &supported.to_string())?;
        }
        Ok(())
    }
}

const MOST_PARAMETERS: usize = 100_000_000_000;

fn ensure(holds: bool, field: &str, value: impl ToString, supported: &str) -> Result<(), CheckpointError> {
    match holds {
        true => Ok(()),
        false => Err(CheckpointError::UnsupportedConfig {
            field: field.into(),
            value: value.to_string(),
            supported: supported.into(),
        }),
    }
}
