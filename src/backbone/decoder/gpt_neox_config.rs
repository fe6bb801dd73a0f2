//! GPT-NeoX's configuration file and the keys of its weights.

use super::attention::AttentionPlan;
use super::body::DecoderFile;
use super::config::head_dropout;
use crate::backbone::config::{check_divides, check_epsilon, check_probabilities, check_sizes, check_total, ensure};
use crate::backbone::rope::RopeFields;
use crate::checkpoint::{CheckpointError, KeyMap};
use crate::head::CausalLm;
use crate::nn::{Activation, Reach, RopeScaling, Rotary, Scoring};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// GPT-NeoX's `config.json`. Keys that are not read, such as those of the rotary embeddings, are kept in `extra` and
/// written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GptNeoxConfig {
    /// The kind of model.
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
    pub hidden_act: Activation,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Dropout after embeddings and on what each part of a layer adds, while training.
    pub hidden_dropout: f64,
    /// Length in tokens that the network was trained for. Rotary positions go on beyond it.
    pub max_position_embeddings: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in norms.
    pub layer_norm_eps: f64,
    /// Whether the output projection is the token embedding.
    pub tie_word_embeddings: bool,
    /// Id of the padding token; it may be none of the vocabulary, where nothing is padded.
    pub pad_token_id: Option<i64>,
    /// Whether attention and feed-forward layer read the same input, instead of one after the other.
    pub use_parallel_residual: bool,
    /// Whether the linear maps of attention have biases.
    pub attention_bias: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for GptNeoxConfig {
    /// What Transformers takes for keys that are absent.
    fn default() -> Self {
        Self {
            model_type: "gpt_neox".into(),
            vocab_size: 50_432,
            hidden_size: 6144,
            num_hidden_layers: 44,
            num_attention_heads: 64,
            intermediate_size: 24_576,
            hidden_act: Activation::Gelu,
            attention_dropout: 0.0,
            hidden_dropout: 0.0,
            max_position_embeddings: 2048,
            initializer_range: 0.02,
            layer_norm_eps: 1e-5,
            tie_word_embeddings: false,
            pad_token_id: None,
            use_parallel_residual: true,
            attention_bias: true,
            extra: Map::new(),
        }
    }
}

impl GptNeoxConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "gpt_neox", "model_type", &self.model_type, "gpt_neox")?;
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", hidden),
            ("intermediate_size", inner),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        check_total(&[
            &[2, self.vocab_size, hidden],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, inner],
        ])?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", hidden)?;
        check_probabilities(&[("attention_dropout", self.attention_dropout), ("hidden_dropout", self.hidden_dropout)])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        self.rotary().map(drop)
    }

    fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads.max(1)
    }

    fn rotary(&self) -> Result<Rotary, CheckpointError> {
        let rope = RopeFields {
            theta: ("rotary_emb_base", 10_000.0),
            partial: Some(("rotary_pct", 0.25)),
            ..RopeFields::new(&self.extra, self.head_dim(), self.max_position_embeddings)
        };
        rope.shared()
    }

    /// What each layer's attention is made of, of a configuration that was checked.
    pub(super) fn attention(&self) -> AttentionPlan {
        let (heads, head_dim) = (self.num_attention_heads, self.head_dim());
        AttentionPlan {
            hidden: self.hidden_size,
            heads,
            groups: heads,
            head_dim,
            input_bias: self.attention_bias,
            output_bias: self.attention_bias,
            dropout: self.attention_dropout,
            scoring: Scoring::of_width(head_dim, Reach::Back),
            rotary: self.rotary().unwrap_or_else(|_| Rotary::new(10_000.0, head_dim, RopeScaling::None)),
        }
    }
}

impl DecoderFile for GptNeoxConfig {
    fn key_map(&self) -> KeyMap {
        let map = KeyMap::new("gpt_neox")
            .rule("backbone.embed_in", "gpt_neox.embed_in")
            .rule("backbone.layers", "gpt_neox.layers")
            .rule("backbone.final_layer_norm", "gpt_neox.final_layer_norm")
            .rule("head.linear", "classifier")
            .rule_without("head.linear.bias", "head.linear", "score")
            .rule("head.outputs", "qa_outputs")
            .ignore("gpt_neox.layers.*.attention.rotary_emb.inv_freq", "made from the configuration")
            .ignore("gpt_neox.layers.*.attention.bias", "the causal mask")
            .ignore("gpt_neox.layers.*.attention.masked_bias", "the score of masked places");
        match self.tie_word_embeddings {
            true => map
                .tied("embed_out.weight", "gpt_neox.embed_in.weight")
                .tied("lm_head.weight", "gpt_neox.embed_in.weight"),
            // Transformers 5 calls it so in memory.
            false => map.rule("head.lm_head", "embed_out").tied("lm_head.weight", "embed_out.weight"),
        }
    }

    fn width(&self) -> usize {
        self.hidden_size
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
            false => CausalLm::untied(self.hidden_size, self.vocab_size, seed, device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_projection_has_two_names() {
        for (tie_word_embeddings, original) in [(false, "embed_out.weight"), (true, "gpt_neox.embed_in.weight")] {
            let map = DecoderFile::key_map(&GptNeoxConfig { tie_word_embeddings, ..GptNeoxConfig::default() });
            map.check().expect("no contradiction");
            for name in ["embed_out.weight", "lm_head.weight"] {
                let keys = map.normalise(["gpt_neox.final_layer_norm.bias", name]).expect("sound");
                assert_eq!(keys.get(original).map(String::as_str), Some(name));
            }
        }
    }
}
