//! PyTorch's own files (`pytorch_model.bin`): a pickle that names tensors, and their values beside it.
//!
//! Since PyTorch 1.6 a file is a zip archive of uncompressed entries (`data.pkl`, `data/0`, ...); before, it was pickles one
//! after the other with the values behind them. Both are described by `torch/serialization.py`.

mod archive;
mod legacy;
mod state_dict;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::error::CheckpointError;
use super::header::Header;
use super::map::MappedFile;
use super::pickle::{Fault, StorageRef};

/// Where the file holds the bytes of its storages.
type Storages = BTreeMap<String, Range<usize>>;

/// What a zip archive starts with.
pub(super) const ZIP: [u8; 4] = *b"PK\x03\x04";
/// What the old form starts with: a pickle of its magic number.
pub(super) const LEGACY: [u8; 8] = *b"\x80\x02\x8a\x0al\xfc\x9cF";

/// Reads what a zip archive says of its tensors.
pub(super) fn read_archive(path: &Path, file: &MappedFile) -> Result<Header, CheckpointError> {
    let bytes = file.untouched()?;
    archive::read(&bytes).map_err(|fault| error(path, fault))
}

/// Reads what a file of the old form says of its tensors.
pub(super) fn read_legacy(path: &Path, file: &MappedFile) -> Result<Header, CheckpointError> {
    let bytes = file.untouched()?;
    legacy::read(&bytes).map_err(|fault| error(path, fault))
}

fn error(path: &Path, fault: Fault) -> CheckpointError {
    match fault {
        Fault::Damaged(reason) => CheckpointError::damaged(path, reason),
        Fault::Refused(what) => CheckpointError::NotAStateDict { path: path.into(), what },
    }
}

/// The bytes of a storage, as many as it says.
fn bytes_of(storage: &StorageRef, storages: &Storages) -> Result<Range<usize>, Fault> {
    let range = storages.get(&storage.key).cloned();
    let range = range.ok_or_else(|| Fault::Damaged(format!("it lacks the storage `{}`", storage.key)))?;
    match storage.count.checked_mul(storage.dtype.bitsize() / 8) {
        Some(bytes) if bytes == range.len() => Ok(range),
        _ => Err(Fault::Damaged(format!(
            "the storage `{}` of {} values in {} cannot have {} bytes",
            storage.key,
            storage.count,
            storage.dtype,
            range.len()
        ))),
    }
}
