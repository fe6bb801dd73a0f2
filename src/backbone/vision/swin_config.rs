//! Swin's configuration file.

use super::resnet_config::check_groups;
use super::{Sides, check_patches};
use crate::backbone::config::{check_divides, check_epsilon, check_probabilities, check_sizes, check_total, ensure};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Swin's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwinConfig {
    /// `swin`.
    #[serde(default = "swin")]
    pub model_type: String,
    /// Size of the images that a position table is made for.
    #[serde(default = "default_image")]
    pub image_size: Sides,
    /// Size of a patch.
    #[serde(default = "default_patch")]
    pub patch_size: Sides,
    /// Channels of an image.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Width of a patch's vector; it doubles from group to group.
    #[serde(default = "default_width")]
    pub embed_dim: usize,
    /// Layers of each group.
    #[serde(default = "default_depths")]
    pub depths: Vec<usize>,
    /// Attention heads of each group.
    #[serde(default = "default_heads")]
    pub num_heads: Vec<usize>,
    /// Height and width of a window, in patches.
    #[serde(default = "seven")]
    pub window_size: usize,
    /// Width inside a feed-forward layer, in multiples of its input's.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Whether queries, keys and values have biases.
    #[serde(default = "yes")]
    pub qkv_bias: bool,
    /// Dropout after embeddings and sublayers while training.
    #[serde(default)]
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities while training.
    #[serde(default)]
    pub attention_probs_dropout_prob: f64,
    /// Probability that the last layer's attention is left out for an image while training; it rises from 0 at the first.
    #[serde(default = "tenth")]
    pub drop_path_rate: f64,
    /// Between the linear maps of a feed-forward layer.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Whether patches have a position besides that in their window.
    #[serde(default)]
    pub use_absolute_embeddings: bool,
    /// Deviation of fresh weights.
    #[serde(default = "default_deviation")]
    pub initializer_range: f64,
    /// Added to the variance in the layer norms of layers and in the last one; the others have 1e-5.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn swin() -> String {
    "swin".into()
}
fn default_image() -> Sides {
    Sides::Equal(224)
}
fn default_patch() -> Sides {
    Sides::Equal(4)
}
fn three() -> usize {
    3
}
fn default_width() -> usize {
    96
}
fn default_depths() -> Vec<usize> {
    vec![2, 2, 6, 2]
}
fn default_heads() -> Vec<usize> {
    vec![3, 6, 12, 24]
}
fn seven() -> usize {
    7
}
fn four() -> f64 {
    4.0
}
fn yes() -> bool {
    true
}
fn tenth() -> f64 {
    0.1
}
fn default_deviation() -> f64 {
    0.02
}
fn default_epsilon() -> f64 {
    1e-5
}

impl SwinConfig {
    /// Width of a group's vectors.
    pub(super) fn width(&self, group: usize) -> usize {
        self.embed_dim << group
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == swin(), "model_type", &self.model_type, "swin")?;
        let (width, window) = (self.embed_dim, self.window_size);
        check_sizes(&[("embed_dim", width), ("num_channels", self.num_channels), ("window_size", window)])?;
        check_patches(self.image_size, self.patch_size)?;
        check_groups(("num_heads", &self.num_heads), ("depths", &self.depths))?;
        let groups = self.depths.len();
        ensure(groups < 32, "depths", groups, "fewer than 32 groups, for each halves the map")?;
        let widest = width.checked_shl(groups as u32 - 1).filter(|widest| widest >> (groups - 1) == width);
        let widest = widest.unwrap_or(usize::MAX);
        let ratio = self.mlp_ratio;
        ensure(ratio.is_finite() && (ratio * width as f64) >= 1.0, "mlp_ratio", ratio, "a number above 0")?;
        let layers = self.depths.iter().fold(1usize, |sum, depth| sum.saturating_add(*depth));
        let ([height, patch_width], [rows, columns]) = (self.patch_size.each(), self.image_size.grid(self.patch_size));
        let heads = self.num_heads.iter().copied().max().unwrap_or(0);
        check_total(&[
            &[height, patch_width, self.num_channels, width],
            &[rows, columns, width],
            &[layers, 4 + 2 * ratio.ceil() as usize, widest, widest],
            &[layers, 4, window, window, heads],
        ])?;
        for (group, heads) in self.num_heads.iter().enumerate() {
            check_divides("num_heads", *heads, "a group's width", self.width(group))?;
        }
        check_probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("drop_path_rate", self.drop_path_rate),
        ])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)
    }
}
