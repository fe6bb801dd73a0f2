//! The configuration file of BART and Marian.

use super::DecoderStart;
use super::layer::LayerConfig;
use crate::backbone::config::{
    check_divides, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// `config.json` of BART and Marian, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct BartConfig {
    /// `bart` or `marian`.
    pub model_type: String,
    /// Entries of the encoder's token embedding.
    pub vocab_size: usize,
    /// Entries of the decoder's, where it has one of its own; Marian only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_vocab_size: Option<usize>,
    /// Width of a token's vector.
    pub d_model: usize,
    /// Longest source and longest target, in tokens.
    pub max_position_embeddings: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Its attention heads; divide `d_model`.
    pub encoder_attention_heads: usize,
    /// Width inside its feed-forward layers.
    pub encoder_ffn_dim: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Its attention heads; divide `d_model`.
    pub decoder_attention_heads: usize,
    /// Width inside its feed-forward layers.
    pub decoder_ffn_dim: usize,
    /// Between the linear maps of the feed-forward layers.
    pub activation_function: Activation,
    /// Dropout after embeddings and sublayers while training.
    pub dropout: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Dropout after the activation while training.
    pub activation_dropout: f64,
    /// Probability of leaving out a layer of the encoder while training.
    pub encoder_layerdrop: f64,
    /// The same of the decoder.
    pub decoder_layerdrop: f64,
    /// Dropout before a classification head's layers.
    pub classifier_dropout: f64,
    /// Deviation of fresh weights.
    pub init_std: f64,
    /// Whether token vectors are multiplied by the root of `d_model`.
    pub scale_embedding: bool,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// Ids that end a text.
    pub eos_token_id: Option<EosTokens>,
    /// The token that the decoder's input begins with.
    pub decoder_start_token_id: Option<usize>,
    /// Whether the output projection is the decoder's token embedding.
    pub tie_word_embeddings: bool,
    /// Whether the two sides have one token embedding; Marian only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_encoder_decoder_embeddings: Option<bool>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One token that ends a text, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EosTokens {
    /// One.
    One(usize),
    /// Several.
    Several(Vec<usize>),
}

/// What Transformers fills in where a file does not say.
fn defaults(is_marian: bool) -> Map<String, Value> {
    let both = serde_json::json!({
        "model_type": "bart", "max_position_embeddings": 1024, "d_model": 1024, "init_std": 0.02,
        "encoder_layers": 12, "encoder_ffn_dim": 4096, "encoder_attention_heads": 16, "encoder_layerdrop": 0.0,
        "decoder_layers": 12, "decoder_ffn_dim": 4096, "decoder_attention_heads": 16, "decoder_layerdrop": 0.0,
        "activation_function": "gelu", "dropout": 0.1, "attention_dropout": 0.0, "activation_dropout": 0.0,
        "classifier_dropout": 0.0, "scale_embedding": false, "tie_word_embeddings": true,
    });
    let own = match is_marian {
        true => serde_json::json!({ "pad_token_id": 58100, "eos_token_id": 0, "decoder_start_token_id": 58100 }),
        false => serde_json::json!({ "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2 }),
    };
    [both, own].into_iter().filter_map(|defaults| defaults.as_object().cloned()).flatten().collect()
}

impl<'de> Deserialize<'de> for BartConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let is_marian = fields.get("model_type").is_some_and(|kind| kind == MARIAN);
        for (field, value) in defaults(is_marian) {
            // Null says that there is no such token; elsewhere it says nothing.
            let is_said = fields.get(&field).is_some_and(|said| !said.is_null() || field.ends_with("_token_id"));
            if !is_said {
                fields.insert(field, value);
            }
        }
        Self::deserialize(Value::from(fields)).map_err(D::Error::custom)
    }
}

impl Serialize for BartConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

const BART: &str = "bart";
const MARIAN: &str = "marian";

impl BartConfig {
    /// Whether it is Marian's.
    pub fn is_marian(&self) -> bool {
        self.model_type == MARIAN
    }

    /// Whether encoder and decoder have one vocabulary; they then share a table where embeddings are tied.
    pub(super) fn is_shared(&self) -> bool {
        !self.is_marian() || self.share_encoder_decoder_embeddings.unwrap_or(true)
    }

    /// Whether encoder and decoder read the same table of tokens.
    pub(super) fn has_one_table(&self) -> bool {
        self.is_shared() && self.tie_word_embeddings
    }

    /// Whether files hold a third table of tokens, which nothing reads.
    pub(super) fn has_unread_table(&self) -> bool {
        self.is_shared() && !self.tie_word_embeddings
    }

