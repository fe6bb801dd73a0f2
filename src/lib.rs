//! Pretrain a transformer, or load a Hugging Face checkpoint; put a task head on it; freeze what should stay; train the
//! rest; measure; save; serve.
//!
//! Modules in the order in which data flows through them:

pub mod data;

pub mod objective;
pub mod rows;

pub mod backbone;
pub mod nn;

pub mod head;
pub mod model;

pub mod params;

pub mod optim;
pub mod random;
pub mod train;

pub mod metric;

pub mod checkpoint;
pub mod predict;

mod device;
mod error;
mod file;
#[cfg(feature = "flex")]
mod kernel;
mod nearest;

pub use device::{DeviceError, device};
pub use error::Error;
pub use model::Model;
