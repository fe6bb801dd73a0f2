//! GPT-2's configuration file and the keys of its weights.

use super::body::DecoderFile;
use super::config::head_dropout;
use crate::backbone::config::{
    check_deviation, check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_total, ensure,
};
use crate::checkpoint::{CheckpointError, KeyMap};
use crate::head::CausalLm;
use crate::nn::Activation;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// GPT-2's `config.json`. Keys that are not read are kept in `extra` and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// The kind of model.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Longest input in tokens.
    pub n_positions: usize,
    /// Width of a token's vector.
    pub n_embd: usize,
    /// Number of layers.
    pub n_layer: usize,
    /// Attention heads; divides `n_embd`.
    pub n_head: usize,
    /// Width inside the feed-forward layer; four times `n_embd` where `None`.
    pub n_inner: Option<usize>,
    /// Between the linear maps of the feed-forward layer.
    pub activation_function: Activation,
    /// Dropout on what each part of a layer adds, while training.
    pub resid_pdrop: f64,
    /// Dropout after the embeddings while training.
    pub embd_pdrop: f64,
    /// Dropout on attention probabilities while training.
    pub attn_pdrop: f64,
    /// Added to the variance in norms.
    pub layer_norm_epsilon: f64,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Whether attention scores are divided by the root of a head's width.
    pub scale_attn_weights: bool,
    /// Whether they are divided by the number of the layer too, counted from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the output projection is the token embedding.
    pub tie_word_embeddings: bool,
    /// Id of the padding token; it may be none of the vocabulary, where nothing is padded.
    pub pad_token_id: Option<i64>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for Gpt2Config {
    /// The sizes of the smallest GPT-2, which Transformers takes for keys that are absent.
    fn default() -> Self {
        Self {
            model_type: "gpt2".into(),
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Activation::GeluTanh,
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: true,
            pad_token_id: None,
            extra: Map::new(),
        }
    }
}

impl Gpt2Config {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "gpt2", "model_type", &self.model_type, "gpt2")?;
        let (hidden, inner) = (self.n_embd, self.n_inner.unwrap_or(1));
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", hidden),
            ("n_inner", inner),
        ])?;
        check_total(&[
            &[2, self.vocab_size, hidden],
            &[self.n_positions, hidden],
            &[self.n_layer, 12, hidden, hidden],
            &[self.n_layer, 2, hidden, inner],
        ])?;
        check_divides("n_head", self.n_head, "n_embd", hidden)?;
        check_probabilities(&[
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
        ])?;
        check_epsilon("layer_norm_epsilon", self.layer_norm_epsilon)?;
        check_deviation("initializer_range", self.initializer_range)?;
        check_only(
            &self.extra,
            &[
                ("add_cross_attention", false.into()),
                // Transformers' other names of fields.
                ("hidden_size", hidden.into()),
                ("max_position_embeddings", self.n_positions.into()),
                ("num_attention_heads", self.n_head.into()),
                ("num_hidden_layers", self.n_layer.into()),
            ],
        )
    }

    /// Width inside the feed-forward layer.
    pub(super) fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// What attention scores of a layer, counted from 0, are multiplied by.
    pub(super) fn scale(&self, layer: usize) -> f64 {
        let width = (self.n_embd / self.n_head.max(1)) as f64;
        let scale = if self.scale_attn_weights { 1.0 / width.sqrt() } else { 1.0 };
        if self.scale_attn_by_inverse_layer_idx { scale / (layer + 1) as f64 } else { scale }
    }
}

impl DecoderFile for Gpt2Config {
    fn key_map(&self) -> KeyMap {
        let map = ["wte", "wpe", "h", "ln_f"]
            .iter()
            .fold(KeyMap::new("transformer"), |map, part| {
                map.rule(&format!("backbone.{part}"), &format!("transformer.{part}"))
            })
            .as_stored("backbone.h")
            .rule("head.linear", "classifier")
            .rule_without("head.linear.bias", "head.linear", "score")
            .rule("head.outputs", "qa_outputs")
            .ignore("transformer.h.*.attn.bias", "the causal mask")
            .ignore("transformer.h.*.attn.masked_bias", "the score of masked places");
        match self.tie_word_embeddings {
            true => map.tied("lm_head.weight", "transformer.wte.weight"),
            false => map.rule("head.lm_head", "lm_head"),
        }
    }

    fn width(&self) -> usize {
        self.n_embd
    }

    fn positions(&self) -> usize {
        self.n_positions
    }

    fn head_dropout(&self) -> f64 {
        head_dropout(&self.extra)
    }

    fn causal_lm(&self, seed: u64, device: &Device) -> CausalLm {
        match self.tie_word_embeddings {
            true => CausalLm::tied(self.vocab_size),
            false => CausalLm::untied(self.n_embd, self.vocab_size, seed, device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_of_a_field_may_not_say_something_else() {
        let config = |heads: usize| {
            let fields = serde_json::json!({ "n_head": 4, "num_attention_heads": heads, "n_embd": 32 });
            serde_json::from_value::<Gpt2Config>(fields).expect("a configuration")
        };
        assert!(config(4).check().is_ok());
        let error = config(2).check().expect_err("differs").to_string();
        assert!(error.contains("`num_attention_heads` is 2, but supported is 4"), "{error}");
    }
}
