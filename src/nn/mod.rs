//! Building blocks for backbones and heads.
//!
//! Every block has one forward pass for plain and autodiff devices, so that frozen stages, which run on the plain
//! device, give the same bits as they would under autodiff.

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod drop_path;
mod dropout;
mod embedding;
mod gelu;
mod init;
mod linear;
mod norm;
mod resize;

pub use activation::Activation;
pub(crate) use attention::softmax;
pub use attention::{attention, merge_heads, multi_head_attention, split_heads};
pub use batch_norm::{BatchNorm, Statistic};
pub use burn::nn::Linear;
pub use conv::{Conv, max_pool};
pub use drop_path::DropPath;
pub(crate) use dropout::Draw;
pub use dropout::{Dropout, RandomScope};
pub use embedding::Embedding;
pub use gelu::gelu;
pub use init::Init;
pub use linear::{linear, linear_gelu};
pub use norm::LayerNorm;
pub use resize::resize_bicubic;
