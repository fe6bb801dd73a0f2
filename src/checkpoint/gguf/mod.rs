//! GGUF, the files of llama.cpp: metadata, named tensors, and their values, often in blocks that share a scale. The format is
//! described by `docs/gguf.md` of ggml.

mod change;
mod decoder;
mod fields;
mod names;
mod parts;
mod rope;
mod value;

pub(super) use change::Change;
pub(super) use decoder::read as read_decoder;
pub(super) use fields::by_key;
pub(super) use parts::{first_of, open};

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value};

use super::blocks::BLOCKS;
use super::cursor::Cursor;
use super::error::CheckpointError;
use super::header::{Entry, Header, MAX_HEADER};
use super::map::MappedFile;
use super::number_type::NumberType;

/// What a file starts with.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// Tensors start at multiples of this, unless the file says otherwise.
const ALIGNMENT: u64 = 32;
const MAX_AXES: u32 = 4;

/// A tensor as the file describes it; its offset counts from the start of the data.
struct Info {
    name: String,
    dtype: NumberType,
    shape: Vec<usize>,
    offset: u64,
}

/// The metadata of a GGUF file: texts, numbers and lists by their keys, such as `general.architecture`.
///
/// A number that is not finite is null.
///
/// # Errors
/// `Io`; `Damaged` for a file that is no GGUF file, or contradicts itself; `UnsupportedConfig` for a version other than 2 and 3, and
/// for lists of lists.
pub fn gguf_metadata(path: impl AsRef<Path>) -> Result<Map<String, Value>, CheckpointError> {
    let path = path.as_ref();
    let file = MappedFile::open(path)?;
    let bytes = file.untouched()?;
    let mut input = Cursor::new(&bytes[..bytes.len().min(MAX_HEADER)]);
    let count = begin(&mut input, path)?.metadata;
    metadata(&mut input, count).map_err(|fault| fault.at(path))
}

