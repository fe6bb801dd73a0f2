//! The fields of a model's metadata.

use serde_json::{Map, Value};

use crate::checkpoint::error::CheckpointError;

/// Metadata under the name of one architecture.
pub(super) struct Fields<'a> {
    pub(super) metadata: &'a Map<String, Value>,
    pub(super) architecture: &'a str,
}

impl<'a> Fields<'a> {
    /// `name` of this architecture, such as `llama.block_count`.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.metadata.get(&self.name(name))
    }

    /// A whole number that has to be there.
    pub(super) fn count(&self, name: &str) -> Result<u64, CheckpointError> {
        self.optional_count(name)?.ok_or_else(|| self.unsupported(name, "missing", "a whole number"))
    }

    pub(super) fn optional_count(&self, name: &str) -> Result<Option<u64>, CheckpointError> {
        let value = self.get(name);
        let number = value.map(|value| value.as_u64().ok_or_else(|| self.unsupported(name, value, "a whole number")));
        number.transpose()
    }

    pub(super) fn number(&self, name: &str) -> Result<f64, CheckpointError> {
        self.optional_number(name)?.ok_or_else(|| self.unsupported(name, "missing", "a number"))
    }

    pub(super) fn optional_number(&self, name: &str) -> Result<Option<f64>, CheckpointError> {
        let value = self.get(name);
        let number = value.map(|value| value.as_f64().ok_or_else(|| self.unsupported(name, value, "a number")));
        Ok(number.transpose()?.map(as_written))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Refuses a field that changes what is computed.
    pub(super) fn refuse(&self, name: &str, harmless: f64) -> Result<(), CheckpointError> {
        match self.optional_number(name)? {
            Some(value) if value != harmless => Err(self.unsupported(name, value, &format!("{harmless}"))),
            _ => Ok(()),
        }
    }

    pub(super) fn unsupported(&self, name: &str, value: impl ToString, supported: &str) -> CheckpointError {
        unsupported(self.name(name), value, supported)
    }
}

pub(super) fn unsupported(field: impl Into<String>, value: impl ToString, supported: &str) -> CheckpointError {
    CheckpointError::UnsupportedConfig { field: field.into(), value: value.to_string(), supported: supported.into() }
}

/// The shortest number that is stored as this one: files keep 1e-6 as a float32.
pub(super) fn as_written(value: f64) -> f64 {
    let single = value as f32;
    let shortest = single.to_string().parse();
    if f64::from(single) == value { shortest.unwrap_or(value) } else { value }
}
