//! `model.safetensors.index.json`, `pytorch_model.bin.index.json`: which shard holds which tensor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use serde::Deserialize;

use super::error::CheckpointError;
use super::header::{Pairs, unique};

#[derive(Deserialize)]
struct IndexFile {
    weight_map: Pairs<String>,
}

/// Reads an index: for each shard, by name, the keys that it holds.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Vec<String>>, CheckpointError> {
    let bytes = fs::read(path).map_err(CheckpointError::io("read", path))?;
    let index: IndexFile = serde_json::from_slice(&bytes).map_err(|error| CheckpointError::BadJson {
        path: path.to_path_buf(),
        line: error.line(),
        column: error.column(),
        reason: error.to_string(),
    })?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, shard) in unique(index.weight_map, path)? {
        if !stays_inside(&shard) {
            return Err(CheckpointError::ShardOutside { index: path.to_path_buf(), shard });
        }
        shards.entry(shard).or_default().push(key);
    }
    Ok(shards)
}

/// Judged by the name alone: in a download cache the shard itself is a link that leads elsewhere.
fn stays_inside(shard: &str) -> bool {
    !shard.is_empty() && Path::new(shard).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_seen() {
        for bad in ["../a", "a/../../b", "/etc/a", "", "./a", ".."] {
            assert!(!stays_inside(bad), "{bad}");
        }
        for good in ["model-00001-of-00002.safetensors", "part/a.safetensors", "..a"] {
            assert!(stays_inside(good), "{good}");
        }
    }
}
