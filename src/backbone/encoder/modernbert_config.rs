//! ModernBERT's configuration file.

use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_token, check_total, ensure,
};
use crate::backbone::rope::{RopeFields, object};
use crate::backbone::{LayerKind, Pooling};
use crate::checkpoint::CheckpointError;
use crate::nn::{Activation, Rotary};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// ModernBERT's `config.json`, in Transformers' names and with its defaults. Keys that are not read here, and those of the
/// rotary embeddings (`rope_parameters`, or `global_rope_theta` and `local_rope_theta` of older files), are kept in `extra` and
/// written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModernBertConfig {
    /// `modernbert`.
    pub model_type: String,
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width inside the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Of the gate in the feed-forward layer.
    pub hidden_activation: Activation,
    /// The length that texts are cut to. Rotary positions go on beyond it.
    pub max_position_embeddings: usize,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub norm_eps: f64,
    /// Whether norms have a bias.
    pub norm_bias: bool,
    /// Id of the padding token; its embedding gets no gradient from look-ups.
    pub pad_token_id: Option<usize>,
    /// Whether the maps of attention have biases.
    pub attention_bias: bool,
    /// Dropout on attention probabilities and on what attention gives, while training.
    pub attention_dropout: f64,
    /// What each layer looks at; every `global_attn_every_n_layers`th, from the first on, at everything where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_types: Option<Vec<LayerKind>>,
    /// Read where `layer_types` is `None`.
    pub global_attn_every_n_layers: usize,
    /// Places that a layer of sliding attention sees: half of them before and half of them after a token, which is not
    /// counted.
    pub local_attention: usize,
    /// Dropout after the embeddings while training.
    pub embedding_dropout: f64,
    /// Whether the maps of the feed-forward layer have biases.
    pub mlp_bias: bool,
    /// Dropout inside the feed-forward layer while training.
    pub mlp_dropout: f64,
    /// Whether the masked-LM head adds a bias to the logits.
    pub decoder_bias: bool,
    /// How sequences are pooled for classification: `cls` or `mean`.
    pub classifier_pooling: Pooling,
    /// Dropout before the last map of heads while training.
    pub classifier_dropout: f64,
    /// Whether the dense layer of heads has a bias.
    pub classifier_bias: bool,
    /// After the dense layer of heads.
    pub classifier_activation: Activation,
    /// Whether the masked-LM head's projection is the token embedding.
    pub tie_word_embeddings: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The key of a kind of layer in `rope_parameters`, and that of its base in older files with the base that Transformers takes
/// without one.
fn rope(kind: LayerKind) -> (&'static str, (&'static str, f64)) {
    match kind {
        LayerKind::FullAttention => ("full_attention", ("global_rope_theta", 160_000.0)),
        LayerKind::SlidingAttention => ("sliding_attention", ("local_rope_theta", 10_000.0)),
    }
}

impl Default for ModernBertConfig {
    /// The sizes of `answerdotai/ModernBERT-base`.
    fn default() -> Self {
        Self {
            model_type: "modernbert".into(),
            vocab_size: 50368,
            hidden_size: 768,
            intermediate_size: 1152,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            hidden_activation: Activation::Gelu,
            max_position_embeddings: 8192,
            initializer_range: 0.02,
            norm_eps: 1e-5,
            norm_bias: false,
            pad_token_id: Some(50283),
            attention_bias: false,
            attention_dropout: 0.0,
            layer_types: None,
            global_attn_every_n_layers: 3,
            local_attention: 128,
            embedding_dropout: 0.0,
            mlp_bias: false,
            mlp_dropout: 0.0,
            decoder_bias: true,
            classifier_pooling: Pooling::Cls,
            classifier_dropout: 0.0,
            classifier_bias: false,
            classifier_activation: Activation::Gelu,
            tie_word_embeddings: true,
            extra: Map::new(),
        }
    }
}

impl ModernBertConfig {
    /// What each layer looks at.
    pub fn layer_types(&self) -> Vec<LayerKind> {
        let every = self.global_attn_every_n_layers.max(1);
        let kind = |layer: usize| match layer.is_multiple_of(every) {
            true => LayerKind::FullAttention,
            false => LayerKind::SlidingAttention,
        };
        self.layer_types.clone().unwrap_or_else(|| (0..self.num_hidden_layers).map(kind).collect())
    }

    /// The rotary embedding of layers of this kind.
    pub(super) fn rotary(&self, kind: LayerKind) -> Result<Rotary, CheckpointError> {
        let width = self.hidden_size / self.num_attention_heads.max(1);
        let (key, theta) = rope(kind);
        let all = object(&self.extra, "rope_parameters")?;
        let flat = all.and_then(|all| all.iter().find(|(_, value)| !value.is_object() && !value.is_null()));
        let supported = "one set of values for full_attention and one for sliding_attention";
        ensure(flat.is_none(), "rope_parameters", flat.map_or("", |(name, _)| name), supported)?;
        let mut parameters = all.map_or(Ok(None), |all| object(all, key))?.cloned().unwrap_or_default();
        if let Some(scaling) = object(&self.extra, "rope_scaling")? {
            parameters.extend(scaling.clone());
        }
        let fields = RopeFields::new(&self.extra, width, self.max_position_embeddings);
        fields.with_theta(theta).of(&parameters)
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == "modernbert", "model_type", &self.model_type, "modernbert")?;
        check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("global_attn_every_n_layers", self.global_attn_every_n_layers),
        ])?;
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        check_total(&[
            &[self.vocab_size, hidden],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 3, hidden, self.intermediate_size],
        ])?;
        check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        let supported = "heads of an even width, for rotary positions turn values in pairs";
        ensure((hidden / heads).is_multiple_of(2), "num_attention_heads", heads, supported)?;
        check_probabilities(&[
            ("attention_dropout", self.attention_dropout),
            ("embedding_dropout", self.embedding_dropout),
            ("mlp_dropout", self.mlp_dropout),
            ("classifier_dropout", self.classifier_dropout),
        ])?;
        check_epsilon("norm_eps", self.norm_eps)?;
        check_token("pad_token_id", self.pad_token_id, self.vocab_size)?;
        let pools = matches!(self.classifier_pooling, Pooling::Cls | Pooling::Mean);
        ensure(pools, "classifier_pooling", self.classifier_pooling, "cls or mean")?;
        self.check_layers()?;
        let half = self.local_attention / 2;
        check_only(&self.extra, &[("head_dim", (hidden / heads).into()), ("sliding_window", half.into())])
    }

    fn check_layers(&self) -> Result<(), CheckpointError> {
        let layers = self.num_hidden_layers;
        let given = self.layer_types.as_ref().map_or(layers, Vec::len);
        ensure(given == layers, "layer_types", given, &format!("one for each of {layers} layers"))?;
        [LayerKind::FullAttention, LayerKind::SlidingAttention]
            .into_iter()
            .try_for_each(|kind| self.rotary(kind).map(drop))
    }
}
