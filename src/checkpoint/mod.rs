//! Checkpoints on the host: reading and writing safetensors files, and the tables between their keys and our parameter paths.
//!
//! Nothing here knows a tensor type of Burn: [`Tensors`] hands out plain vectors, [`KeyMap`] translates names, [`LoadReport`] says what
//! became of each of them.

mod bert;
mod error;
mod header;
mod index;
mod key_map;
mod pattern;
mod report;
mod tensors;
mod write;

pub use bert::{BERT_TIED_KEYS, bert_key_map};
pub use error::CheckpointError;
pub use key_map::KeyMap;
pub use report::LoadReport;
pub use safetensors::Dtype;
pub use tensors::Tensors;
pub use write::{save_tensors, write_file, write_folder};
