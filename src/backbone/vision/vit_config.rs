//! ViT's and DeiT's configuration file.

use super::{AttentionSizes, BlockSizes, Sides, TokenSizes, check_patches};
use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `config.json` of ViT and DeiT, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// `vit`, or `deit`, which has a distillation token beside the class token.
    #[serde(default = "vit")]
    pub model_type: String,
    /// Width of a token's vector.
    #[serde(default = "default_hidden")]
    pub hidden_size: usize,
    /// Number of layers.
    #[serde(default = "twelve")]
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    #[serde(default = "twelve")]
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layer.
    #[serde(default = "default_inner")]
    pub intermediate_size: usize,
    /// Between the linear maps of the feed-forward layer.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Dropout after embeddings and sublayers while training.
    #[serde(default)]
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    #[serde(default)]
    pub attention_probs_dropout_prob: f64,
    /// Deviation of fresh weights.
    #[serde(default = "default_deviation")]
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// Size of the images that the position table is made for.
    #[serde(default = "default_image")]
    pub image_size: Sides,
    /// Size of a patch.
    #[serde(default = "default_patch")]
    pub patch_size: Sides,
    /// Channels of an image.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Whether queries, keys and values have biases.
    #[serde(default = "yes")]
    pub qkv_bias: bool,
    /// Width that the pooler makes; `hidden_size` where `None`.
    #[serde(default)]
    pub pooler_output_size: Option<usize>,
    /// After the pooler's linear map.
    #[serde(default = "tanh")]
    pub pooler_act: Activation,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn vit() -> String {
    "vit".into()
}
fn default_hidden() -> usize {
    768
}
fn default_inner() -> usize {
    3072
}
fn twelve() -> usize {
    12
}
fn three() -> usize {
    3
}
fn yes() -> bool {
    true
}
fn tanh() -> Activation {
    Activation::Tanh
}
fn default_image() -> Sides {
    Sides::Equal(224)
}
fn default_patch() -> Sides {
    Sides::Equal(16)
}
fn default_deviation() -> f64 {
    0.02
}
fn default_epsilon() -> f64 {
    1e-12
}

impl VitConfig {
    /// Whether there is a distillation token.
    pub fn is_distilled(&self) -> bool {
        self.model_type == "deit"
    }

    /// Width that the pooler makes.
    pub(super) fn pooler_width(&self) -> usize {
        self.pooler_output_size.filter(|width| *width > 0).unwrap_or(self.hidden_size)
    }

    pub(super) fn embeddings(&self) -> TokenSizes {
        TokenSizes {
            hidden: self.hidden_size,
            channels: self.num_channels,
            image: self.image_size,
            patch: self.patch_size,
            distilled: self.is_distilled(),
            dropout: self.hidden_dropout_prob,
        }
    }

    pub(super) fn block(&self) -> BlockSizes {
        BlockSizes {
            attention: AttentionSizes {
                hidden: self.hidden_size,
                heads: self.num_attention_heads,
                bias: self.qkv_bias,
                dropout: self.attention_probs_dropout_prob,
            },
            inner: self.intermediate_size,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let known = ["vit", "deit"].contains(&self.model_type.as_str());
        ensure(known, "model_type", &self.model_type, "vit or deit")?;
        let (hidden, inner, heads) = (self.hidden_size, self.intermediate_size, self.num_attention_heads);
        check_sizes(&[("hidden_size", hidden), ("intermediate_size", inner), ("num_channels", self.num_channels)])?;
        check_patches(self.image_size, self.patch_size)?;
        let ([height, width], [rows, columns]) = (self.patch_size.each(), self.image_size.grid(self.patch_size));
        check_total(&[
            &[hidden, self.num_channels, height, width],
            &[rows, columns, hidden],
            &[self.num_hidden_layers, 4, hidden, hidden],
            &[self.num_hidden_layers, 2, hidden, inner],
            &[hidden, self.pooler_width()],
        ])?;
        check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        check_only(&self.extra, &[("head_dim", (hidden / heads).into())])
    }
}
