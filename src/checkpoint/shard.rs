//! One file of named tensors.

use std::path::PathBuf;

use super::convert::Coding;
use super::error::CheckpointError;
use super::gguf;
use super::header::{self, Header, LENGTH_BYTES, MAX_HEADER};
use super::map::MappedFile;
use super::stored::Stored;
use super::strided::Strided;
use super::torch;

/// An open file whose header was checked.
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    file: MappedFile,
}

impl Shard {
    /// Opens a file of any form that is known by its first bytes; else it is a safetensors file, which starts with a length
    /// that none of them could be.
    pub(super) fn open(path: PathBuf) -> Result<Self, CheckpointError> {
        let file = MappedFile::open(&path)?;
        let start = file.range(0..LENGTH_BYTES.min(file.len()))?;
        let length = start.first_chunk().map_or(0, |start| u64::from_le_bytes(*start));
        let header = match length > MAX_HEADER as u64 {
            true if start.starts_with(&torch::ZIP) => torch::read_archive(&path, &file)?,
            true if start.starts_with(&torch::LEGACY) => torch::read_legacy(&path, &file)?,
            true if start.starts_with(&gguf::MAGIC) => gguf::read(&path, &file)?,
            _ => header::read(&path, &file)?,
        };
        Ok(Self { path, header, file })
    }

    /// A tensor's bytes and how they are to be read; `None` for a coding that holds no floats.
    pub(super) fn stored(&self, key: &str) -> Result<(Option<Coding>, Stored<'_>), CheckpointError> {
        let place = self.header.tensors.get(key).ok_or_else(|| self.missing(key))?;
        let width = place.dtype.byte_size(1).unwrap_or(0);
        let strides = place.strides.as_deref();
        let strided = strides.map(|strides| Strided { shape: &place.shape, strides, width });
        Ok((Coding::of(place.dtype), Stored { file: &self.file, range: place.range.clone(), strided }))
    }

    /// Checks that the shard holds the keys that the index says, and no others.
    pub(super) fn agree(&self, keys: &[String]) -> Result<(), CheckpointError> {
        let missing: Vec<_> = keys.iter().filter(|key| !self.header.tensors.contains_key(*key)).cloned().collect();
        if !missing.is_empty() {
            return Err(CheckpointError::MissingKey { keys: missing, path: self.path.clone() });
        }
        // The index lists keys in sorted order, as its reader makes it from a sorted map.
        let extra: Vec<_> =
            self.header.tensors.keys().filter(|key| keys.binary_search(key).is_err()).cloned().collect();
        if !extra.is_empty() {
            let mend = "the index and this shard are of different checkpoints: download both again".into();
            return Err(CheckpointError::UnknownKey { keys: extra, path: self.path.clone(), mend });
        }
        Ok(())
    }

    fn missing(&self, key: &str) -> CheckpointError {
        CheckpointError::MissingKey { keys: vec![key.into()], path: self.path.clone() }
    }
}
