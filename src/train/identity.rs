//! What a run is, and how another one differs from it.

use super::{Fit, RunError};
use crate::checkpoint::write_file;
use crate::error::Error;
use crate::params::{FreezePolicy, Inventory};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a run is, so that another one does not go on from its checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The crate's version. Another one goes on, for formats and formulas keep; it is told, for the last bits may not.
    pub(super) version: String,
    configuration: Value,
    policy: String,
    data: DataIdentity,
    /// Path, shape and kind of every parameter.
    model: Vec<String>,
    /// What the head says of itself besides parameters.
    head: String,
}

/// Fingerprints of the examples; a checkpoint holds their hash and number, the run's folder themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DataIdentity {
    hash: String,
    counts: [usize; 2],
    #[serde(skip)]
    fingerprints: [Vec<u64>; 2],
}

impl PartialEq for DataIdentity {
    fn eq(&self, other: &Self) -> bool {
        (&self.hash, self.counts) == (&other.hash, other.counts)
    }
}

const SETS: [&str; 2] = ["training", "validation"];

impl Identity {
    pub(super) fn of(
        config: &Fit,
        policy: &dyn FreezePolicy,
        fingerprints: [Vec<u64>; 2],
        inventory: &Inventory,
        head: String,
    ) -> Self {
        // Where and how often a run saves does not change what it computes, nor where it keeps states and makes batches.
        let config = Fit {
            cache: config.cache.arithmetic(),
            folder: None,
            resume: false,
            save_every: None,
            keep_checkpoints: 0,
            forecast: false,
            prefetch: 0,
            ..config.clone()
        };
        let parameter = |entry: &crate::params::Entry| format!("{} {:?} {:?}", entry.path, entry.shape, entry.kind);
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            configuration: serde_json::to_value(&config).unwrap_or_else(|_| format!("{config:?}").into()),
            policy: format!("{policy:?}"),
            data: DataIdentity {
                hash: blake3::hash(&to_bytes(&fingerprints)).to_hex().to_string(),
                counts: [fingerprints[0].len(), fingerprints[1].len()],
                fingerprints,
            },
            model: inventory.entries.iter().map(parameter).collect(),
            head,
        }
    }

    /// What this run has other than the one in `folder`, which is `there`: the thing, and both of its values.
    pub(super) fn difference(&self, there: &Self, folder: &Path) -> Option<(&'static str, String)> {
        if self.model != there.model {
            return Some(("model", self.model_difference(there)));
        }
        if self.data != there.data {
            return Some(("data set", self.data_difference(there, folder)));
        }
        if self.policy != there.policy {
            return Some(("freeze policy", both(&there.policy, &self.policy)));
        }
        if self.head != there.head {
            return Some(("loss or head", both(&there.head, &self.head)));
        }
        let mut differences = vec![];
        values(&there.configuration, &self.configuration, "", &mut differences);
        (!differences.is_empty()).then(|| ("configuration", differences.join("; ")))
    }

    fn model_difference(&self, there: &Self) -> String {
        let first = self.model.iter().zip(&there.model).position(|(here, there)| here != there);
        let at = first.unwrap_or(self.model.len().min(there.model.len()));
        let name = |model: &[String]| model.get(at).cloned().unwrap_or_else(|| "no parameter".into());
        both(&name(&there.model), &name(&self.model))
    }

    fn data_difference(&self, there: &Self, folder: &Path) -> String {
        let (here, there) = (&self.data, &there.data);
        let fingerprints = read(&rows_file(folder, &there.hash), there.counts);
        let mut texts = vec![];
        for (set, name) in SETS.iter().enumerate() {
            let (count, other) = (here.counts[set], there.counts[set]);
            let row = fingerprints.as_ref().and_then(|saved| first_difference(&saved[set], &here.fingerprints[set]));
            let row = row.map(|row| format!("first difference at row {row}"));
            match (count == other, row) {
                (true, None) => {}
                (true, Some(row)) => texts.push(format!("{count} {name} examples, {row}")),
                (false, row) => {
                    let row = row.map_or(String::new(), |row| format!(", {row}"));
                    texts.push(format!("{other} {name} examples there, {count} here{row}"));
                }
            }
        }
        if texts.is_empty() {
            return "as many examples, others among them".into();
        }
        texts.join("; ")
    }

    /// Writes the fingerprints once for all checkpoints, unless they are there.
    pub(super) fn save_rows(&self, folder: &Path) -> Result<(), Error> {
        let path = rows_file(folder, &self.data.hash);
        if path.is_file() {
            return Ok(());
        }
        let bytes = to_bytes(&self.data.fingerprints);
        Ok(write_file(&path, |file| file.write_all(&bytes))?)
    }

    /// The version with which the other run was saved, where it is not this one.
    pub(super) fn other_version<'a>(&self, there: &'a Self) -> Option<&'a str> {
        (self.version != there.version).then_some(there.version.as_str())
    }
}

