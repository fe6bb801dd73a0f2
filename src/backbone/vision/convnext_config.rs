//! ConvNeXt's configuration file.

use super::resnet_config::check_groups;
use super::{Sides, check_sides};
use crate::backbone::config::{check_epsilon, check_probabilities, check_sizes, check_total, ensure};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// ConvNeXt's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvNextConfig {
    /// `convnext`.
    #[serde(default = "convnext")]
    pub model_type: String,
    /// Channels of an image.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Size of a patch.
    #[serde(default = "default_patch")]
    pub patch_size: Sides,
    /// Groups of layers.
    #[serde(default = "four")]
    pub num_stages: usize,
    /// Channels of each group.
    #[serde(default = "default_sizes")]
    pub hidden_sizes: Vec<usize>,
    /// Layers of each group.
    #[serde(default = "default_depths")]
    pub depths: Vec<usize>,
    /// Between the linear maps of a layer.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Deviation of fresh weights.
    #[serde(default = "default_deviation")]
    pub initializer_range: f64,
    /// Added to the variance in the last layer norm; the others have 1e-6.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// What a fresh layer's branch is scaled by; 0 for no scale.
    #[serde(default = "default_scale")]
    pub layer_scale_init_value: f64,
    /// Probability that the last layer's branch is left out for an image while training; it rises from 0 at the first.
    #[serde(default)]
    pub drop_path_rate: f64,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn convnext() -> String {
    "convnext".into()
}
fn three() -> usize {
    3
}
fn four() -> usize {
    4
}
fn default_patch() -> Sides {
    Sides::Equal(4)
}
fn default_sizes() -> Vec<usize> {
    vec![96, 192, 384, 768]
}
fn default_depths() -> Vec<usize> {
    vec![3, 3, 9, 3]
}
fn default_deviation() -> f64 {
    0.02
}
fn default_epsilon() -> f64 {
    1e-12
}
fn default_scale() -> f64 {
    1e-6
}

impl ConvNextConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == convnext(), "model_type", &self.model_type, "convnext")?;
        check_sizes(&[("num_channels", self.num_channels)])?;
        check_sides("patch_size", self.patch_size)?;
        check_groups(("depths", &self.depths), ("hidden_sizes", &self.hidden_sizes))?;
        let groups = self.depths.len();
        ensure(self.num_stages == groups, "num_stages", self.num_stages, &format!("the number of depths ({groups})"))?;
        ensure(groups < 32, "num_stages", groups, "fewer than 32, for each halves the map")?;
        let widest = self.hidden_sizes.iter().copied().max().unwrap_or(0);
        let layers = self.depths.iter().fold(1usize, |sum, depth| sum.saturating_add(*depth));
        let [height, width] = self.patch_size.each();
        check_total(&[&[height, width, self.num_channels, widest], &[layers, 12, widest, widest]])?;
        check_probabilities(&[("drop_path_rate", self.drop_path_rate)])?;
        check_epsilon("layer_norm_eps", self.layer_norm_eps)?;
        let scale = self.layer_scale_init_value;
        ensure(scale.is_finite(), "layer_scale_init_value", scale, "a finite number")
    }
}
