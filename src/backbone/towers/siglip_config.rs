//! SigLIP's configuration file.

use super::{TextPool, TextSizes, VisionSizes, check_text, check_vision};
use crate::backbone::config::ensure;
use crate::backbone::vision::{AttentionSizes, BlockSizes, Sides};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// SigLIP's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiglipConfig {
    /// The text tower.
    pub text_config: SiglipTextConfig,
    /// The vision tower.
    pub vision_config: SiglipVisionConfig,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The text tower in SigLIP's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiglipTextConfig {
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
    /// Longest text in tokens; the network was trained on texts padded to this length.
    pub max_position_embeddings: usize,
    /// Between the linear maps of the feed-forward layer.
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Width of the vectors in which images and texts are compared; `hidden_size` where `None`.
    pub projection_size: Option<usize>,
    /// The other keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for SiglipTextConfig {
    /// The sizes of `siglip-base-patch16-224`.
    fn default() -> Self {
        Self {
            vocab_size: 32000,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 64,
            hidden_act: Activation::GeluPytorchTanh,
            layer_norm_eps: 1e-6,
            attention_dropout: 0.0,
            projection_size: None,
            extra: Map::new(),
        }
    }
}

/// The vision tower in SigLIP's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiglipVisionConfig {
    /// Width of a patch's vector.
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
    /// Whether attention pools the patches, without which images and texts cannot be compared.
    pub vision_use_head: bool,
    /// The other keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for SiglipVisionConfig {
    /// The sizes of `siglip-base-patch16-224`.
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: Sides::Equal(224),
            patch_size: Sides::Equal(16),
            hidden_act: Activation::GeluPytorchTanh,
            layer_norm_eps: 1e-6,
            attention_dropout: 0.0,
            vision_use_head: true,
            extra: Map::new(),
        }
    }
}

/// Deviation of fresh weights. (Transformers draws some of them with other deviations.)
const DEVIATION: f64 = 0.02;

impl SiglipTextConfig {
    pub(super) fn sizes(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            layers: self.num_hidden_layers,
            block: BlockSizes {
                attention: AttentionSizes {
                    hidden: self.hidden_size,
                    heads: self.num_attention_heads,
                    bias: true,
                    dropout: self.attention_dropout,
                },
                inner: self.intermediate_size,
                activation: self.hidden_act,
                epsilon: self.layer_norm_eps,
                dropout: 0.0,
            },
            deviation: DEVIATION,
            causal: false,
            pool: TextPool::Last,
            projection: self.projection_size.unwrap_or(self.hidden_size),
            bias: true,
        }
    }
}

impl SiglipVisionConfig {
    pub(super) fn sizes(&self) -> VisionSizes {
        VisionSizes {
            channels: self.num_channels,
            image: self.image_size,
            patch: self.patch_size,
            layers: self.num_hidden_layers,
            block: BlockSizes {
                attention: AttentionSizes {
                    hidden: self.hidden_size,
                    heads: self.num_attention_heads,
                    bias: true,
                    dropout: self.attention_dropout,
                },
                inner: self.intermediate_size,
                activation: self.hidden_act,
                epsilon: self.layer_norm_eps,
                dropout: 0.0,
            },
            deviation: DEVIATION,
            class_token: false,
            projection: None,
        }
    }
}

impl SiglipConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let (text, vision) = (self.text_config.sizes(), &self.vision_config);
        check_vision(vision.sizes())?;
        check_text(text)?;
        let equal = format!("the vision tower's hidden_size ({})", vision.hidden_size);
        ensure(text.projection == vision.hidden_size, "projection_size", text.projection, &equal)?;
        ensure(vision.vision_use_head, "vision_use_head", vision.vision_use_head, "true")
    }
}
