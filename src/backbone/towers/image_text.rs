//! CLIP ([Radford et al., 2021](https://arxiv.org/abs/2103.00020)) and SigLIP
//! ([Zhai et al., 2023](https://arxiv.org/abs/2303.15343)), as Transformers' `models/clip/modeling_clip.py` and
//! `models/siglip/modeling_siglip.py` run them.

use super::keys::{POSITION_IDS, text_keys, vision_keys};
use super::{ImageTextConfig, TextTower, Towers, VisionTower};
use crate::backbone::Pooling;
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::Contrastive;
use crate::random::mix;
use burn::tensor::Device;

/// A vision and a text tower that were trained together: CLIP or SigLIP.
///
/// The scale of similarities is the head's ([`Contrastive`]). For images or texts alone, run the towers `image` and `text`,
/// which are backbones of their own.
pub type ImageText = Towers<VisionTower, TextTower>;

impl ImageText {
    /// A fresh head as its files have it: CLIP's scale alone, SigLIP's scale and bias.
    pub fn contrastive(config: &ImageTextConfig, device: &Device) -> Contrastive {
        match config {
            ImageTextConfig::Clip(config) => Contrastive::new(config.logit_scale_init_value, device),
            ImageTextConfig::Siglip(_) => Contrastive::sigmoid(device),
        }
    }
}

impl FromPretrained for ImageText {
    type Config = ImageTextConfig;
    const MODEL_TYPES: &'static [&'static str] = &["clip", "siglip"];
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "attention_mask"];

    fn check_config(config: &ImageTextConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    /// It pools in one way, whatever is asked.
    fn build(config: &ImageTextConfig, _: Pooling, seed: u64, device: &Device) -> Self {
        Self {
            image: VisionTower::new(config.vision(), Pooling::Pooler, mix(&[seed, 0]), device),
            text: TextTower::new(config.text(), mix(&[seed, 1]), device),
        }
    }
    fn key_map(config: &ImageTextConfig) -> KeyMap {
        let map = text_keys(vision_keys(KeyMap::new(""), "backbone.image"), "backbone.text")
            .rule("head.logit_scale", "logit_scale")
            .ignore("**.position_ids", POSITION_IDS);
        match config {
            ImageTextConfig::Clip(_) => map
                .rule("backbone.image.projection", "visual_projection")
                .rule("backbone.text.projection", "text_projection")
                .scalar("head.logit_scale"),
            ImageTextConfig::Siglip(_) => {
                map.rule("backbone.text.projection", "text_model.head").rule("head.logit_bias", "logit_bias")
            }
        }
    }
    fn hidden_size(config: &ImageTextConfig) -> usize {
        config.projection_dim()
    }
    fn max_length(config: &ImageTextConfig) -> usize {
        config.text().positions
    }
    fn pooling(&self) -> Pooling {
        Pooling::Pooler
    }
    fn class_prefix(config: &ImageTextConfig) -> &'static str {
        match config {
            ImageTextConfig::Clip(_) => "CLIP",
            ImageTextConfig::Siglip(_) => "Siglip",
        }
    }
}
