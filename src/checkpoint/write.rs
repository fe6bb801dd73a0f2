//! Files and folders that are written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use super::apply::{Held, floats};
use super::encode::SaveDtype;
use super::error::CheckpointError;
use super::header::{MAX_HEADER, METADATA};
use super::key_map::COUNTER;
use crate::file::{beside, parent, sync_file, sync_folder, write_atomically};

/// Writes a file by way of a temporary one beside it, which is synced and then renamed: a reader, or a machine that loses power, sees the
/// old file or the new one. The folder must exist; the file gets the usual permissions of a new file.
///
/// # Errors
/// `Io`; the old file is then as it was.
pub fn write_file(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    write_atomically(path, fill).map_err(CheckpointError::io("write", path))
}

/// Writes a folder whole: `fill` fills a temporary folder beside it, whose files are then synced, and which takes the place of `dir`.
///
/// **Everything that `dir` held before is deleted.** Parent folders are made. A link to a folder stays a link; what it leads to is
/// replaced. The swap is two renames (old aside, new in), so that a reader never sees a mixture; in the instant between them there is no
/// `dir`, and a crash at that instant leaves both folders whole in a hidden folder beside it, named `.<name>.<random>`.
///
/// # Errors
/// What `fill` returns, and `Io`. The old folder is then as it was; should even putting it back fail, the message says where it is.
pub fn write_folder<E: From<CheckpointError>>(
    dir: impl AsRef<Path>,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let dir = real_folder(dir.as_ref())?;
    let folder = parent(&dir);
    fs::create_dir_all(folder).map_err(CheckpointError::io("make the folder", folder))?;
    let room = beside(&dir, 0o777, |builder, folder| builder.tempdir_in(folder));
    let room = room.map_err(CheckpointError::io("make a temporary beside", &dir))?;
    let new = room.path().join("new");
    fs::create_dir(&new).map_err(CheckpointError::io("make the folder", &new))?;
    fill(&new)?;
    sync_tree(&new)?;
    Ok(swap(&dir, &new, room)?)
}

/// Follows links to an existing folder, since renaming a link would leave what it leads to behind.
fn real_folder(dir: &Path) -> Result<PathBuf, CheckpointError> {
    match fs::canonicalize(dir) {
        Ok(real) if real.is_dir() => Ok(real),
        Ok(_) => Err(CheckpointError::io("replace by a folder", dir)(io::ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(dir.to_path_buf()),
        Err(error) => Err(CheckpointError::io("read", dir)(error)),
    }
}

/// Renames `dir` into `room` and `new` to `dir`; on failure the old folder is put back.
fn swap(dir: &Path, new: &Path, room: tempfile::TempDir) -> Result<(), CheckpointError> {
    let old = room.path().join("old");
    let had_old = dir.exists();
    if had_old {
        fs::rename(dir, &old).map_err(CheckpointError::io("move aside", dir))?;
    }
    let Err(cause) = fs::rename(new, dir) else {
        // The renames last before the old folder goes, which it does with `room`.
        return sync_folder(parent(dir)).map_err(CheckpointError::io("sync the folder of", dir));
    };
    if had_old && fs::rename(&old, dir).is_err() {
        // The only copy of the old folder is in there: it must not be cleaned up.
        let kept = room.keep().join("old");
        return Err(CheckpointError::io("put back, move it to its place yourself,", &kept)(cause));
    }
    Err(CheckpointError::io("replace", dir)(cause))
}

/// Saves float32 tensors as a safetensors file that Transformers loads: tensors sorted by name, `format: pt` in the metadata unless the
/// caller's has one. Equal input gives equal bytes.
///
/// # Shapes
/// Each tensor is (key, sizes, values in row-major order).
///
/// # Errors
/// `WrongLength` when values do not fill a shape, `DuplicateKey` when a key comes twice or is the reserved `__metadata__`, `Io`.
pub fn save_tensors(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    metadata: &[(&str, &str)],
) -> Result<(), CheckpointError> {
    save_tensors_in(path.as_ref(), tensors.into_iter().collect(), metadata, SaveDtype::F32)
}

/// As [`save_tensors`], in another number type.
pub(super) fn save_tensors_in(
    path: &Path,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    metadata: &[(&str, &str)],
    dtype: SaveDtype,
) -> Result<(), CheckpointError> {
    tensors.iter().try_for_each(|(key, _, values)| dtype.check(key, values))?;
    let (header, values) = layout(path, tensors, metadata, dtype)?;
    write_file(path, |file| write_tensors(file, &header, values, dtype))
}

/// As [`save_tensors`], a tensor at a time; gives the blake3 hash of the file too, which need not be read again for it.
pub(crate) fn save_tensors_hashed(
    path: &Path,
    tensors: impl IntoIterator<Item = Held>,
) -> Result<blake3::Hash, CheckpointError> {
    let dtype = SaveDtype::F32;
    let (header, values) = layout(path, tensors, &[], dtype)?;
    let mut hasher = blake3::Hasher::new();
    write_file(path, |file| write_tensors(&mut Hashing { file, hasher: &mut hasher }, &header, values, dtype))?;
    Ok(hasher.finalize())
}

/// Values to be written: on the host already, or on a device.
trait Values {
    fn count(&self) -> usize;
    fn on_host(self) -> Vec<f32>;
}

impl Values for Vec<f32> {
    fn count(&self) -> usize {
        self.len()
    }
    fn on_host(self) -> Vec<f32> {
        self
    }
}

impl Values for Tensor<1> {
    fn count(&self) -> usize {
        self.dims()[0]
    }
    fn on_host(self) -> Vec<f32> {
        floats(self.into_data())
    }
}

/// Hashes what passes through.
struct Hashing<'a> {
    file: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether a tensor is a counter, and its values.
type Counted<V> = (bool, V);

/// The header of a file and the values that follow it, sorted by key.
fn layout<V: Values>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, V)>,
    metadata: &[(&str, &str)],
    dtype: SaveDtype,
) -> Result<(Vec<u8>, Vec<Counted<V>>), CheckpointError> {
    let mut sorted = BTreeMap::new();
    for (key, shape, values) in tensors {
        if shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size)) != Some(values.count()) {
            return Err(CheckpointError::WrongLength { key, shape, values: values.count() });
        }
        if key == METADATA || sorted.contains_key(&key) {
            return Err(twice(&key, if key == METADATA { "the format itself" } else { "the tensors to save" }));
        }
        sorted.insert(key, (shape, values));
    }
    let header = header(&sorted, metadata, dtype).map_err(CheckpointError::io("write the header of", path))?;
    Ok((header, sorted.into_iter().map(|(key, (_, values))| (is_counter(&key), values)).collect()))
}