/// What is wrong with a header.
enum Fault {
    Damaged(String),
    Twice(String),
    Unsupported(&'static str, String, &'static str),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

impl Fault {
    fn at(self, path: &Path) -> CheckpointError {
        let shown = format!("`{}`", path.display());
        match self {
            Self::Damaged(reason) => CheckpointError::damaged(path, reason),
            Self::Twice(key) => {
                CheckpointError::DuplicateKey { key, first: shown, second: "the same file again".into() }
            }
            Self::Unsupported(what, value, supported) => CheckpointError::UnsupportedConfig {
                field: format!("{what} of {shown}"),
                value,
                supported: supported.into(),
            },
        }
    }
}

/// Reads the header of a file and checks where its tensors lie.
pub(super) fn read(path: &Path, file: &MappedFile) -> Result<Header, CheckpointError> {
    let bytes = file.untouched()?;
    let mut input = Cursor::new(&bytes[..bytes.len().min(MAX_HEADER)]);
    let counts = begin(&mut input, path)?;
    tensors(&mut input, &counts, bytes.len()).map_err(|fault| fault.at(path))
}

struct Counts {
    tensors: u64,
    metadata: u64,
}

fn begin(input: &mut Cursor<'_>, path: &Path) -> Result<Counts, CheckpointError> {
    start(input).map_err(|fault| fault.at(path))
}

fn start(input: &mut Cursor<'_>) -> Result<Counts, Fault> {
    if input.array()? != MAGIC {
        return Err(Fault::Damaged("it does not start with `GGUF`".into()));
    }
    match input.u32()? {
        2 | 3 => Ok(Counts { tensors: input.u64()?, metadata: input.u64()? }),
        version => Err(Fault::Unsupported("the GGUF version", version.to_string(), "2 or 3, in little-endian order")),
    }
}

fn metadata(input: &mut Cursor<'_>, count: u64) -> Result<Map<String, Value>, Fault> {
    let mut metadata = Map::new();
    for _ in 0..count {
        let key = value::text(input)?.to_string();
        let kind = input.u32()?;
        let value = value::read(input, kind)?;
        if metadata.contains_key(&key) {
            return Err(Fault::Twice(key));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn tensors(input: &mut Cursor<'_>, counts: &Counts, file_length: usize) -> Result<Header, Fault> {
    let metadata = metadata(input, counts.metadata)?;
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(value) => value
            .as_u64()
            .filter(|size| size.is_power_of_two())
            .ok_or_else(|| Fault::Damaged(format!("its `general.alignment` is {value}, but must be a power of two")))?,
    };
    let mut infos = vec![];
    for _ in 0..counts.tensors {
        infos.push(info(input)?);
    }
    let start = (input.place() as u64).checked_next_multiple_of(alignment);
    let data = start.filter(|start| *start <= file_length as u64 || infos.is_empty());
    let data =
        data.ok_or_else(|| Fault::Damaged(format!("its data would start at byte {start:?} of {file_length}")))?;
    Ok(Header { tensors: place(infos, data, alignment, file_length as u64)?, metadata: BTreeMap::new() })
}

fn info(input: &mut Cursor<'_>) -> Result<Info, Fault> {
    let name = value::text(input)?.to_string();
    let axes = input.u32()?;
    if axes > MAX_AXES {
        return Err(Fault::Damaged(format!("`{name}` has {axes} axes, but the format allows {MAX_AXES}")));
    }
    let mut shape = vec![];
    for _ in 0..axes {
        let size = usize::try_from(input.u64()?);
        shape.push(size.map_err(|_| format!("`{name}` has an axis that is too long"))?);
    }
    // The file names the innermost axis first.
    shape.reverse();
    let kind = input.u32()?;
    let dtype = number_type(kind)
        .ok_or_else(|| Fault::Unsupported("a number type", format!("{kind} (`{name}`)"), "those of ggml up to 41"))?;
    Ok(Info { name, dtype, shape, offset: input.u64()? })
}

fn number_type(id: u32) -> Option<NumberType> {
    let plain = |dtype| Some(NumberType::Plain(dtype));
    match id {
        0 => plain(Dtype::F32),
        1 => plain(Dtype::F16),
        24 => plain(Dtype::I8),
        25 => plain(Dtype::I16),
        26 => plain(Dtype::I32),
        27 => plain(Dtype::I64),
        28 => plain(Dtype::F64),
        30 => plain(Dtype::BF16),
        _ => BLOCKS.iter().find(|block| block.id == id).map(NumberType::Block),
    }
}

/// Checks sizes and offsets, and turns the offsets into places in the file. Tensors follow one another, each from a multiple of the
/// alignment on.
fn place(mut infos: Vec<Info>, data: u64, alignment: u64, end: u64) -> Result<BTreeMap<String, Entry>, Fault> {
    infos.sort_by_key(|info| info.offset);
    let mut placed = BTreeMap::new();
    let mut expected = 0;
    for Info { name, dtype, shape, offset } in infos {
        let size = byte_size(dtype, &shape);
        let size = size.ok_or_else(|| format!("`{name}` of shape {shape:?} and type {dtype} has no whole size"))?;
        let last =
            offset.checked_add(data).and_then(|begin| begin.checked_add(size as u64)).filter(|last| *last <= end);
        let last = last.ok_or_else(|| {
            format!(
                "`{name}` claims {size} bytes at byte {offset} of its data, which ends at byte {}",
                end - data.min(end)
            )
        })?;
        if offset != expected {
            return Err(Fault::Damaged(format!(
                "`{name}` starts at byte {offset} of the data, but {expected} is next"
            )));
        }
        expected = (last - data).next_multiple_of(alignment);
        // Both are within the file's length, which is a `usize`.
        let range = (last as usize - size)..last as usize;
        if placed.contains_key(&name) {
            return Err(Fault::Twice(name));
        }
        placed.insert(name, Entry { dtype, shape, range, strides: None });
    }
    Ok(placed)
}

/// The bytes of a tensor; blocks do not reach across rows.
fn byte_size(dtype: NumberType, shape: &[usize]) -> Option<usize> {
    dtype.byte_size(shape.last().copied().unwrap_or(1))?;
    let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
    dtype.byte_size(count)
}
