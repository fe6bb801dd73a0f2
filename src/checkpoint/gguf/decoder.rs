//! Decoders in GGUF files as Transformers has them: configuration, keys and values, from what llama.cpp's
//! `convert_hf_to_gguf.py` makes of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::change::Change;
use super::fields::{Fields, unsupported};
use super::names::{is_frequencies, table};
use super::rope;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::tensors::Tensors;

/// Architectures that are read: llama.cpp's name, `model_type` and class of Transformers.
const ARCHITECTURES: [(&str, &str, &str); 7] = [
    ("llama", "llama", "LlamaForCausalLM"),
    ("qwen2", "qwen2", "Qwen2ForCausalLM"),
    ("qwen3", "qwen3", "Qwen3ForCausalLM"),
    ("gemma2", "gemma2", "Gemma2ForCausalLM"),
    ("gemma3", "gemma3_text", "Gemma3ForCausalLM"),
    ("phi3", "phi3", "Phi3ForCausalLM"),
    ("gpt2", "gpt2", "GPT2LMHeadModel"),
];
/// Layers of the Gemmas of 27 billion parameters, whose scores have a scale of their own.
const LARGE_GEMMAS: [(&str, u64); 2] = [("gemma2", 46), ("gemma3", 62)];

/// Key of Transformers to the tensor's name in the file and what turns its values.
pub(in crate::checkpoint) type Renamed = BTreeMap<String, (String, Option<Change>)>;

/// The configuration that Transformers would have, and the names of the tensors.
pub(in crate::checkpoint) fn read(
    metadata: &Map<String, Value>,
    tensors: &Tensors,
) -> Result<(Value, Renamed), CheckpointError> {
    let found = metadata.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
    let known = ARCHITECTURES.iter().find(|(name, ..)| *name == found);
    let &(architecture, model_type, class) = known.ok_or_else(|| {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, ..)| *name).collect();
        unsupported("general.architecture", format!("`{found}`"), &names.join(", "))
    })?;
    let decoder = Decoder { fields: Fields { metadata, architecture }, tensors };
    decoder.check_layers()?;
    let class = if decoder.experts()? > 0 { "MixtralForCausalLM" } else { class };
    let mut config = match architecture {
        "gpt2" => decoder.gpt2()?,
        _ => decoder.rotary(model_type)?,
    };
    config.insert("architectures".into(), json!([class]));
    for (field, key) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        let name = format!("tokenizer.ggml.{key}_token_id");
        let id = metadata.get(&name).filter(|id| !id.is_null());
        if let Some(other) = id.filter(|id| !id.is_u64()) {
            return Err(unsupported(name, other, "a whole number"));
        }
        config.insert(field.into(), id.cloned().unwrap_or_default());
    }
    Ok((Value::Object(config), decoder.renamed()?))
}

struct Decoder<'a> {
    fields: Fields<'a>,
    tensors: &'a Tensors,
}

