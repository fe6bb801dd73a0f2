//! ResNet's configuration file.

use crate::backbone::config::{check_sizes, check_total, ensure};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a ResNet's layers are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResNetLayer {
    /// Two 3 x 3 convolutions.
    Basic,
    /// A 3 x 3 convolution of a quarter of the channels between two of 1 x 1.
    #[default]
    Bottleneck,
}

/// ResNet's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResNetConfig {
    /// `resnet`.
    #[serde(default = "resnet")]
    pub model_type: String,
    /// Channels of an image.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Channels that the stem makes.
    #[serde(default = "default_stem")]
    pub embedding_size: usize,
    /// Channels of each group of layers.
    #[serde(default = "default_sizes")]
    pub hidden_sizes: Vec<usize>,
    /// Layers of each group.
    #[serde(default = "default_depths")]
    pub depths: Vec<usize>,
    /// What a layer is made of.
    #[serde(default)]
    pub layer_type: ResNetLayer,
    /// After the stem and after each layer; inside a layer it is ReLU.
    #[serde(default = "relu")]
    pub hidden_act: Activation,
    /// Whether the first group halves the map too.
    #[serde(default)]
    pub downsample_in_first_stage: bool,
    /// Whether a bottleneck halves the map in its first convolution instead of its second.
    #[serde(default)]
    pub downsample_in_bottleneck: bool,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn resnet() -> String {
    "resnet".into()
}
fn three() -> usize {
    3
}
fn default_stem() -> usize {
    64
}
fn default_sizes() -> Vec<usize> {
    vec![256, 512, 1024, 2048]
}
fn default_depths() -> Vec<usize> {
    vec![3, 4, 6, 3]
}
fn relu() -> Activation {
    Activation::Relu
}

impl ResNetConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        ensure(self.model_type == resnet(), "model_type", &self.model_type, "resnet")?;
        check_sizes(&[("num_channels", self.num_channels), ("embedding_size", self.embedding_size)])?;
        check_groups(("depths", &self.depths), ("hidden_sizes", &self.hidden_sizes))?;
        let least = if self.layer_type == ResNetLayer::Bottleneck { 4 } else { 1 };
        for size in &self.hidden_sizes {
            ensure(*size >= least, "hidden_sizes", size, &format!("{least} channels or more"))?;
        }
        let widest = self.hidden_sizes.iter().copied().max().unwrap_or(0).max(self.embedding_size);
        let layers = self.depths.iter().fold(1usize, |sum, depth| sum.saturating_add(*depth));
        check_total(&[&[49, self.num_channels, self.embedding_size], &[layers, 2, 9, widest, widest]])
    }
}

/// Two lists with one entry above 0 for each group of layers.
pub(super) fn check_groups(depths: (&str, &[usize]), sizes: (&str, &[usize])) -> Result<(), CheckpointError> {
    let ((depths_field, depths), (sizes_field, sizes)) = (depths, sizes);
    let equal = format!("as many entries as {sizes_field} ({}), at least one", sizes.len());
    ensure(depths.len() == sizes.len() && !depths.is_empty(), depths_field, format!("{depths:?}"), &equal)?;
    let named = |field, list: &[usize]| list.iter().map(|size| (field, *size)).collect::<Vec<_>>();
    check_sizes(&[named(depths_field, depths), named(sizes_field, sizes)].concat())
}
