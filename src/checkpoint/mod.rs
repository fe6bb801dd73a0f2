//! Checkpoints: model folders in Hugging Face's layout, and the tables between their keys and our parameter paths.
//!
//! [`Checkpoint`] reads a folder, [`save_pretrained`] and [`save_classifier`] write one. Underneath, [`Tensors`] hands out
//! plain vectors, [`KeyMap`] translates names, [`LoadReport`] says what became of each of them.

mod apply;
mod card;
mod classifier;
mod convert;
mod error;
mod fill;
mod header;
mod index;
mod key_map;
mod map;
mod pattern;
mod pretrained;
mod reader;
mod report;
mod shard;
mod stored;
mod tagger;
mod tensors;
mod write;

pub(crate) use apply::{floats, load_selected, selected};
pub use apply::{load_weights, save_weights};
pub use card::Card;
pub use classifier::{SavedClassifier, load_classifier, save_classifier};
pub use error::CheckpointError;
pub use key_map::KeyMap;
pub use pretrained::{Checkpoint, FromPretrained, Loaded, check_model_folder, save_pretrained};
pub use reader::{SavedReader, load_reader, save_reader};
pub use report::LoadReport;
pub use safetensors::Dtype;
pub use stored::TensorBytes;
pub use tagger::{SavedTagger, load_tagger, save_tagger};
pub use tensors::Tensors;
pub(crate) use write::save_tensors_hashed;
pub use write::{save_tensors, write_file, write_folder};
