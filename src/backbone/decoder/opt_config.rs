//! OPT's configuration file and the keys of its weights.

use super::body::DecoderFile;
use super::config::{check_padding, head_dropout, padding_row};
use crate::backbone::config::{check_divides, check_probabilities, check_sizes, check_total, ensure};
use crate::checkpoint::{CheckpointError, KeyMap};
use crate::head::CausalLm;
use crate::nn::Activation;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// OPT's `config.json`. Keys that are not read are kept in `extra` and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptConfig {
    /// The kind of model.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector between the layers.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Width inside the feed-forward layer.
    pub ffn_dim: usize,
    /// Longest input in tokens.
    pub max_position_embeddings: usize,
    /// Whether norms stand before both parts of a layer, and one at the end, instead of after them.
    pub do_layer_norm_before: bool,
    /// Whether there is no norm at the end all the same.
    #[serde(rename = "_remove_final_layer_norm")]
    pub remove_final_layer_norm: bool,
    /// Width of a token's vector in the embedding and at the end; `hidden_size` where `None`.
    pub word_embed_proj_dim: Option<usize>,
    /// Dropout on what each part of a layer adds, while training.
    pub dropout: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// The chance of a layer to be left out of a batch, while training.
    pub layerdrop: f64,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Between the linear maps of the feed-forward layer.
    pub activation_function: Activation,
    /// Deviation of fresh weights.
    pub init_std: f64,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<i64>,
    /// Whether linear maps have biases.
    pub enable_bias: bool,
    /// Whether norms have a scale and a shift.
    pub layer_norm_elementwise_affine: bool,
    /// Whether the output projection is the token embedding.
    pub tie_word_embeddings: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for OptConfig {
    /// The sizes of the smallest OPT, which Transformers takes for keys that are absent.
    fn default() -> Self {
        Self {
            model_type: "opt".into(),
            vocab_size: 50_272,
            hidden_size: 768,
            num_hidden_layers: 12,
            ffn_dim: 3072,
            max_position_embeddings: 2048,
            do_layer_norm_before: true,
            remove_final_layer_norm: false,
            word_embed_proj_dim: None,
            dropout: 0.1,
            attention_dropout: 0.0,
            layerdrop: 0.0,
            num_attention_heads: 12,
            activation_function: Activation::Relu,
            init_std: 0.02,
            pad_token_id: Some(1),
            enable_bias: true,
            layer_norm_elementwise_affine: true,
            tie_word_embeddings: true,
            extra: Map::new(),
        }
    }
}

impl OptConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "opt", "model_type", &self.model_type, "opt")?;
        let (hidden, outer) = (self.hidden_size, self.outer_width());
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", hidden),
            ("ffn_dim", self.ffn_dim),
            ("word_embed_proj_dim", outer),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        check_total(&[
            &[2, self.vocab_size, outer],
            &[self.max_position_embeddings, hidden],
            &[2, hidden, outer],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, self.ffn_dim],
        ])?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("layerdrop", self.layerdrop),
        ])?;
        check_padding(self.pad_token_id, self.vocab_size)
    }

    /// Width of a token's vector in the embedding and at the end.
    pub(super) fn outer_width(&self) -> usize {
        self.word_embed_proj_dim.unwrap_or(self.hidden_size)
    }

    /// Whether a norm follows the layers.
    pub(super) fn has_final_norm(&self) -> bool {
        self.do_layer_norm_before && !self.remove_final_layer_norm
    }

    /// The row of the token embedding that stands for padding.
    pub(super) fn padding_row(&self) -> Option<usize> {
        self.pad_token_id.and_then(|id| padding_row(id, self.vocab_size))
    }
}

impl DecoderFile for OptConfig {
    fn key_map(&self) -> KeyMap {
        let parts = ["embed_tokens", "embed_positions", "project_in", "layers", "final_layer_norm", "project_out"];
        let map = parts
            .iter()
            .fold(KeyMap::new("model"), |map, part| {
                map.rule(&format!("backbone.{part}"), &format!("model.decoder.{part}"))
            })
            .rule("head.linear", "score")
            .rule("head.outputs", "qa_outputs");
        match self.tie_word_embeddings {
            true => map.tied("lm_head.weight", "model.decoder.embed_tokens.weight"),
            false => map.rule("head.lm_head", "lm_head"),
        }
    }

    fn width(&self) -> usize {
        self.outer_width()
    }

    fn positions(&self) -> usize {
        self.max_position_embeddings
    }

    fn head_dropout(&self) -> f64 {
        head_dropout(&self.extra)
    }

    fn causal_lm(&self, seed: u64, device: &Device) -> CausalLm {
        match self.tie_word_embeddings {
            true => CausalLm::tied(self.vocab_size),
            false => CausalLm::untied(self.outer_width(), self.vocab_size, seed, device),
        }
    }
}
