//! The named tensors of a checkpoint, read into host memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::convert::{Coding, all_finite, transposed};
use super::error::CheckpointError;
use super::gguf::Change;
use super::header::Entry;
use super::index;
use super::number_type::NumberType;
use super::shard::Shard;
use super::stored::{Stored, TensorBytes};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const TORCH: &str = "pytorch_model.bin";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// In the order in which Transformers looks for them.
pub(super) const LOOKED_FOR: [&str; 4] = [SINGLE, INDEX, TORCH, TORCH_INDEX];

/// What can be read as float32.
const FLOATS: &[&str] = &[
    "F32", "F16", "BF16", "F64", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "IQ4_NL", "IQ4_XS",
];

/// The named tensors of one file, or of a folder of shards.
///
/// Opening reads and checks what a file says of its tensors, not their values: those are mapped into memory when they are
/// asked for, and only for as long. A file that is **written in place** meanwhile gives wrong values, or ends the process
/// if it is cut; one that is replaced, as by this crate's own writers, does not.
pub struct Tensors {
    path: PathBuf,
    shards: Vec<Shard>,
    places: BTreeMap<String, usize>,
    metadata: BTreeMap<String, String>,
    /// What turns the values that some keys have in the file.
    changes: BTreeMap<String, Change>,
}

impl Tensors {
    /// Opens a model folder in the Hugging Face layout: `model.safetensors`, else `model.safetensors.index.json` with its shards, else
    /// `pytorch_model.bin` or `pytorch_model.bin.index.json`.
    ///
    /// The index and its shards must agree: each key that the index names is in the shard it names, and no shard holds another one.
    ///
    /// # Errors
    /// `NoWeights`, `Io`, `Damaged`, `BadJson`, `DuplicateKey`, `NotAStateDict`; for shards also `ShardMissing`, `ShardOutside`,
    /// `MissingKey`, `UnknownKey`.
    pub fn open_folder(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        fs::read_dir(dir).map_err(CheckpointError::io("read the folder", dir))?;
        match LOOKED_FOR.into_iter().find(|name| dir.join(name).exists()) {
            Some(name @ (INDEX | TORCH_INDEX)) => Self::open_index(dir, name),
            Some(name) => Self::open_file(dir.join(name)),
            None => Err(CheckpointError::NoWeights {
                dir: dir.to_path_buf(),
                looked_for: LOOKED_FOR.map(String::from).to_vec(),
            }),
        }
    }