fn write_tensors<V: Values>(
    file: &mut dyn Write,
    header: &[u8],
    tensors: Vec<Counted<V>>,
    dtype: SaveDtype,
) -> io::Result<()> {
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    tensors.into_iter().try_for_each(|(counts, values)| match counts {
        false => dtype.write(file, &values.on_host()),
        true => values.on_host().into_iter().try_for_each(|value| file.write_all(&(value as i64).to_le_bytes())),
    })
}

/// Whether a tensor is kept as whole numbers.
fn is_counter(key: &str) -> bool {
    key.rsplit('.').next() == Some(COUNTER)
}

fn twice(key: &str, first: &str) -> CheckpointError {
    CheckpointError::DuplicateKey { key: key.into(), first: first.into(), second: "the tensors to save".into() }
}

/// The header's JSON, filled up with spaces so that the data starts at a multiple of 8.
fn header<V: Values>(
    tensors: &BTreeMap<String, (Vec<usize>, V)>,
    metadata: &[(&str, &str)],
    dtype: SaveDtype,
) -> io::Result<Vec<u8>> {
    let mut texts = BTreeMap::from([("format", "pt")]);
    texts.extend(metadata.iter().copied());
    let mut map = Map::new();
    map.insert(METADATA.into(), serde_json::to_value(texts)?);
    let mut offset = 0;
    for (key, (shape, values)) in tensors {
        let (stored, size) = match is_counter(key) {
            true => (Dtype::I64, 8 * values.count()),
            false => (dtype.stored(), dtype.byte_size(values.count())),
        };
        let end = offset + size;
        let info = TensorInfo { dtype: stored, shape: shape.clone(), data_offsets: (offset, end) };
        map.insert(key.clone(), serde_json::to_value(info)?);
        offset = end;
    }
    let mut json = serde_json::to_vec(&Value::Object(map))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() > MAX_HEADER {
        return Err(io::Error::other(format!(
            "{} bytes, but the format allows {MAX_HEADER}: save fewer tensors a file",
            json.len()
        )));
    }
    Ok(json)
}

/// Syncs every file and folder under `dir`, and `dir` itself.
fn sync_tree(dir: &Path) -> Result<(), CheckpointError> {
    for entry in fs::read_dir(dir).map_err(CheckpointError::io("read the folder", dir))? {
        let entry = entry.map_err(CheckpointError::io("read the folder", dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(CheckpointError::io("read", &path))?;
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            sync_file(&path).map_err(CheckpointError::io("sync", &path))?;
        }
    }
    sync_folder(dir).map_err(CheckpointError::io("sync the folder", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_that_fails_midway_puts_the_old_folder_back() {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let dir = outer.path().join("model");
        fs::create_dir(&dir).expect("made");
        fs::write(dir.join("a"), b"old").expect("written");
        let room = tempfile::tempdir_in(outer.path()).expect("a temporary folder");
        let absent = room.path().join("new");
        assert!(matches!(swap(&dir, &absent, room), Err(CheckpointError::Io { action: "replace", .. })));
        assert_eq!(fs::read(dir.join("a")).expect("there"), b"old");
        assert_eq!(fs::read_dir(outer.path()).expect("a folder").count(), 1);
    }
}
