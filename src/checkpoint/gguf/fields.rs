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

    /// A whole number above 0 that has to be there.
    pub(super) fn count(&self, name: &str) -> Result<u64, CheckpointError> {
        self.optional_size(name)?.ok_or_else(|| self.unsupported(name, "missing", "a whole number above 0"))
    }

    /// A whole number that is above 0 if it is there.
    pub(super) fn optional_size(&self, name: &str) -> Result<Option<u64>, CheckpointError> {
        match self.optional_count(name)? {
            Some(0) => Err(self.unsupported(name, 0, "a whole number above 0")),
            size => Ok(size),
        }
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

/// Fields of `config.json` and the keys that they come from, under the name of the architecture.
const KEYS: [(&str, &str); 24] = [
    ("hidden_size", "embedding_length"),
    ("n_embd", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("n_inner", "feed_forward_length"),
    ("num_hidden_layers", "block_count"),
    ("n_layer", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("n_head", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("num_local_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("head_dim", "attention.key_length"),
    ("max_position_embeddings", "context_length"),
    ("n_positions", "context_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("layer_norm_epsilon", "attention.layer_norm_epsilon"),
    ("sliding_window", "attention.sliding_window"),
    ("layer_types", "attention.sliding_window_pattern"),
    ("query_pre_attn_scalar", "attention.scale"),
    ("rope_theta", "rope.freq_base"),
    ("partial_rotary_factor", "rope.dimension_count"),
    ("original_max_position_embeddings", "rope.scaling.original_context_length"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
];

/// The error of a configuration that came from a file of this architecture, under the file's own keys.
pub(in crate::checkpoint) fn by_key(error: CheckpointError, architecture: &str) -> CheckpointError {
    let CheckpointError::UnsupportedConfig { field, value, supported } = error else { return error };
    let key = |field: &str| match field.trim_start_matches("rope_parameters.") {
        "vocab_size" => Some("token_embd.weight".into()),
        "pad_token_id" => Some("tokenizer.ggml.padding_token_id".into()),
        "factor" => Some(format!("{architecture}.rope.scaling.factor")),
        name => KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| format!("{architecture}.{key}")),
    };
    let words = supported.split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let renamed = words.map(|word| {
        let name = word.trim_end_matches(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let end = &word[name.len()..];
        // Words such as `factor` are names in a field's place alone.
        key(name).filter(|_| name.contains('_')).map_or_else(|| word.into(), |key| key + end)
    });
    let supported = renamed.collect();
    CheckpointError::UnsupportedConfig { field: key(&field).unwrap_or(field), value, supported }
}

/// The shortest number that is stored as this one: files keep 1e-6 as a float32.
pub(super) fn as_written(value: f64) -> f64 {
    let single = value as f32;
    let shortest = single.to_string().parse();
    if f64::from(single) == value { shortest.unwrap_or(value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_configuration_name_the_keys_of_the_file() {
        let error = unsupported("num_key_value_heads", 3, "a divisor of num_attention_heads (4)");
        let told = by_key(error, "qwen2").to_string();
        assert!(told.contains("`qwen2.attention.head_count_kv` is 3"), "{told}");
        assert!(told.contains("a divisor of qwen2.attention.head_count (4)"), "{told}");
        let told = by_key(unsupported("rope_parameters.factor", 0, "a number above 0"), "llama").to_string();
        assert!(told.contains("`llama.rope.scaling.factor`"), "{told}");
        let told = by_key(unsupported("model_type", "x", "a factor"), "llama").to_string();
        assert!(told.contains("`model_type` is x, but supported is a factor;"), "{told}");
    }
}