    /// Opens one file: safetensors, PyTorch's (the zip archives of 1.6 and later, or the form before), or GGUF, told apart by their
    /// first bytes.
    ///
    /// Of a PyTorch file, tensors in a dictionary are read (in `state_dict`, if it has one), with any strides and shared storages.
    /// It is never run: a pickle that asks for anything else is an error that names it. Of a GGUF file, tensors have their names in
    /// it and their sizes outermost first; see [`gguf_metadata`](super::gguf_metadata) for the rest.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Damaged` when its bytes contradict the format, `DuplicateKey` when a key occurs twice in it,
    /// `NotAStateDict` for a PyTorch file with something else than tensors.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref().to_path_buf();
        let shard = Shard::open(path.clone())?;
        Self::gather(path, vec![shard])
    }

    /// Opens the files of one model, each as [`open_file`](Self::open_file); the first one gives them its path.
    pub(super) fn open_files(paths: &[PathBuf]) -> Result<Self, CheckpointError> {
        let shards = paths.iter().map(|path| Shard::open(path.clone())).collect::<Result<_, _>>()?;
        Self::gather(paths.first().cloned().unwrap_or_default(), shards)
    }

    fn open_index(dir: &Path, name: &str) -> Result<Self, CheckpointError> {
        let index_path = dir.join(name);
        let index = index::read(&index_path)?;
        let mut shards = Vec::new();
        for shard in index.keys() {
            let path = dir.join(shard);
            if !path.exists() {
                return Err(CheckpointError::ShardMissing {
                    index: index_path,
                    shard: shard.clone(),
                    total: index.len(),
                });
            }
            shards.push(Shard::open(path)?);
        }
        let tensors = Self::gather(index_path, shards)?;
        for (shard, keys) in tensors.shards.iter().zip(index.values()) {
            shard.agree(keys)?;
        }
        Ok(tensors)
    }

    fn gather(path: PathBuf, shards: Vec<Shard>) -> Result<Self, CheckpointError> {
        let mut places = BTreeMap::new();
        let mut metadata = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for key in shard.header.tensors.keys() {
                if let Some(first) = places.insert(key.clone(), number) {
                    return Err(CheckpointError::DuplicateKey {
                        key: key.clone(),
                        first: format!("`{}`", shards[first].path.display()),
                        second: format!("`{}`", shard.path.display()),
                    });
                }
            }
            for (key, value) in &shard.header.metadata {
                metadata.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        Ok(Self { path, shards, places, metadata, changes: BTreeMap::new() })
    }

    /// The tensors under other names: from key to the name in the file and what turns its values. Tensors that
    /// are not named are left out.
    pub(super) fn renamed(mut self, names: BTreeMap<String, (String, Option<Change>)>) -> Self {
        for shard in &mut self.shards {
            let stored = std::mem::take(&mut shard.header.tensors);
            let entry = |(key, (name, change)): (&String, &(String, Option<Change>))| {
                let mut entry: Entry = stored.get(name)?.clone();
                if let Some(change) = change {
                    change.place(&mut entry);
                }
                Some((key.clone(), entry))
            };
            shard.header.tensors = names.iter().filter_map(entry).collect();
        }
        let place =
            |(key, (name, _)): (&String, &(String, Option<Change>))| Some((key.clone(), *self.places.get(name)?));
        self.places = names.iter().filter_map(place).collect();
        self.changes = names.into_iter().filter_map(|(key, (_, change))| Some((key, change?))).collect();
        self
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether there is a tensor of this key.
    pub fn contains(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// The sizes of a tensor, outermost axis first; empty for a scalar.
    ///
    /// # Errors
    /// `MissingKey`.
    pub fn shape(&self, key: &str) -> Result<&[usize], CheckpointError> {
        Ok(&self.find(key)?.1.shape)
    }

    /// How a tensor is stored.
    ///
    /// # Errors
    /// `MissingKey`.
    pub fn dtype(&self, key: &str) -> Result<NumberType, CheckpointError> {
        Ok(self.find(key)?.1.dtype)
    }

    /// The file that a tensor is in.
    ///
    /// # Errors
    /// `MissingKey`.
    pub fn path_of(&self, key: &str) -> Result<&Path, CheckpointError> {
        Ok(&self.find(key)?.0.path)
    }

    /// A tensor's bytes as they are stored: little-endian, row-major.
    ///
    /// # Errors
    /// `MissingKey`, `Io`.
    pub fn bytes(&self, key: &str) -> Result<TensorBytes, CheckpointError> {
        self.find(key)?.0.stored(key)?.1.whole()
    }

    /// A tensor's values in row-major order as float32, from F32, F16, BF16 (exactly), F64 (rounded; infinite beyond float32's range) or
    /// GGUF's Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS.
    ///
    /// # Errors
    /// `MissingKey`, `Io`, and `UnsupportedDtype` for other number types.
    pub fn f32(&self, key: &str) -> Result<Vec<f32>, CheckpointError> {
        let ((coding, stored), shape) = (self.floats(key)?, self.shape(key)?);
        let values = stored.values(coding, shape.iter().product())?;
        Ok(match self.changes.get(key) {
            Some(change) => change.apply(values, shape),
            None => values,
        })
    }

    /// The values of a matrix `[rows, columns]` in the order of its transpose; each is finite.
    pub(super) fn finite_transposed(&self, key: &str) -> Result<Vec<f32>, CheckpointError> {
        let (coding, stored) = self.floats(key)?;
        let &[rows, columns] = self.shape(key)? else { return self.finite_f32(key) };
        if self.changes.contains_key(key) {
            return Ok(transposed(&self.finite_f32(key)?, rows, columns));
        }
        let values = stored.transposed(coding, rows, columns)?;
        match all_finite(&values) {
            true => Ok(values),
            // Read once more in the order of the file, for the error names the first bad place.
            false => self.finite_f32(key),
        }
    }

    fn floats(&self, key: &str) -> Result<(Coding, Stored<'_>), CheckpointError> {
        let (shard, entry) = self.find(key)?;
        let (coding, stored) = shard.stored(key)?;
        let coding = coding.ok_or_else(|| CheckpointError::UnsupportedDtype {
            key: key.into(),
            dtype: entry.dtype,
            wanted: "f32",
            readable: FLOATS,
        })?;
        Ok((coding, stored))
    }

    /// As [`f32`](Self::f32), and each value is finite.
    ///
    /// # Errors
    /// Those of [`f32`](Self::f32), and `NotFinite`, which names the first bad place.
    pub fn finite_f32(&self, key: &str) -> Result<Vec<f32>, CheckpointError> {
        let values = self.f32(key)?;
        let bad = if all_finite(&values) { None } else { values.iter().position(|value| !value.is_finite()) };
        match bad {
            Some(index) => Err(CheckpointError::NotFinite { key: key.into(), index, value: values[index] }),
            None => Ok(values),
        }
    }

    /// A tensor's values in row-major order as whole numbers, from I64, I32, I16, I8, U8 or BOOL (0 and 1).
    ///
    /// # Errors
    /// `MissingKey`, `UnsupportedDtype` for other number types, `Damaged` for a BOOL that is neither 0 nor 1.
    pub fn i64(&self, key: &str) -> Result<Vec<i64>, CheckpointError> {
        let (shard, entry) = self.find(key)?;
        let bytes = &*shard.stored(key)?.1.whole()?;
        match entry.dtype {
            NumberType::Plain(Dtype::I64) => Ok(decode(bytes, i64::from_le_bytes)),
            NumberType::Plain(Dtype::I32) => Ok(decode(bytes, |value| i32::from_le_bytes(value).into())),
            NumberType::Plain(Dtype::I16) => Ok(decode(bytes, |value| i16::from_le_bytes(value).into())),
            NumberType::Plain(Dtype::I8) => Ok(bytes.iter().map(|value| i64::from(value.cast_signed())).collect()),
            NumberType::Plain(Dtype::U8) => Ok(bytes.iter().map(|value| i64::from(*value)).collect()),
            NumberType::Plain(Dtype::BOOL) => match bytes.iter().find(|value| **value > 1) {
                Some(value) => Err(CheckpointError::damaged(&shard.path, format!("`{key}` holds the boolean {value}"))),
                None => Ok(bytes.iter().map(|value| i64::from(*value)).collect()),
            },
            dtype => Err(CheckpointError::UnsupportedDtype {
                key: key.into(),
                dtype,
                wanted: "i64",
                readable: &["I64", "I32", "I16", "I8", "U8", "BOOL"],
            }),
        }
    }

    /// Whether two keys stand for the same values in the same file, as tied weights of a PyTorch file do.
    pub(super) fn share_bytes(&self, first: &str, second: &str) -> Result<bool, CheckpointError> {
        Ok(self.places.get(first) == self.places.get(second) && self.find(first)?.1 == self.find(second)?.1)
    }

    /// The free-text metadata of a safetensors file; of shards together, where the first shard wins.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The file that was opened: the one file, or the index of the shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn find(&self, key: &str) -> Result<(&Shard, &Entry), CheckpointError> {
        self.places
            .get(key)
            .and_then(|number| self.shards.get(*number))
            .and_then(|shard| Some((shard, shard.header.tensors.get(key)?)))
            .ok_or_else(|| CheckpointError::MissingKey { keys: vec![key.into()], path: self.path.clone() })
    }
}

impl fmt::Debug for Tensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensors").field("path", &self.path).field("tensors", &self.len()).finish_non_exhaustive()
    }
}

fn decode<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
}
