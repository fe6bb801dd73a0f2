//! Two backbones side by side: images and texts.

mod clip_config;
mod config;
mod image_text;
mod keys;
mod pair;
mod siglip_config;
mod text_tower;
mod vision_alone;
mod vision_tower;

pub use clip_config::{ClipConfig, ClipTextConfig, ClipVisionConfig};
pub use config::ImageTextConfig;
pub(crate) use config::{TextSizes, VisionSizes, check_text, check_vision};
pub use image_text::ImageText;
pub use pair::{Flow, Towers};
pub use siglip_config::{SiglipConfig, SiglipTextConfig, SiglipVisionConfig};
pub(crate) use text_tower::TextPool;
pub use text_tower::{TextTower, TextTowerState};
pub use vision_alone::VisionTowerConfig;
pub use vision_tower::VisionTower;
