//! The vision tower of CLIP or SigLIP by itself, as Transformers' `models/clip/modeling_clip.py` and
//! `models/siglip/modeling_siglip.py` run it: `CLIPForImageClassification`, `SiglipForImageClassification` and the bare
//! `CLIPVisionModel` and `SiglipVisionModel`.

use super::keys::{POSITION_IDS, vision_keys};
use super::{ClipConfig, ClipVisionConfig, SiglipConfig, SiglipVisionConfig, VisionSizes, VisionTower, check_vision};
use crate::backbone::Pooling;
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// The `config.json` that a vision tower is read from, by its `model_type`: that of both towers, or that of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type")]
pub enum VisionTowerConfig {
    /// CLIP, both towers.
    #[serde(rename = "clip")]
    Clip(Box<ClipConfig>),
    /// CLIP's vision tower.
    #[serde(rename = "clip_vision_model")]
    ClipVision(Box<ClipVisionConfig>),
    /// SigLIP, both towers.
    #[serde(rename = "siglip")]
    Siglip(Box<SiglipConfig>),
    /// SigLIP's vision tower.
    #[serde(rename = "siglip_vision_model")]
    SiglipVision(Box<SiglipVisionConfig>),
}

impl VisionTowerConfig {
    fn sizes(&self) -> VisionSizes {
        match self {
            Self::Clip(config) => config.vision_config.sizes(),
            Self::ClipVision(config) => config.sizes(),
            Self::Siglip(config) => config.vision_config.sizes(),
            Self::SiglipVision(config) => config.sizes(),
        }
    }

    /// Says whether a tower of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        match self {
            Self::Clip(config) => config.check(),
            other => check_vision(other.sizes()),
        }
    }
}

impl FromPretrained for VisionTower {
    type Config = VisionTowerConfig;
    const MODEL_TYPES: &'static [&'static str] = &["clip", "siglip", "clip_vision_model", "siglip_vision_model"];

    fn check_config(config: &VisionTowerConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    /// It pools by the mean of the patches, and whatever else is asked by what the family pools with.
    fn build(config: &VisionTowerConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config.sizes(), pooling, seed, device)
    }
    fn key_map(_: &VisionTowerConfig) -> KeyMap {
        let map = vision_keys(KeyMap::new("vision_model"), "backbone").rule("head.linear", "classifier");
        ["post_layernorm", "head"]
            .into_iter()
            .fold(map, |map, part| map.optional(&format!("backbone.{part}")))
            .ignore("text_model.**", "the text tower, which is not here")
            .ignore("text_projection.**", "of the text tower, which is not here")
            .ignore("visual_projection.**", "of comparing with texts")
            .ignore("logit_scale", "of comparing with texts")
            .ignore("logit_bias", "of comparing with texts")
            .ignore("**.position_ids", POSITION_IDS)
    }
    fn hidden_size(config: &VisionTowerConfig) -> usize {
        config.sizes().block.attention.hidden
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(config: &VisionTowerConfig) -> &'static str {
        match config {
            VisionTowerConfig::Clip(_) | VisionTowerConfig::ClipVision(_) => "CLIP",
            VisionTowerConfig::Siglip(_) | VisionTowerConfig::SiglipVision(_) => "Siglip",
        }
    }
    fn body_class(config: &VisionTowerConfig) -> String {
        format!("{}VisionModel", Self::class_prefix(config))
    }
    fn classification_pooling(_: &VisionTowerConfig) -> Pooling {
        Pooling::Mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_maps_both_ways_and_leaves_the_text_tower_unread() {
        let config = serde_json::from_value(json!({ "model_type": "siglip" })).expect("a configuration");
        let map = VisionTower::key_map(&config);
        map.check().expect("no contradiction");
        for (path, key) in [
            ("backbone.embeddings.norm.weight", "vision_model.pre_layrnorm.weight"),
            ("backbone.encoder.layers.1.mlp.up.bias", "vision_model.encoder.layers.1.mlp.fc1.bias"),
            ("backbone.head.input.weight", "vision_model.head.attention.in_proj_weight"),
            ("backbone.head.probe", "vision_model.head.probe"),
            ("head.linear.weight", "classifier.weight"),
        ] {
            assert_eq!(map.to_file(path).as_deref(), Some(key));
            assert_eq!(map.to_path(key).as_deref(), Some(path));
        }
        for key in ["text_model.head.bias", "logit_scale", "logit_bias", "visual_projection.weight"] {
            assert!(map.ignored(key).is_some(), "{key}");
        }
    }
}
