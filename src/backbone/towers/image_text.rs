//! CLIP ([Radford et al., 2021](https://arxiv.org/abs/2103.00020)) and SigLIP
//! ([Zhai et al., 2023](https://arxiv.org/abs/2303.15343)), as Transformers' `models/clip/modeling_clip.py` and
//! `models/siglip/modeling_siglip.py` run them.

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
            image: VisionTower::new(config.vision(), mix(&[seed, 0]), device),
            text: TextTower::new(config.text(), mix(&[seed, 1]), device),
        }
    }
    fn key_map(config: &ImageTextConfig) -> KeyMap {
        match config {
            ImageTextConfig::Clip(_) => towers()
                .rule("backbone.image.projection", "visual_projection")
                .rule("backbone.text.projection", "text_projection")
                .rule("backbone.image.embeddings.norm", "vision_model.pre_layrnorm")
                .scalar("head.logit_scale"),
            ImageTextConfig::Siglip(_) => towers()
                .rule("backbone.text.projection", "text_model.head")
                .rule("backbone.image.head", "vision_model.head")
                .rule("backbone.image.head.input.weight", "vision_model.head.attention.in_proj_weight")
                .rule("backbone.image.head.input.bias", "vision_model.head.attention.in_proj_bias")
                .rule("backbone.image.head.output", "vision_model.head.attention.out_proj")
                .rule("backbone.image.head.mlp.up", "vision_model.head.mlp.fc1")
                .rule("backbone.image.head.mlp.down", "vision_model.head.mlp.fc2")
                .rule("head.logit_bias", "logit_bias"),
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

/// What the keys of both families have in common.
fn towers() -> KeyMap {
    let layer = [
        ("attention_norm", "layer_norm1"),
        ("attention.query", "self_attn.q_proj"),
        ("attention.key", "self_attn.k_proj"),
        ("attention.value", "self_attn.v_proj"),
        ("attention.output", "self_attn.out_proj"),
        ("mlp_norm", "layer_norm2"),
        ("mlp.up", "mlp.fc1"),
        ("mlp.down", "mlp.fc2"),
    ];
    let tower = |map: KeyMap, (path, key): (&str, &str)| {
        let rule = |map: KeyMap, (own, other): &(&str, &str)| {
            map.rule(&format!("backbone.{path}.encoder.layers.*.{own}"), &format!("{key}.encoder.layers.*.{other}"))
        };
        let map = layer.iter().fold(map, rule);
        map.rule(&format!("backbone.{path}.embeddings"), &format!("{key}.embeddings"))
    };
    [("image", "vision_model"), ("text", "text_model")]
        .into_iter()
        .fold(KeyMap::new(""), tower)
        .rule("backbone.image.embeddings.patches", "vision_model.embeddings.patch_embedding")
        .rule("backbone.image.post_layernorm", "vision_model.post_layernorm")
        .rule("backbone.text.final_layer_norm", "text_model.final_layer_norm")
        .rule("head.logit_scale", "logit_scale")
        .ignore("**.position_ids", "a constant that counts the positions")
}
