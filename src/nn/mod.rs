//! Building blocks for backbones and heads.
//!
//! Every block has one forward pass for plain and autodiff devices, so that frozen stages, which run on the plain
//! device, give the same bits as they would under autodiff.

mod activation;
mod attention;
mod batch_norm;
mod biased_attention;
mod buffer;
mod causal;
mod conv;
mod conv1d;
mod drop_path;
mod dropout;
mod embedding;
mod gated_mlp;
mod gelu;
mod init;
mod layer_drop;
mod linear;
mod norm;
mod power;
mod precision;
mod rehearsal;
mod resize;
mod reuse;
mod rms_norm;
mod rotary;
mod rotation_memo;
mod score_attention;
mod unscaled_attention;
mod visible;

pub use activation::Activation;
#[cfg(test)]
pub(crate) use attention::attend_composed;
pub(crate) use attention::softmax;
pub use attention::{Reach, Scoring, attend, attention, merge_heads, multi_head_attention, split_heads};
pub use batch_norm::{BatchNorm, Statistic};
pub use biased_attention::biased_attention;
pub use buffer::Buffer;
pub use burn::nn::Linear;
pub use causal::causal_mask;
pub use conv::{Conv, max_pool};
pub use conv1d::Conv1d;
pub use drop_path::DropPath;
pub(crate) use dropout::{Draw, Mark};
pub use dropout::{Dropout, RandomScope};
pub use embedding::Embedding;
pub use gated_mlp::GatedMlp;
pub use gelu::gelu;
pub use init::Init;
pub use layer_drop::LayerDrop;
pub use linear::{linear, linear_gelu};
pub use norm::LayerNorm;
pub(crate) use power::power;
pub use precision::Precision;
pub(crate) use precision::PrecisionScope;
pub(crate) use rehearsal::Rehearsal;
pub use resize::resize_bicubic;
pub(crate) use reuse::ReuseScope;
pub use rms_norm::RmsNorm;
pub use rotary::{RopeScaling, Rotary, Rotation};
pub use score_attention::attention_by_scores;
pub use unscaled_attention::unscaled_attention;
#[cfg(feature = "flex")]
pub(crate) use visible::Place;
pub use visible::{Documents, Visible};

#[cfg(test)]
pub(crate) fn test_device() -> burn::tensor::Device {
    let name = if cfg!(feature = "flex") { "flex" } else { "ndarray" };
    crate::device(name).expect("a device of this build")
}
