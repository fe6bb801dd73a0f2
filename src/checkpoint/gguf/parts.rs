//! Models in several files, as llama.cpp's `gguf-split` writes them: `model-00001-of-00003.gguf` and so on. The first one holds
//! the metadata of all.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::fields::unsupported;
use super::gguf_metadata;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::tensors::Tensors;

/// Digits of a part's number in the name of its file.
const DIGITS: usize = 5;

/// The metadata and the tensors of a model, from its one file or any of its parts.
pub(in crate::checkpoint) fn open(file: &Path) -> Result<(Map<String, Value>, Tensors), CheckpointError> {
    let metadata = gguf_metadata(file)?;
    let count = number(&metadata, "split.count")?.unwrap_or(1);
    if count <= 1 {
        return Ok((metadata, Tensors::open_file(file)?));
    }
    let Some(Part { stem, extension, .. }) = Part::of(file).filter(|part| part.count as u64 == count) else {
        let supported =
            format!("1, or a file named like `model-00001-of-{count:05}.gguf`, by which the others are found");
        return Err(unsupported("split.count", count, &supported));
    };
    let name = |number: u64| format!("{stem}-{number:05}-of-{count:05}.{extension}");
    let parts: Vec<PathBuf> = (1..=count).map(|number| file.with_file_name(name(number))).collect();
    if let Some(missing) = (1..=count).find(|number| !file.with_file_name(name(*number)).is_file()) {
        let (index, shard, total) = (file.into(), name(missing), parts.len());
        return Err(CheckpointError::ShardMissing { index, shard, total });
    }
    for (at, part) in parts.iter().enumerate() {
        let own = gguf_metadata(part)?;
        for (key, expected) in [("split.no", at as u64), ("split.count", count)] {
            let found = number(&own, key)?;
            if found != Some(expected) {
                let found = found.map_or("missing".into(), |found| found.to_string());
                let reason = format!("its `{key}` is {found}, but by its name {expected}");
                return Err(CheckpointError::damaged(part, reason));
            }
        }
    }
    let (metadata, tensors) = (gguf_metadata(&parts[0])?, Tensors::open_files(&parts)?);
    match number(&metadata, "split.tensors.count")? {
        Some(expected) if expected != tensors.len() as u64 => {
            let reason =
                format!("its `split.tensors.count` is {expected}, but the parts hold {} tensors", tensors.len());
            Err(CheckpointError::damaged(&parts[0], reason))
        }
        _ => Ok((metadata, tensors)),
    }
}

fn number(metadata: &Map<String, Value>, key: &str) -> Result<Option<u64>, CheckpointError> {
    let number = |value: &Value| value.as_u64().ok_or_else(|| unsupported(key, value, "a whole number"));
    metadata.get(key).map(number).transpose()
}

/// What the name of a file says of it.
#[derive(Debug, PartialEq)]
struct Part {
    stem: String,
    /// From 1.
    number: usize,
    count: usize,
    extension: String,
}

impl Part {
    fn of(file: &Path) -> Option<Self> {
        let (stem, extension) = (file.file_stem()?.to_str()?, file.extension()?.to_str()?);
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let whole = |text: &str| (text.len() >= DIGITS).then(|| text.parse().ok()).flatten();
        Some(Self { stem: stem.into(), number: whole(number)?, count: whole(count)?, extension: extension.into() })
    }
}

/// The first of some files where all are parts of one model, as far as their names say.
pub(in crate::checkpoint) fn first_of(mut files: Vec<PathBuf>) -> Option<PathBuf> {
    files.sort();
    let parts: Vec<Part> = files.iter().map(|file| Part::of(file)).collect::<Option<_>>()?;
    let (first, rest) = parts.split_first()?;
    let alike = rest.iter().all(|part| part.stem == first.stem && part.count == first.count);
    alike.then(|| files.swap_remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_part_a_file_is() {
        let part = Part::of(Path::new("/a/my-model-Q4_K_M-00002-of-00010.gguf")).expect("a part");
        assert_eq!((part.stem.as_str(), part.number, part.count), ("my-model-Q4_K_M", 2, 10));
        for whole in ["model.gguf", "model-2-of-3.gguf", "model-00001.gguf", "of-00001-of-.gguf"] {
            assert_eq!(Part::of(Path::new(whole)), None, "{whole}");
        }
        let files = |names: &[&str]| first_of(names.iter().map(PathBuf::from).collect());
        let first = PathBuf::from("m-00001-of-00002.gguf");
        assert_eq!(files(&["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"]), Some(first));
        assert_eq!(files(&["m-00001-of-00002.gguf", "n-00002-of-00002.gguf"]), None);
        assert_eq!(files(&["m-00001-of-00002.gguf", "m.gguf"]), None);
    }
}
