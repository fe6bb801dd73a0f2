//! What is loaded and saved again is what the file held.

use super::Result;
use super::findings::Row;
use rekindle::checkpoint::{Checkpoint, LoadReport};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Fields that speak of how weights were stored before.
const OUTDATED: [&str; 3] = ["dtype", "torch_dtype", "auto_map"];

/// Compares keys, values and configuration of a checkpoint with what `save` writes of the model that was loaded from it.
/// Keys that loading left out on purpose may be missing.
pub(crate) fn check(
    checkpoint: &Checkpoint,
    report: &LoadReport,
    save: impl FnOnce(&Path, &str) -> Result<()>,
) -> Result<Vec<Row>> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("saved");
    let class = checkpoint.architectures().first().map_or_else(String::new, ToString::to_string);
    save(&folder, &class)?;
    let saved = Checkpoint::open(&folder)?;
    let (before, after) = (checkpoint.tensors(), saved.tensors());
    let left_out: BTreeSet<&str> = report.unused.iter().chain(&report.ignored).map(String::as_str).collect();
    // A file of the bare body under a head gets the body's prefix.
    let prefixed = |key: &str| after.keys().find(|other| other.split_once('.').is_some_and(|(_, rest)| rest == key));
    let name = |key: &str| {
        let key = modern(key);
        if after.contains(&key) { key } else { prefixed(&key).map_or(key.clone(), Into::into) }
    };
    let names: BTreeMap<String, &str> = before.keys().map(|key| (name(key), key)).collect();
    let missing = before.keys().filter(|key| !after.contains(&name(key)) && !left_out.contains(key));
    let keys = missing.chain(after.keys().filter(|key| !names.contains_key(*key)));
    // Frequencies are computed, and each version of Transformers keeps them elsewhere; so are Marian's positions, which only
    // some of its files hold.
    let computed = if checkpoint.model_type() == Some("marian") { "embed_positions.weight" } else { "inv_freq" };
    let keys: Vec<&str> = keys.filter(|key| !key.ends_with(computed)).collect();
    let mut values = vec![];
    for (key, name) in names.iter().filter(|(key, _)| after.contains(key)) {
        // Files of llama.cpp hold other bytes of the same values.
        let same = before.dtype(name)? == after.dtype(key)? && *before.bytes(name)? == *after.bytes(key)?
            || matches!((before.f32(name), after.f32(key)), (Ok(before), Ok(after)) if bits(&before) == bits(&after));
        let same = same && before.shape(name)? == after.shape(key)?;
        values.extend((!same).then_some(key.as_str()));
    }
    let is_gguf = before.path().extension().is_some_and(|extension| extension == "gguf");
    let (before, after) = (if is_gguf { Value::Null } else { config(checkpoint)? }, config(&saved)?);
    let fields = before.as_object().into_iter().flatten();
    let fields =
        fields.filter(|(name, value)| !OUTDATED.contains(&name.as_str()) && !equal(value, &after[name.as_str()]));
    let fields: Vec<&str> = fields.map(|(name, _)| name.as_str()).collect();
    let row = |what: &str, names: &[&str]| Row::count(format!("saved again: {what}"), names.len(), names.join(", "));
    Ok(vec![row("keys", &keys), row("values", &values), row("fields of config.json", &fields)])
}

/// The name that a norm's parameter has in most files.
fn modern(key: &str) -> String {
    key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().copied().map(f32::to_bits).collect()
}

fn config(checkpoint: &Checkpoint) -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(checkpoint.folder().join("config.json"))?)?)
}

/// Whether two values mean the same: a number is written with or without a fraction, a field of null is absent.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(fields), _) => fields.iter().all(|(name, value)| equal(value, &b[name.as_str()])),
        (a, b) => a == b,
    }
}
