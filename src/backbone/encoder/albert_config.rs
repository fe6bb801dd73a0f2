//! ALBERT's configuration file.

use super::embeddings::EmbeddingsConfig;
use super::layer::LayerConfig;
use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// ALBERT's `config.json`, in Transformers' names and with its defaults. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlbertConfig {
    /// `albert`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of the embeddings, which a linear map lifts to `hidden_size`.
    pub embedding_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// How often a group of layers runs.
    pub num_hidden_layers: usize,
    /// Groups of layers with parameters of their own; those that run one after the other share a group.
    pub num_hidden_groups: usize,
    /// Layers of a group.
    pub inner_group_num: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Between the linear maps of the feed-forward layer.
    pub hidden_act: Activation,
    /// Dropout after embeddings and attention while training.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the classifier; `hidden_dropout_prob` where `None`.
    pub classifier_dropout_prob: Option<f64>,
    /// Longest input in tokens.
    pub max_position_embeddings: usize,
    /// Segment ids.
    pub type_vocab_size: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for AlbertConfig {
    /// The sizes of `albert-xxlarge-v2`, which are Transformers' defaults.
    fn default() -> Self {
        Self {
            model_type: "albert".into(),
            vocab_size: 30000,
            embedding_size: 128,
            hidden_size: 4096,
            num_hidden_layers: 12,
            num_hidden_groups: 1,
            inner_group_num: 1,
            num_attention_heads: 64,
            intermediate_size: 16384,
            hidden_act: Activation::GeluTanh,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            classifier_dropout_prob: Some(0.1),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            extra: Map::new(),
        }
    }
}

impl AlbertConfig {
    /// Dropout before a classification head, as Transformers takes it.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout_prob.unwrap_or(self.hidden_dropout_prob)
    }

    /// Layers with parameters of their own.
    pub(super) fn layers(&self) -> usize {
        self.num_hidden_groups * self.inner_group_num
    }

    /// The layer of each stage after the embeddings, of [`layers`](Self::layers): a whole group is run
    /// `num_hidden_layers` times, each group in as large a part of them as any other.
    pub(super) fn runs(&self) -> Vec<usize> {
        // In floats as Transformers divides, for the groups need not divide the runs.
        let runs_of_group = self.num_hidden_layers as f64 / self.num_hidden_groups as f64;
        let group = |run: usize| (run as f64 / runs_of_group) as usize;
        let layers = |run| (0..self.inner_group_num).map(move |inner| group(run) * self.inner_group_num + inner);
        (0..self.num_hidden_layers).flat_map(layers).collect()
    }

    pub(super) fn embeddings(&self) -> EmbeddingsConfig {
        EmbeddingsConfig {
            width: self.embedding_size,
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            types: self.type_vocab_size,
            padding: self.pad_token_id,
            padding_position: None,
            epsilon: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
        }
    }

    pub(super) fn layer(&self) -> LayerConfig {
        LayerConfig {
            hidden: self.hidden_size,
            heads: self.num_attention_heads,
            inner: self.intermediate_size,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
            probability_dropout: self.attention_probs_dropout_prob,
            attention_dropout: self.hidden_dropout_prob,
            // Transformers makes a dropout for it and does not call it.
            output_dropout: 0.0,
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "albert", "model_type", &self.model_type, "albert")?;
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_groups", self.num_hidden_groups),
            ("inner_group_num", self.inner_group_num),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ])?;
        let (width, hidden) = (self.embedding_size, self.hidden_size);
        check_total(&[
            &[self.vocab_size, width],
            &[self.max_position_embeddings, width],
            &[self.type_vocab_size, width],
            &[width, hidden],
            &[self.num_hidden_groups, self.inner_group_num, 4, hidden, hidden],
            &[self.num_hidden_groups, self.inner_group_num, 2, hidden, self.intermediate_size],
        ])?;
        let (groups, runs) = (self.num_hidden_groups, self.num_hidden_layers);
        ensure(groups <= runs, "num_hidden_groups", groups, &format!("at most num_hidden_layers ({runs})"))?;
        // Runs cost no parameter, so that the total does not bound them.
        let all = runs.saturating_mul(self.inner_group_num);
        ensure(all <= MOST_RUNS, "num_hidden_layers", runs, &format!("at most {MOST_RUNS} runs of a layer in all"))?;
        check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout_prob", self.classifier_dropout_prob.unwrap_or(0.0)),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        check_only(&self.extra, &[("position_embedding_type", "absolute".into())])
    }
}

/// A damaged file must not ask for more runs than any model has.
const MOST_RUNS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_follow_each_other_and_run_whole() {
        let runs = |num_hidden_layers, num_hidden_groups, inner_group_num| {
            AlbertConfig { num_hidden_layers, num_hidden_groups, inner_group_num, ..AlbertConfig::default() }.runs()
        };
        assert_eq!(runs(3, 1, 1), [0, 0, 0]);
        assert_eq!(runs(4, 2, 1), [0, 0, 1, 1]);
        assert_eq!(runs(2, 1, 2), [0, 1, 0, 1]);
        assert_eq!(runs(3, 2, 2), [0, 1, 0, 1, 2, 3], "int(1 / 1.5) is 0, int(2 / 1.5) is 1");
    }
}
