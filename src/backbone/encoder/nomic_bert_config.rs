//! NomicBERT's configuration file.

use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::backbone::rope::RopeFields;
use crate::checkpoint::CheckpointError;
use crate::nn::{Activation, Rotary};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// NomicBERT's `config.json`, in Transformers' names and with its defaults; those of files for Nomic's own modelling code
/// (`n_embd`, `rotary_emb_base`) are read too. Keys that are not read here, and those of the rotary embeddings
/// (`rope_parameters`), are kept in `extra` and written again.
// `remote` makes functions of the type's own, around which the traits read the other names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, remote = "Self")]
pub struct NomicBertConfig {
    /// `nomic_bert`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` where `None`.
    pub head_dim: Option<usize>,
    /// Width inside the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Of the gate in the feed-forward layer, and in the masked-LM head.
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    pub attention_probs_dropout_prob: f64,
    /// The length that texts are cut to. Rotary positions go on beyond it.
    pub max_position_embeddings: usize,
    /// Segment ids.
    pub type_vocab_size: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// Dropout before the classifier; `hidden_dropout_prob` where `None`.
    pub classifier_dropout: Option<f64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for NomicBertConfig {
    /// The sizes of `nomic-ai/nomic-embed-text-v1.5`.
    fn default() -> Self {
        Self {
            model_type: "nomic_bert".into(),
            vocab_size: 30_528,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            head_dim: None,
            intermediate_size: 3072,
            hidden_act: Activation::Silu,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            max_position_embeddings: 2048,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            classifier_dropout: None,
            extra: Map::new(),
        }
    }
}

/// Names of Nomic's own modelling code, which stand for those of Transformers where a file has not got these.
const OTHER_NAMES: [(&str, &str); 8] = [
    ("n_embd", "hidden_size"),
    ("n_layer", "num_hidden_layers"),
    ("n_head", "num_attention_heads"),
    ("n_inner", "intermediate_size"),
    ("n_positions", "max_position_embeddings"),
    ("layer_norm_epsilon", "layer_norm_eps"),
    ("resid_pdrop", "hidden_dropout_prob"),
    ("attn_pdrop", "attention_probs_dropout_prob"),
];

impl Serialize for NomicBertConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for NomicBertConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        for (other, own) in OTHER_NAMES {
            if let Some(value) = fields.get(other).cloned() {
                fields.entry(own).or_insert(value);
            }
        }
        Self::deserialize(Value::Object(fields)).map_err(D::Error::custom)
    }
}

impl NomicBertConfig {
    /// Width of an attention head.
    pub(super) fn head_width(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    pub(super) fn rotary(&self) -> Result<Rotary, CheckpointError> {
        let own = self.extra.contains_key("rotary_emb_base");
        let theta = (if own { "rotary_emb_base" } else { "rope_theta" }, 1000.0);
        let fields = RopeFields::new(&self.extra, self.head_width(), self.max_position_embeddings).with_theta(theta);
        let Some(factor) = self.extra.get("rotary_scaling_factor").filter(|factor| !factor.is_null()) else {
            return fields.shared();
        };
        // Nomic's own code stretches rows that are longer than those it was trained on.
        let trained = self.extra.get("max_trained_positions").and_then(Value::as_u64);
        let positions = trained.map_or(self.max_position_embeddings, |trained| trained as usize);
        let scaling = [("rope_type".into(), "dynamic".into()), ("factor".into(), factor.clone())];
        RopeFields { positions, ..fields }.of(&Map::from_iter(scaling))
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "nomic_bert", "model_type", &self.model_type, "nomic_bert")?;
        let (hidden, heads, width) = (self.hidden_size, self.num_attention_heads, self.head_width());
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", hidden),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
            ("num_attention_heads", heads),
            ("head_dim", width),
        ])?;
        if self.head_dim.is_none() {
            check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        }
        check_total(&[
            &[self.vocab_size, hidden],
            &[self.type_vocab_size, hidden],
            &[self.num_hidden_layers, 4, hidden, heads, width],
            &[self.num_hidden_layers, 3, hidden, self.intermediate_size],
        ])?;
        let supported = "an even width, for rotary positions turn values in pairs";
        ensure(width.is_multiple_of(2), "head_dim", width, supported)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_only(
            &self.extra,
            &[
                ("activation_function", "swiglu".into()),
                ("prenorm", false.into()),
                ("use_rms_norm", false.into()),
                ("qkv_proj_bias", false.into()),
                ("mlp_fc1_bias", false.into()),
                ("mlp_fc2_bias", false.into()),
                ("causal", false.into()),
                ("parallel_block", false.into()),
                ("rotary_emb_interleaved", false.into()),
            ],
        )?;
        let turned = self.extra.get("rotary_emb_fraction").and_then(Value::as_f64).unwrap_or(1.0);
        ensure(turned == 1.0, "rotary_emb_fraction", turned, "1, for heads turn whole")?;
        self.rotary().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::RopeScaling;
    use serde_json::json;

    #[test]
    fn the_names_of_nomics_own_code_are_read() {
        let published = json!({
            "model_type": "nomic_bert", "activation_function": "swiglu", "attn_pdrop": 0.0, "causal": false, "embd_pdrop": 0.0,
            "layer_norm_epsilon": 1e-9, "max_trained_positions": 40, "mlp_fc1_bias": false, "mlp_fc2_bias": false,
            "n_embd": 24, "n_head": 3, "n_inner": 29, "n_layer": 2, "n_positions": 160, "prenorm": false,
            "qkv_proj_bias": false, "resid_pdrop": 0.1, "rotary_emb_base": 500, "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": false, "rotary_scaling_factor": 2, "use_rms_norm": false, "vocab_size": 61,
        });
        let config: NomicBertConfig = serde_json::from_value(published.clone()).expect("valid");
        config.check().expect("supported");
        let sizes =
            (config.hidden_size, config.num_attention_heads, config.intermediate_size, config.num_hidden_layers);
        assert_eq!(sizes, (24, 3, 29, 2));
        let given = json!({ "n_embd": 24, "hidden_size": 36, "num_attention_heads": 3 });
        let given: NomicBertConfig = serde_json::from_value(given).expect("valid");
        assert_eq!(given.hidden_size, 36, "Transformers' own name goes first");
        let again: NomicBertConfig = serde_json::from_value(json!(config)).expect("valid");
        assert_eq!(again, config);
        assert_eq!(
            (config.max_position_embeddings, config.layer_norm_eps, config.hidden_dropout_prob),
            (160, 1e-9, 0.1)
        );
        let scaling = RopeScaling::Dynamic { factor: 2.0, trained: 40 };
        assert_eq!(config.rotary().expect("supported"), Rotary::new(500.0, 8, scaling));
        for (field, value) in [
            ("prenorm", json!(true)),
            ("qkv_proj_bias", json!(true)),
            ("activation_function", json!("gelu")),
            ("rotary_emb_fraction", json!(0.5)),
            ("rotary_emb_base", json!("big")),
        ] {
            let mut other = published.clone();
            other[field] = value;
            let other: NomicBertConfig = serde_json::from_value(other).expect("valid");
            let error = other.check().expect_err("not supported").to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
