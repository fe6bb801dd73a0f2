//! CLIP's configuration file.

use super::{TextPool, TextSizes, VisionSizes, check_text, check_vision};
use crate::backbone::config::ensure;
use crate::backbone::vision::{AttentionSizes, BlockSizes, Sides};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// CLIP's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// Width of the vectors in which images and texts are compared.
    pub projection_dim: usize,
    /// Logarithm of what a fresh head scales similarities by.
    pub logit_scale_init_value: f64,
    /// The text tower.
    pub text_config: ClipTextConfig,
    /// The vision tower.
    pub vision_config: ClipVisionConfig,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for ClipConfig {
    /// The sizes of `clip-vit-base-patch32`.
    fn default() -> Self {
        Self {
            projection_dim: 512,
            logit_scale_init_value: 2.6592,
            text_config: ClipTextConfig::default(),
            vision_config: ClipVisionConfig::default(),
            extra: Map::new(),
        }
    }
}

/// The text tower in CLIP's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// Between the linear maps of the feed-forward layer.
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// The token whose first place stands for the text. 2, as files of before 2023 have it, stands for the highest id.
    pub eos_token_id: usize,
    /// The other keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            attention_dropout: 0.0,
            initializer_range: 0.02,
            eos_token_id: 49407,
            extra: Map::new(),
        }
    }
}

/// The vision tower in CLIP's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Channels of an image.
    pub num_channels: usize,
    /// Size of the images that the position table is made for.
    pub image_size: Sides,
    /// Size of a patch.
    pub patch_size: Sides,
    /// Between the linear maps of the feed-forward layer.
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// The other keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: Sides::Equal(224),
            patch_size: Sides::Equal(32),
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            attention_dropout: 0.0,
            initializer_range: 0.02,
            extra: Map::new(),
        }
    }
}

/// What stands for the highest id: what files had before the tokenizer's own id was put in.
const LEGACY_EOS: usize = 2;

impl ClipConfig {
    pub(super) fn text(&self) -> TextSizes {
        let text = &self.text_config;
        TextSizes {
            vocabulary: text.vocab_size,
            positions: text.max_position_embeddings,
            layers: text.num_hidden_layers,
            block: BlockSizes {
                attention: AttentionSizes {
                    hidden: text.hidden_size,
                    heads: text.num_attention_heads,
                    bias: true,
                    dropout: text.attention_dropout,
                },
                inner: text.intermediate_size,
                activation: text.hidden_act,
                epsilon: text.layer_norm_eps,
                dropout: 0.0,
            },
            deviation: text.initializer_range,
            causal: true,
            pool: if text.eos_token_id == LEGACY_EOS { TextPool::Highest } else { TextPool::Eos(text.eos_token_id) },
            projection: self.projection_dim,
            bias: false,
        }
    }

    pub(super) fn vision(&self) -> VisionSizes {
        let vision = &self.vision_config;
        VisionSizes {
            channels: vision.num_channels,
            image: vision.image_size,
            patch: vision.patch_size,
            layers: vision.num_hidden_layers,
            block: BlockSizes {
                attention: AttentionSizes {
                    hidden: vision.hidden_size,
                    heads: vision.num_attention_heads,
                    bias: true,
                    dropout: vision.attention_dropout,
                },
                inner: vision.intermediate_size,
                activation: vision.hidden_act,
                epsilon: vision.layer_norm_eps,
                dropout: 0.0,
            },
            deviation: vision.initializer_range,
            projection: Some(self.projection_dim),
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        check_vision(self.vision())?;
        check_text(self.text())?;
        let scale = self.logit_scale_init_value;
        ensure(scale.is_finite(), "logit_scale_init_value", scale, "a finite number")?;
        repeats(&self.extra, "text_config_dict", &self.text_config)?;
        repeats(&self.extra, "vision_config_dict", &self.vision_config)
    }
}

/// Early files have a tower's settings twice, and Transformers takes the second: both must say the same.
fn repeats(extra: &Map<String, Value>, field: &str, tower: &impl Serialize) -> Result<(), CheckpointError> {
    let Some(again) = extra.get(field).and_then(Value::as_object) else { return Ok(()) };
    let tower = serde_json::to_value(tower).unwrap_or_default();
    let differs = |(key, value): &(&String, &Value)| tower.get(*key).is_some_and(|own| !equal(own, value));
    let first = again.iter().find(differs).map_or(String::new(), |(key, value)| format!("{key}: {value}"));
    ensure(first.is_empty(), field, first, "what the tower's own settings say")
}

/// Numbers are equal as numbers: 0 and 0.0.
fn equal(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|one| other.as_f64() == Some(one))
}
