//! DINOv2's configuration file.

use super::{AttentionSizes, Sides, TokenSizes, check_patches};
use crate::backbone::config::{
    check_divides, check_epsilon, check_only, check_probabilities, check_sizes, check_total, ensure,
};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// DINOv2's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dinov2Config {
    /// `dinov2`.
    #[serde(default = "dinov2")]
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
    /// Width inside the feed-forward layer, in multiples of `hidden_size`; a gated one is two thirds as wide.
    #[serde(default = "four")]
    pub mlp_ratio: usize,
    /// Between the linear maps of a feed-forward layer that is not gated.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Dropout after the embeddings while training.
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
    /// What a fresh layer's branches are scaled by.
    #[serde(default = "one")]
    pub layerscale_value: f64,
    /// Probability that a branch is left out for an image while training.
    #[serde(default)]
    pub drop_path_rate: f64,
    /// Whether the feed-forward layers are gated (SwiGLU).
    #[serde(default)]
    pub use_swiglu_ffn: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn dinov2() -> String {
    "dinov2".into()
}
fn default_hidden() -> usize {
    768
}
fn twelve() -> usize {
    12
}
fn four() -> usize {
    4
}
fn three() -> usize {
    3
}
fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}
fn default_image() -> Sides {
    Sides::Equal(224)
}
fn default_patch() -> Sides {
    Sides::Equal(14)
}
fn default_deviation() -> f64 {
    0.02
}
fn default_epsilon() -> f64 {
    1e-6
}

impl Dinov2Config {
    /// Width inside the feed-forward layer.
    pub(super) fn inner(&self) -> usize {
        let whole = self.hidden_size * self.mlp_ratio;
        // A multiple of 8 for efficiency, as the original rounds it.
        if self.use_swiglu_ffn { (whole * 2 / 3).next_multiple_of(8) } else { whole }
    }

    /// Whether files hold the token that stands for a masked patch.
    pub(super) fn has_mask_token(&self) -> bool {
        self.extra.get("use_mask_token") != Some(&false.into())
    }

    pub(super) fn embeddings(&self) -> TokenSizes {
        TokenSizes {
            hidden: self.hidden_size,
            channels: self.num_channels,
            image: self.image_size,
            patch: self.patch_size,
            distilled: false,
            dropout: self.hidden_dropout_prob,
        }
    }

    pub(super) fn attention(&self) -> AttentionSizes {
        AttentionSizes {
            hidden: self.hidden_size,
            heads: self.num_attention_heads,
            bias: self.qkv_bias,
            dropout: self.attention_probs_dropout_prob,
        }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == dinov2(), "model_type", &self.model_type, "dinov2")?;
        let (hidden, heads, layers) = (self.hidden_size, self.num_attention_heads, self.num_hidden_layers);
        check_sizes(&[("hidden_size", hidden), ("mlp_ratio", self.mlp_ratio), ("num_channels", self.num_channels)])?;
        check_patches(self.image_size, self.patch_size)?;
        let ([height, width], [rows, columns]) = (self.patch_size.each(), self.image_size.grid(self.patch_size));
        check_total(&[
            &[hidden, self.num_channels, height, width],
            &[rows, columns, hidden],
            &[layers, 4, hidden, hidden],
            &[layers, 3, hidden, hidden, self.mlp_ratio],
        ])?;
        check_divides("num_attention_heads", heads, "hidden_size", hidden)?;
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("drop_path_rate", self.drop_path_rate),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        ensure(self.layerscale_value.is_finite(), "layerscale_value", self.layerscale_value, "a finite number")?;
        check_only(&self.extra, &[("head_dim", (hidden / heads).into())])
    }
}
