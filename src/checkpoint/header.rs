//! The header of a safetensors file, checked in full before anything is read by it.
//!
//! The crate `safetensors` parses the header into a hash map, where the later of two equal keys wins silently, and adds offsets without
//! an overflow check; so the few lines that this takes are our own.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::error::CheckpointError;
use super::map::MappedFile;
use super::number_type::NumberType;

/// Bytes of the little-endian length in front of the header.
pub(super) const LENGTH_BYTES: usize = 8;
/// The format's own limit on the header.
pub(super) const MAX_HEADER: usize = 100_000_000;
/// The one key that is not a tensor.
pub(super) const METADATA: &str = "__metadata__";

/// One tensor's place in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) dtype: NumberType,
    pub(super) shape: Vec<usize>,
    /// Bytes from the start of the file, which are there.
    pub(super) range: Range<usize>,
    /// Distance of neighbours along each axis in values, where they do not lie one after the other.
    pub(super) strides: Option<Vec<usize>>,
}

/// A header that agrees with the file's length.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) tensors: BTreeMap<String, Entry>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Reads the header of a file and checks that its tensors cover the rest of the file exactly.
pub(super) fn read(path: &Path, file: &MappedFile) -> Result<Header, CheckpointError> {
    let length = file.range(0..LENGTH_BYTES.min(file.len()))?;
    let json_length = json_length(&length, file.len()).map_err(|reason| CheckpointError::damaged(path, reason))?;
    let start = LENGTH_BYTES + json_length;
    let raw: RawHeader = serde_json::from_slice(&file.range(LENGTH_BYTES..start)?)
        .map_err(|error| CheckpointError::damaged(path, format!("its header is not valid: {error}")))?;
    let metadata = unique(raw.metadata, path)?;
    let tensors = unique(raw.tensors, path)?;
    let tensors = place(tensors, start, file.len()).map_err(|reason| CheckpointError::damaged(path, reason))?;
    Ok(Header { tensors, metadata })
}

/// The length of the header's JSON, which is there.
fn json_length(length: &[u8], file_length: usize) -> Result<usize, String> {
    let bytes = length.try_into();
    let bytes = bytes.map_err(|_| format!("it has {file_length} bytes, fewer than the shortest safetensors file"))?;
    let (claimed, rest) = (u64::from_le_bytes(bytes), file_length - LENGTH_BYTES);
    let fits = |length: &usize| *length <= MAX_HEADER && *length <= rest;
    let length = usize::try_from(claimed).ok().filter(fits);
    length.ok_or_else(|| format!("its header claims {claimed} bytes, but {rest} follow (limit {MAX_HEADER})"))
}

/// Checks sizes and offsets, and turns the offsets into places in the file.
fn place(
    tensors: BTreeMap<String, TensorInfo>,
    start: usize,
    file_length: usize,
) -> Result<BTreeMap<String, Entry>, String> {
    let mut ordered: Vec<_> = tensors.into_iter().collect();
    ordered.sort_by_key(|(_, info)| info.data_offsets);
    let data_length = file_length - start;
    let mut covered = 0;
    let mut placed = BTreeMap::new();
    for (key, info) in ordered {
        let (begin, end) = info.data_offsets;
        if begin != covered || end < begin || end > data_length {
            return Err(format!(
                "`{key}` claims bytes {begin}..{end} of {data_length}, of which 0..{covered} are taken"
            ));
        }
        if byte_size(&info) != Some(end - begin) {
            return Err(format!(
                "`{key}` of shape {:?} and type {} cannot have {} bytes",
                info.shape,
                info.dtype,
                end - begin
            ));
        }
        covered = end;
        let (dtype, range) = (NumberType::Plain(info.dtype), start + begin..start + end);
        placed.insert(key, Entry { dtype, shape: info.shape, range, strides: None });
    }
    if covered != data_length {
        return Err(format!("its tensors end at byte {covered}, but {data_length} bytes of data follow the header"));
    }
    Ok(placed)
}

/// The bytes that a tensor takes; `None` when the number overflows or is not whole.
fn byte_size(info: &TensorInfo) -> Option<usize> {
    let count = info.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
    NumberType::Plain(info.dtype).byte_size(count)
}

/// The pairs as a map; the second of two equal keys is an error.
pub(super) fn unique<V>(pairs: Pairs<V>, path: &Path) -> Result<BTreeMap<String, V>, CheckpointError> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs.0 {
        if map.contains_key(&key) {
            let place = format!("`{}`", path.display());
            return Err(CheckpointError::DuplicateKey {
                key,
                first: place.clone(),
                second: "the same file again".into(),
            });
        }
        map.insert(key, value);
    }
    Ok(map)
}

/// A JSON object as a list of pairs, so that a key that occurs twice is seen.
#[derive(Debug)]
pub(super) struct Pairs<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
    type Value = Pairs<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// The header as it stands in the file: tensors, and one entry that is none.
struct RawHeader {
    tensors: Pairs<TensorInfo>,
    metadata: Pairs<String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawHeaderVisitor)
    }
}

struct RawHeaderVisitor;

impl<'de> Visitor<'de> for RawHeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tensors = Vec::new();
        let mut metadata = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != METADATA {
                tensors.push((key, map.next_value()?));
            } else if metadata.replace(map.next_value::<Option<Pairs<String>>>()?).is_some() {
                return Err(serde::de::Error::duplicate_field(METADATA));
            }
        }
        Ok(RawHeader { tensors: Pairs(tensors), metadata: metadata.flatten().unwrap_or(Pairs(Vec::new())) })
    }
}
