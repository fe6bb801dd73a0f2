//! Networks that read images.

mod block;
mod convnext;
mod convnext_config;
mod dinov2;
mod dinov2_config;
mod image_input;
mod map_state;
mod patch_state;
mod patches;
mod resnet;
mod resnet_config;
mod sides;
mod swin;
mod swin_config;
mod swin_window;
mod token_embeddings;
mod vit;
mod vit_config;

pub(crate) use block::{AttentionSizes, Block, BlockSizes, Mlp, SelfAttention, Sight};
pub use convnext::ConvNext;
pub use convnext_config::ConvNextConfig;
pub use dinov2::Dinov2;
pub use dinov2_config::Dinov2Config;
pub use image_input::ImageInput;
pub use map_state::{MapFeatures, MapState};
pub use patch_state::{PatchFeatures, PatchState};
pub(crate) use patches::{PatchProjection, positions};
pub use resnet::ResNet;
pub use resnet_config::{ResNetConfig, ResNetLayer};
pub use sides::Sides;
pub(crate) use sides::{check_patches, check_sides};
pub use swin::Swin;
pub use swin_config::SwinConfig;
pub(crate) use token_embeddings::{TokenEmbeddings, TokenSizes};
pub use vit::Vit;
pub use vit_config::VitConfig;