fn both(there: &str, here: &str) -> String {
    format!("{there} there, {here} here")
}

/// Every leaf in which two configurations differ, by its path.
fn values(there: &Value, here: &Value, path: &str, differences: &mut Vec<String>) {
    if there == here {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (there, here) else {
        return differences.push(format!("{path} {}", both(&there.to_string(), &here.to_string())));
    };
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let side = |side: &serde_json::Map<String, Value>| side.get(name).cloned().unwrap_or_else(|| "not set".into());
        values(&side(old), &side(new), &path, differences);
    }
}

/// The first row, counted from 0, that is not the same in both.
fn first_difference(there: &[u64], here: &[u64]) -> Option<usize> {
    let differing = there.iter().zip(here).position(|(there, here)| there != here);
    differing.or((there.len() != here.len()).then_some(there.len().min(here.len())))
}

fn rows_file(folder: &Path, hash: &str) -> PathBuf {
    folder.join(format!("rows-{}.bin", hash.get(..16).unwrap_or(hash)))
}

fn to_bytes(fingerprints: &[Vec<u64>; 2]) -> Vec<u8> {
    // The first number keeps the two sets apart.
    let numbers = [fingerprints[0].len() as u64].into_iter().chain(fingerprints.iter().flatten().copied());
    numbers.flat_map(u64::to_le_bytes).collect()
}

/// The fingerprints of a file; `None` where it is not whole.
fn read(path: &Path, counts: [usize; 2]) -> Option<[Vec<u64>; 2]> {
    let bytes = fs::read(path).ok()?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
    if !rest.is_empty() || numbers.next()? != counts[0] as u64 || numbers.len() != counts[0] + counts[1] {
        return None;
    }
    let train = numbers.by_ref().take(counts[0]).collect();
    Some([train, numbers.collect()])
}

/// The error for a run that differs.
pub(super) fn check(here: &Identity, there: &Identity, folder: &Path) -> Result<(), RunError> {
    match here.difference(there, folder) {
        None => Ok(()),
        Some((what, difference)) => Err(RunError::OtherRun { folder: folder.into(), what, difference }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_differing_leaf_is_named_with_both_values() {
        let mut differences = vec![];
        let there = json!({ "rates": { "lr": 1e-4, "groups": [] }, "seed": 1, "clip": null });
        let here = json!({ "rates": { "lr": 2e-4, "groups": [] }, "seed": 1, "clip": 1.0, "new": true });
        values(&there, &here, "", &mut differences);
        assert_eq!(
            differences,
            ["rates.lr 0.0001 there, 0.0002 here", "clip null there, 1.0 here", "new \"not set\" there, true here"]
        );
    }

    #[test]
    fn rows_come_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.bin");
        let rows = [vec![1, u64::MAX, 3], vec![4]];
        fs::write(&path, to_bytes(&rows)).unwrap();
        assert_eq!(read(&path, [3, 1]), Some(rows.clone()));
        assert_eq!(read(&path, [2, 2]), None);
        fs::write(&path, &to_bytes(&rows)[..20]).unwrap();
        assert_eq!(read(&path, [3, 1]), None);
        assert_eq!(first_difference(&rows[0], &[1, u64::MAX, 3]), None);
        assert_eq!(first_difference(&rows[0], &[1, 2, 3]), Some(1));
        assert_eq!(first_difference(&rows[0], &[1, u64::MAX]), Some(2));
    }
}
