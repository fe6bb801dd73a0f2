//! Checkpoints: model folders in Hugging Face's layout, and the tables between their keys and our parameter paths.
//!
//! [`Checkpoint`] reads a folder, [`save_pretrained`] and [`save_classifier`] write one. Underneath, [`Tensors`] hands out
//! plain vectors, [`KeyMap`] translates names, [`LoadReport`] says what became of each of them.

mod apply;
mod blocks;
mod card;
mod chooser;
mod classifier;
mod convert;
mod cursor;
mod encode;
mod error;
mod extractor;
mod fill;
mod gguf;
mod header;
pub mod hub;
mod image_classifier;
mod index;
mod key_map;
mod map;
mod number_type;
mod pair;
mod pattern;
mod pickle;
mod pretrained;
mod reader;
mod report;
mod rule;
mod save;
mod save_format;
mod saved;
mod sentence;
mod sentence_dense;
mod shard;
mod stored;
mod strided;
mod tagger;
mod tensors;
mod torch;
mod write;

pub(crate) use apply::{Held, floats, held, load_selected, selected};
pub use apply::{load_weights, save_weights};
pub use blocks::Block;
pub use card::Card;
pub use chooser::{SavedChooser, load_chooser, save_chooser};
pub use classifier::{
    SavedClassifier, SavedMultiLabel, SavedRegressor, check_pooling, load_classifier, load_multi_label, load_regressor,
    save_classifier, save_classifier_as, save_multi_label, save_regressor,
};
pub use encode::SaveDtype;
pub use error::CheckpointError;
pub use extractor::Signature;
pub(crate) use extractor::{load_extractor, save_extractor};
pub use gguf::gguf_metadata;
pub use image_classifier::{SavedImageClassifier, load_image_classifier, save_image_classifier};
pub use key_map::KeyMap;
pub(crate) use map::MappedFile;
pub use number_type::NumberType;
pub use pair::{SavedPairClassifier, load_pair_classifier, save_pair_classifier};
pub use pretrained::{Checkpoint, FromPretrained, Loaded};
pub use reader::{SavedReader, load_reader, save_reader};
pub use report::LoadReport;
pub use safetensors::Dtype;
pub use save::{Companions, check_model_folder, save_backbone, save_pretrained, save_pretrained_as};
pub use save_format::{SaveFormat, ShardSize};
pub use saved::Saved;
pub use sentence::{SavedEmbedder, load_embedder, save_embedder};
pub use stored::TensorBytes;
pub use tagger::{SavedTagger, load_tagger, save_tagger};
pub use tensors::Tensors;
pub(crate) use write::save_tensors_hashed;
pub use write::{save_tensors, write_file, write_folder};
