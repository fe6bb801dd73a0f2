//! What both families of image-text models say of their towers.

use super::{ClipConfig, SiglipConfig, TextPool};
use crate::backbone::config::{check_divides, check_epsilon, check_probabilities, check_sizes, check_total};
use crate::backbone::vision::{BlockSizes, Sides, check_patches};
use crate::checkpoint::CheckpointError;
use serde::{Deserialize, Serialize};

/// The `config.json` of a model of images and texts, by its `model_type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum ImageTextConfig {
    /// CLIP.
    Clip(Box<ClipConfig>),
    /// SigLIP.
    Siglip(Box<SiglipConfig>),
}

impl ImageTextConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        match self {
            Self::Clip(config) => config.check(),
            Self::Siglip(config) => config.check(),
        }
    }

    /// Width of the vectors in which images and texts are compared.
    pub fn projection_dim(&self) -> usize {
        self.text().projection
    }

    pub(super) fn text(&self) -> TextSizes {
        match self {
            Self::Clip(config) => config.text(),
            Self::Siglip(config) => config.text_config.sizes(),
        }
    }

    pub(super) fn vision(&self) -> VisionSizes {
        match self {
            Self::Clip(config) => config.vision(),
            Self::Siglip(config) => config.vision_config.sizes(),
        }
    }
}

/// Sizes and settings of a text tower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextSizes {
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    pub(crate) layers: usize,
    pub(crate) block: BlockSizes,
    pub(crate) deviation: f64,
    /// Whether a token sees those before it alone.
    pub(crate) causal: bool,
    pub(crate) pool: TextPool,
    /// Width that it makes.
    pub(crate) projection: usize,
    /// Whether the projection has a bias.
    pub(crate) bias: bool,
}

/// Sizes and settings of a vision tower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VisionSizes {
    pub(crate) channels: usize,
    pub(crate) image: Sides,
    pub(crate) patch: Sides,
    pub(crate) layers: usize,
    pub(crate) block: BlockSizes,
    pub(crate) deviation: f64,
    /// CLIP's, with a class token and a norm before the layers; attention pools SigLIP's.
    pub(crate) class_token: bool,
    /// Width that CLIP's class token is projected to.
    pub(crate) projection: Option<usize>,
}

fn check_block(block: BlockSizes) -> Result<(), CheckpointError> {
    check_sizes(&[("hidden_size", block.attention.hidden), ("intermediate_size", block.inner)])?;
    check_divides("num_attention_heads", block.attention.heads, "hidden_size", block.attention.hidden)?;
    check_probabilities(&[("attention_dropout", block.attention.dropout)])?;
    check_epsilon("layer_norm_eps", block.epsilon)
}

/// Values of a block's products.
fn values(block: BlockSizes, layers: usize) -> [[usize; 4]; 2] {
    let hidden = block.attention.hidden;
    [[layers, 4, hidden, hidden], [layers, 2, hidden, block.inner]]
}

/// Checks a text tower.
pub(crate) fn check_text(sizes: TextSizes) -> Result<(), CheckpointError> {
    let (vocabulary, positions) = (sizes.vocabulary, sizes.positions);
    let hidden = sizes.block.attention.hidden;
    check_sizes(&[("vocab_size", vocabulary), ("max_position_embeddings", positions)])?;
    check_sizes(&[("projection_dim", sizes.projection)])?;
    let [attention, inner] = values(sizes.block, sizes.layers);
    check_total(&[&[vocabulary, hidden], &[positions, hidden], &[hidden, sizes.projection], &attention, &inner])?;
    check_block(sizes.block)
}

/// Checks a vision tower.
pub(crate) fn check_vision(sizes: VisionSizes) -> Result<(), CheckpointError> {
    let hidden = sizes.block.attention.hidden;
    check_sizes(&[("num_channels", sizes.channels)])?;
    check_patches(sizes.image, sizes.patch)?;
    let ([height, width], [rows, columns]) = (sizes.patch.each(), sizes.image.grid(sizes.patch));
    let [attention, inner] = values(sizes.block, sizes.layers);
    check_total(&[
        &[hidden, sizes.channels, height, width],
        &[rows, columns, hidden],
        &[hidden, sizes.projection.unwrap_or(hidden)],
        &attention,
        &inner,
    ])?;
    check_block(sizes.block)
}
