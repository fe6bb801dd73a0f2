//! Files that are mapped into memory piece by piece, so that what was read does not stay in memory.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use super::error::CheckpointError;

/// An open file. It stays the same file when another one takes its name.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    file: File,
    length: usize,
}

/// Some bytes of a mapped file; they leave memory with it.
#[derive(Debug)]
pub(crate) struct Mapping(Option<Mmap>);

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(CheckpointError::io("read", path))?;
        let length = Self::length_of(&file, path)?;
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Maps the bytes of `range`, which ends where the file ends or before, and reads them.
    pub(crate) fn range(&self, range: Range<usize>) -> Result<Mapping, CheckpointError> {
        self.map(range, true)
    }

    /// Maps the whole file; only what is looked at is read.
    pub(crate) fn untouched(&self) -> Result<Mapping, CheckpointError> {
        self.map(0..self.length, false)
    }

    fn map(&self, range: Range<usize>, read: bool) -> Result<Mapping, CheckpointError> {
        // What lies beyond a file's end can be mapped, and kills the process when it is read.
        let now = Self::length_of(&self.file, &self.path)?;
        if now < range.end {
            let reason = format!("it has shrunk to {now} bytes, but had {}", self.length);
            return Err(CheckpointError::damaged(&self.path, reason));
        }
        if range.is_empty() {
            return Ok(Mapping(None));
        }
        let mut options = MmapOptions::new();
        options.offset(range.start as u64).len(range.len());
        if read {
            options.populate();
        }
        // No crate has a safe form. It is sound while nobody writes into the file or cuts it in place, as the
        // documentation of `Tensors` asks; writers of checkpoints, ours too, replace files by renaming.
        #[allow(unsafe_code)]
        let map = unsafe { options.map(&self.file) };
        Ok(Mapping(Some(map.map_err(CheckpointError::io("map", &self.path))?)))
    }

    fn length_of(file: &File, path: &Path) -> Result<usize, CheckpointError> {
        let length = file.metadata().map_err(CheckpointError::io("read", path))?.len();
        usize::try_from(length).map_err(|_| CheckpointError::damaged(path, format!("{length} bytes are too many")))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_is_an_error_and_one_that_is_replaced_is_not_seen() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a");
        std::fs::write(&path, [7; 9000]).expect("written");
        let file = MappedFile::open(&path).expect("there");
        assert_eq!(*file.range(4097..4100).expect("there"), [7; 3]);
        assert!(file.range(9000..9000).expect("empty").is_empty());
        std::fs::rename(&path, dir.path().join("b")).expect("renamed");
        std::fs::write(&path, [8]).expect("written");
        assert_eq!(*file.range(8999..9000).expect("the old one"), [7]);
        File::options().write(true).open(dir.path().join("b")).and_then(|file| file.set_len(100)).expect("cut");
        assert_eq!(*file.range(0..100).expect("there"), [7; 100]);
        assert!(matches!(file.range(50..101), Err(CheckpointError::Damaged { .. })));
    }
}
