//! How weights are saved, and in how many files.

use std::path::Path;
use std::str::FromStr;

use serde_json::{Map, json};

use super::encode::SaveDtype;
use super::error::CheckpointError;
use super::save::write_json;
use super::tensors::{INDEX, SINGLE};
use super::write::save_tensors_in;

/// How weights are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SaveFormat {
    /// Their number type, which `config.json` tells as `dtype`.
    pub dtype: SaveDtype,
    /// The most bytes of a file.
    pub max_shard_size: ShardSize,
}

/// The most bytes of weights in a file; more are saved in several, beside an index. A single tensor is never split. The default is
/// that of Transformers, 50 GB.
///
/// ```
/// use rekindle::checkpoint::ShardSize;
/// assert_eq!("5GB".parse::<ShardSize>()?, ShardSize::bytes(5_000_000_000));
/// assert_eq!("1.5 MiB".parse::<ShardSize>()?, ShardSize::bytes(3 << 19));
/// assert!("5 apples".parse::<ShardSize>().is_err());
/// # Ok::<(), rekindle::checkpoint::CheckpointError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardSize(u64);

impl ShardSize {
    /// So many bytes.
    pub fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl Default for ShardSize {
    fn default() -> Self {
        Self(50_000_000_000)
    }
}

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ShardSize {
    type Err = CheckpointError;

    /// A number of bytes, or one with a unit in any case: `5GB`, `500 MiB`, `1000`.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let trimmed = text.trim().to_ascii_lowercase();
        let known = UNITS
            .iter()
            .find_map(|(name, unit)| Some((trimmed.strip_suffix(&name.to_ascii_lowercase())?.trim_end(), *unit)));
        let (number, unit) = known.unwrap_or((&trimmed, 1));
        let bytes = number.parse::<f64>().ok().map(|number| number * unit as f64);
        // Below 2^53 a float holds every whole number.
        let bytes = bytes.filter(|bytes| (1.0..9e15).contains(bytes));
        bytes.map(|bytes| Self(bytes as u64)).ok_or_else(|| CheckpointError::UnsupportedConfig {
            field: "max_shard_size".into(),
            value: format!("`{text}`"),
            supported: "a number of bytes from 1 on, such as `5GB`, `500MB`, `2GiB` or `1000`".into(),
        })
    }
}

/// A tensor to be saved: key, sizes, values.
pub(super) type Named = (String, Vec<usize>, Vec<f32>);

/// Saves weights in a folder under the names that Transformers gives them: one file, or shards and their index.
///
/// A tensor goes into the current shard unless that would become too large; one that is larger than a shard has one for itself. So
/// does `split_state_dict_into_shards_factory` of huggingface_hub.
pub(super) fn save_shards(folder: &Path, tensors: Vec<Named>, format: &SaveFormat) -> Result<(), CheckpointError> {
    const METADATA: [(&str, &str); 1] = [("format", "pt")];
    let dtype = format.dtype;
    let parameters: usize = tensors.iter().map(|(_, _, values)| values.len()).sum();
    let mut shards = split(tensors, |(_, _, values)| dtype.byte_size(values.len()) as u64, format.max_shard_size.0);
    if shards.len() <= 1 {
        return save_tensors_in(&folder.join(SINGLE), shards.pop().unwrap_or_default(), &METADATA, dtype);
    }
    let count = shards.len();
    let mut weight_map = Map::new();
    for (number, shard) in shards.into_iter().enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
        weight_map.extend(shard.iter().map(|(key, _, _)| (key.clone(), name.clone().into())));
        save_tensors_in(&folder.join(&name), shard, &METADATA, dtype)?;
    }
    weight_map.sort_keys();
    let metadata = json!({ "total_parameters": parameters, "total_size": dtype.byte_size(parameters) });
    write_json(&folder.join(INDEX), &json!({ "metadata": metadata, "weight_map": weight_map }))
}

fn split<T>(items: Vec<T>, size: impl Fn(&T) -> u64, limit: u64) -> Vec<Vec<T>> {
    let (mut shards, mut current, mut filled) = (vec![], vec![], 0);
    for item in items {
        let size = size(&item);
        if size > limit {
            shards.push(vec![item]);
            continue;
        }
        if filled + size > limit {
            shards.push(std::mem::take(&mut current));
            filled = 0;
        }
        filled += size;
        current.push(item);
    }
    shards.extend((!current.is_empty()).then_some(current));
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_filled_as_huggingface_hub_fills_them() {
        let split = |sizes: &[u64]| split(sizes.to_vec(), |size| *size, 10);
        assert_eq!(split(&[4, 6, 1]), [vec![4, 6], vec![1]]);
        // The large one goes before the shard that was begun.
        assert_eq!(split(&[3, 11, 3]), [vec![11], vec![3, 3]]);
        assert_eq!(split(&[11, 12]), [vec![11], vec![12]]);
        assert_eq!(split(&[10, 0, 10]), [vec![10, 0], vec![10]]);
        assert!(split(&[]).is_empty());
    }

    #[test]
    fn sizes_that_mean_nothing_are_errors() {
        for text in ["", "GB", "0", "-5MB", "1e99", "NaN", "5 XB", "inf"] {
            assert!(text.parse::<ShardSize>().is_err(), "{text}");
        }
        for (text, bytes) in [("1000", 1000), ("200kb", 200_000), (" 2 TB ", 2_000_000_000_000), ("1b", 1)] {
            assert_eq!(text.parse::<ShardSize>().unwrap(), ShardSize(bytes));
        }
    }
}