    /// Entries of the decoder's token embedding, and of the logits.
    pub fn target_vocab_size(&self) -> usize {
        match self.is_marian() {
            true => self.decoder_vocab_size.unwrap_or(self.vocab_size),
            false => self.vocab_size,
        }
    }

    /// The one token that ends a text; `None` where there is none or where there are several.
    pub fn eos(&self) -> Option<usize> {
        self.eos_token_id.as_ref().and_then(EosTokens::one)
    }

    /// What the decoder's input begins with.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] where the file names no start or no padding token.
    pub fn decoder_start(&self) -> Result<DecoderStart, CheckpointError> {
        DecoderStart::of(self.decoder_start_token_id, self.pad_token_id)
    }

    pub(super) fn encoder_layer(&self) -> LayerConfig {
        self.layer(self.encoder_attention_heads, self.encoder_ffn_dim, self.encoder_layerdrop)
    }

    pub(super) fn decoder_layer(&self) -> LayerConfig {
        self.layer(self.decoder_attention_heads, self.decoder_ffn_dim, self.decoder_layerdrop)
    }

    fn layer(&self, heads: usize, inner: usize, layer_drop: f64) -> LayerConfig {
        LayerConfig {
            width: self.d_model,
            heads,
            inner,
            activation: self.activation_function,
            dropout: self.dropout,
            attention_dropout: self.attention_dropout,
            activation_dropout: self.activation_dropout,
            layer_drop,
            norm_first: false,
            key_bias: true,
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure([BART, MARIAN].contains(&self.model_type.as_str()), "model_type", &self.model_type, "bart or marian")?;
        self.check_sizes()?;
        check_probabilities(&[
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
            ("encoder_layerdrop", self.encoder_layerdrop),
            ("decoder_layerdrop", self.decoder_layerdrop),
            ("classifier_dropout", self.classifier_dropout),
        ])?;
        let smaller = self.vocab_size.min(self.target_vocab_size());
        check_token("pad_token_id", self.pad_token_id, smaller)?;
        check_token("decoder_start_token_id", self.decoder_start_token_id, self.target_vocab_size())?;
        check_only(
            &self.extra,
            &[
                ("is_decoder", false.into()),
                ("is_encoder_decoder", true.into()),
                ("hidden_size", self.d_model.into()),
                ("num_hidden_layers", self.encoder_layers.into()),
                ("num_attention_heads", self.encoder_attention_heads.into()),
            ],
        )
    }

    fn check_sizes(&self) -> Result<(), CheckpointError> {
        let (width, target) = (self.d_model, self.target_vocab_size());
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("decoder_vocab_size", target),
            ("d_model", width),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        let fits = !self.is_shared() || target == self.vocab_size;
        ensure(fits, "decoder_vocab_size", target, "vocab_size, for both sides share one embedding")?;
        check_total(&[
            &[2, self.vocab_size, width],
            &[2, target, width],
            &[2, self.max_position_embeddings, width],
            &[self.encoder_layers, 4, width, width],
            &[self.encoder_layers, 2, width, self.encoder_ffn_dim],
            &[self.decoder_layers, 8, width, width],
            &[self.decoder_layers, 2, width, self.decoder_ffn_dim],
        ])?;
        check_divides("encoder_attention_heads", self.encoder_attention_heads, "d_model", width)?;
        check_divides("decoder_attention_heads", self.decoder_attention_heads, "d_model", width)
    }
}

impl EosTokens {
    /// The token, where there is one.
    pub(super) fn one(&self) -> Option<usize> {
        match self {
            Self::One(token) => Some(*token),
            Self::Several(tokens) => tokens.first().copied().filter(|_| tokens.len() == 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(fields: Value) -> BartConfig {
        serde_json::from_value(fields).expect("a configuration")
    }

    #[test]
    fn null_is_a_default_but_for_tokens() {
        let read = config(json!({ "vocab_size": 9, "scale_embedding": null, "eos_token_id": null }));
        assert!(!read.scale_embedding && read.eos_token_id.is_none());
        assert_eq!(config(json!({ "vocab_size": 9 })).eos(), Some(2));
    }

    #[test]
    fn another_name_of_a_size_must_say_the_same() {
        let fields = json!({ "vocab_size": 9, "d_model": 16, "encoder_layers": 2, "num_hidden_layers": 2 });
        config(fields.clone()).check().expect("consistent");
        let mut other = fields;
        other["num_hidden_layers"] = json!(3);
        let error = config(other).check().unwrap_err().to_string();
        assert!(error.contains("num_hidden_layers") && error.contains('3') && error.contains('2'), "{error}");
    }
}