impl Decoder<'_> {
    /// There are as many layers as the metadata says.
    fn check_layers(&self) -> Result<(), CheckpointError> {
        let layer = |name: &str| name.strip_prefix("blk.")?.split('.').next()?.parse::<u64>().ok();
        let found = self.tensors.keys().filter_map(layer).max().map_or(0, |last| last.saturating_add(1));
        match self.fields.count("block_count")? {
            said if said == found => Ok(()),
            said => Err(self.fields.unsupported("block_count", said, &format!("{found}, as many as the file holds"))),
        }
    }

    /// Experts of a layer, 0 where it has one network; LLaMA's layers with experts are Mixtral's.
    fn experts(&self) -> Result<usize, CheckpointError> {
        if self.fields.architecture != "llama" {
            self.fields.refuse("expert_count", 0.0)?;
        }
        Ok(self.fields.optional_count("expert_count")?.unwrap_or(0) as usize)
    }

    fn is_gemma(&self) -> bool {
        self.fields.architecture.starts_with("gemma")
    }

    /// The rows of the token embedding, which files do not always name.
    fn vocab_size(&self) -> Result<usize, CheckpointError> {
        Ok(self.tensors.shape("token_embd.weight")?.first().copied().unwrap_or(0))
    }

    /// GPT-2's files hold a copy of the embedding for the output.
    fn is_tied(&self) -> Result<bool, CheckpointError> {
        let (output, embedding) = ("output.weight", "token_embd.weight");
        if !self.tensors.contains(output) {
            return Ok(true);
        }
        let same_type = || Ok::<_, CheckpointError>(self.tensors.dtype(output)? == self.tensors.dtype(embedding)?);
        Ok(self.fields.architecture == "gpt2"
            && same_type()?
            && *self.tensors.bytes(output)? == *self.tensors.bytes(embedding)?)
    }

    fn gpt2(&self) -> Result<Map<String, Value>, CheckpointError> {
        let fields = &self.fields;
        Ok(object(json!({
            "model_type": "gpt2",
            "vocab_size": self.vocab_size()?,
            "n_positions": fields.count("context_length")?,
            "n_embd": fields.count("embedding_length")?,
            "n_layer": fields.count("block_count")?,
            "n_head": fields.count("attention.head_count")?,
            "n_inner": fields.optional_size("feed_forward_length")?,
            "layer_norm_epsilon": fields.number("attention.layer_norm_epsilon")?,
            "tie_word_embeddings": self.is_tied()?,
        })))
    }

    fn heads(&self) -> Result<(u64, u64), CheckpointError> {
        let heads = self.fields.count("attention.head_count")?;
        Ok((heads, self.fields.optional_size("attention.head_count_kv")?.unwrap_or(heads)))
    }

    fn head_dim(&self) -> Result<u64, CheckpointError> {
        let fields = &self.fields;
        let (heads, hidden) = (fields.count("attention.head_count")?, fields.count("embedding_length")?);
        let key = fields.optional_size("attention.key_length")?.unwrap_or(hidden / heads.max(1));
        let value = fields.optional_size("attention.value_length")?.unwrap_or(key);
        match key == value {
            true => Ok(key),
            false => Err(fields.unsupported("attention.value_length", value, &format!("{key}, as keys have"))),
        }
    }

    fn rotary(&self, model_type: &str) -> Result<Map<String, Value>, CheckpointError> {
        let fields = &self.fields;
        for (name, harmless) in [("logit_scale", 1.0), ("rope.scaling.yarn_log_multiplier", 0.0)] {
            fields.refuse(name, harmless)?;
        }
        let ((heads, groups), head_dim) = (self.heads()?, self.head_dim()?);
        let mut config = object(json!({
            "model_type": model_type,
            "vocab_size": self.vocab_size()?,
            "hidden_size": fields.count("embedding_length")?,
            "intermediate_size": fields.count("feed_forward_length")?,
            "num_hidden_layers": fields.count("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": groups,
            "head_dim": head_dim,
            "max_position_embeddings": fields.count("context_length")?,
            "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon")?,
            "tie_word_embeddings": self.is_tied()?,
            "attention_bias": self.tensors.contains("blk.0.attn_output.bias"),
        }));
        config.extend(rope::fields(fields, self.tensors, head_dim)?);
        config.extend(match fields.architecture {
            "gemma2" | "gemma3" => self.gemma(head_dim)?,
            _ => self.windows()?,
        });
        Ok(config)
    }

    /// LLaMA's layers over a window are Mistral's.
    fn windows(&self) -> Result<Map<String, Value>, CheckpointError> {
        let window = self.fields.optional_count("attention.sliding_window")?.filter(|window| *window > 0);
        if self.experts()? > 0 {
            return Ok(object(json!({ "model_type": "mixtral", "sliding_window": window,
                "num_local_experts": self.experts()?, "num_experts_per_tok": self.fields.count("expert_used_count")? })));
        }
        Ok(object(match (self.fields.architecture, window) {
            ("llama", Some(_)) => json!({ "model_type": "mistral", "sliding_window": window }),
            ("llama", None) => json!({ "mlp_bias": self.tensors.contains("blk.0.ffn_down.bias") }),
            ("phi3", _) => json!({ "sliding_window": window }),
            (_, None) => json!({ "use_sliding_window": false }),
            (_, Some(window)) => {
                return Err(self.fields.unsupported("attention.sliding_window", window, "0, as such files have it"));
            }
        }))
    }

    fn gemma(&self, head_dim: u64) -> Result<Map<String, Value>, CheckpointError> {
        let fields = &self.fields;
        let (layers, width) = (fields.count("block_count")?, fields.count("embedding_length")?);
        // Files of llama.cpp do not say: it knows the sizes of these two.
        let large = LARGE_GEMMAS.contains(&(fields.architecture, layers));
        let usual = if large { width / self.heads()?.0.max(1) } else { head_dim };
        let scale = fields.optional_number("attention.scale")?;
        let mut config = object(json!({
            "query_pre_attn_scalar": scale.map_or(usual as f64, |scale| 1.0 / (scale * scale)),
            "sliding_window": fields.optional_count("attention.sliding_window")?,
            "final_logit_softcapping": fields.optional_number("final_logit_softcapping")?,
            "layer_types": self.layer_types(layers)?,
        }));
        if fields.architecture == "gemma2" {
            config.insert("attn_logit_softcapping".into(), json!(fields.optional_number("attn_logit_softcapping")?));
        }
        Ok(config)
    }

    /// Which layers have the window: every one but each so many-th, as the file says or the architecture has it.
    fn layer_types(&self, layers: u64) -> Result<Vec<&'static str>, CheckpointError> {
        const FIELD: &str = "attention.sliding_window_pattern";
        let kind = |windowed| if windowed { "sliding_attention" } else { "full_attention" };
        if let Some(flags) = self.fields.get(FIELD).and_then(Value::as_array) {
            let flag = |flag: &Value| {
                let flag = flag.as_bool().or_else(|| flag.as_u64().map(|flag| flag != 0));
                flag.map(kind)
                    .ok_or_else(|| self.fields.unsupported(FIELD, "a list of something else", "a list of flags"))
            };
            return flags.iter().map(flag).collect();
        }
        let usual = if self.fields.architecture == "gemma2" { 2 } else { 6 };
        let period = self.fields.optional_count(FIELD)?.unwrap_or(usual);
        Ok((1..=layers).map(|layer| kind(period == 0 || layer % period != 0)).collect())
    }

    fn renamed(&self) -> Result<Renamed, CheckpointError> {
        let experts = self.experts()?;
        let table = table(self.fields.architecture, experts > 0);
        let mut renamed = Renamed::new();
        let mut unknown = vec![];
        for name in self.tensors.keys().filter(|name| !is_frequencies(name)) {
            if experts > 0 && name.contains("_exps.") {
                self.check_experts(name, experts)?;
                for index in 0..experts {
                    let own = table.to_file(&name.replace("_exps.", &format!(".{index}.")));
                    let slab = Some(Change::Slab { index, of: experts });
                    own.map(|key| renamed.insert(key, (name.into(), slab)));
                }
                continue;
            }
            match table.to_file(name) {
                Some(key) => _ = renamed.insert(key, (name.into(), self.change(name)?)),
                None => unknown.push(name.to_string()),
            }
        }
        match unknown.is_empty() {
            true => Ok(renamed),
            false => Err(CheckpointError::UnknownKey {
                keys: unknown,
                path: self.tensors.path().into(),
                mend: "convert the original checkpoint, or load that".into(),
            }),
        }
    }

    /// A tensor of all experts of a layer has one matrix for each.
    fn check_experts(&self, name: &str, experts: usize) -> Result<(), CheckpointError> {
        match self.tensors.shape(name)? {
            [found, _, _] if *found == experts => Ok(()),
            shape => {
                let value = format!("{experts}, but `{name}` has the shape {shape:?}");
                Err(self.fields.unsupported("expert_count", value, "as many as the tensor's outermost size"))
            }
        }
    }

    /// What turns the values of this tensor.
    fn change(&self, name: &str) -> Result<Option<Change>, CheckpointError> {
        let part = name.split('.').nth(2).unwrap_or_default();
        let is_layer = name.starts_with("blk.");
        Ok(match (self.fields.architecture, part) {
            ("llama", "attn_q" | "attn_k") => Some(self.halves(name, part)?),
            ("gpt2", "attn_qkv" | "attn_output" | "ffn_up" | "ffn_down") => Some(Change::Transposed),
            _ if self.is_gemma() && (part.ends_with("_norm") && is_layer || name.starts_with("output_norm")) => {
                Some(Change::LessOne)
            }
            _ => None,
        })
    }

    fn halves(&self, name: &str, part: &str) -> Result<Change, CheckpointError> {
        let (heads, groups) = self.heads()?;
        let heads = if part == "attn_q" { heads } else { groups } as usize;
        let rows = self.tensors.shape(name)?.first().copied().unwrap_or(0);
        match heads > 0 && rows.is_multiple_of(2 * heads) {
            true => Ok(Change::Halves { heads }),
            false => {
                Err(unsupported(format!("the rows of {name}"), rows, &format!("a multiple of twice the {heads} heads")))
            }
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
