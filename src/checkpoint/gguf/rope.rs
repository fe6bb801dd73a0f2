//! Rotary positions as llama.cpp's files describe them.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::tensors::Tensors;

/// What frequencies are divided by.
const FREQUENCIES: &str = "rope_freqs.weight";
/// What all LLaMA 3 have: the share of wavelengths that are kept, that of those which are stretched, and the length that
/// they were trained for.
const LLAMA3: (f64, f64, f64) = (4.0, 1.0, 8192.0);

/// The fields of `config.json`.
pub(super) fn fields(
    fields: &Fields<'_>,
    tensors: &Tensors,
    head_dim: u64,
) -> Result<Map<String, Value>, CheckpointError> {
    let usual = if fields.architecture == "gemma3" { 1e6 } else { 1e4 };
    let theta = fields.optional_number("rope.freq_base")?.unwrap_or(usual);
    let mut config = Map::from_iter([("rope_theta".to_string(), json!(theta))]);
    if fields.architecture == "gemma3" {
        let local = fields.optional_number("rope.freq_base_swa")?.unwrap_or(1e4);
        config.insert("rope_local_base_freq".into(), json!(local));
    }
    let turned = fields.optional_count("rope.dimension_count")?.unwrap_or(head_dim);
    if fields.architecture == "phi3" {
        config.insert("partial_rotary_factor".into(), json!(turned as f64 / head_dim as f64));
        let trained = fields.optional_count("rope.scaling.original_context_length")?;
        let trained = trained.map_or_else(|| fields.count("context_length"), Ok)?;
        config.insert("original_max_position_embeddings".into(), json!(trained));
    } else if turned != head_dim {
        return Err(fields.unsupported("rope.dimension_count", turned, &format!("{head_dim}, all of a head")));
    }
    let scaling = match fields.architecture == "phi3" && tensors.contains("rope_factors_long.weight") {
        true => longrope(fields, tensors)?,
        false => scaling(fields, tensors, theta, head_dim)?,
    };
    if let Some(scaling) = scaling {
        config.insert("rope_scaling".into(), scaling);
    }
    Ok(config)
}

fn scaling(
    fields: &Fields<'_>,
    tensors: &Tensors,
    theta: f64,
    head_dim: u64,
) -> Result<Option<Value>, CheckpointError> {
    let factor = || fields.number("rope.scaling.factor");
    match fields.text("rope.scaling.type").unwrap_or("none") {
        "none" if tensors.contains(FREQUENCIES) => Ok(by_factors(&tensors.finite_f32(FREQUENCIES)?, theta, head_dim)),
        "none" => match fields.optional_number("rope.scale_linear")? {
            Some(factor) if factor != 1.0 => Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
            _ => Ok(None),
        },
        "linear" => Ok(Some(json!({ "rope_type": "linear", "factor": factor()? }))),
        "yarn" => yarn(fields, factor()?).map(Some),
        other => {
            Err(fields.unsupported("rope.scaling.type", format!("`{other}`"), "none, linear, yarn; longrope of phi3"))
        }
    }
}

fn yarn(fields: &Fields<'_>, factor: f64) -> Result<Value, CheckpointError> {
    fields.refuse("rope.scaling.yarn_ext_factor", 1.0)?;
    let mut scaling = json!({ "rope_type": "yarn", "factor": factor });
    let own = ["rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor"];
    for name in own {
        // llama.cpp multiplies YaRN's own factor by it.
        if let Some(attention) = fields.optional_number(name)? {
            scaling["attention_factor"] = json!(attention * (0.1 * factor.ln() + 1.0));
        }
    }
    for (name, field) in [
        ("rope.scaling.original_context_length", "original_max_position_embeddings"),
        ("rope.scaling.yarn_beta_fast", "beta_fast"),
        ("rope.scaling.yarn_beta_slow", "beta_slow"),
    ] {
        if let Some(value) = fields.optional_number(name)? {
            scaling[field] = json!(value);
        }
    }
    Ok(scaling)
}

fn longrope(fields: &Fields<'_>, tensors: &Tensors) -> Result<Option<Value>, CheckpointError> {
    let factors = |length: &str| tensors.finite_f32(&format!("rope_factors_{length}.weight"));
    let mut scaling =
        json!({ "rope_type": "longrope", "long_factor": factors("long")?, "short_factor": factors("short")? });
    if let Some(attention) = fields.optional_number("rope.scaling.attn_factor")? {
        scaling["attention_factor"] = json!(attention);
    }
    Ok(Some(scaling))
}

/// The numbers of LLaMA 3 where they make these factors; else the factors themselves, which LongRoPE's name lets files say.
fn by_factors(factors: &[f32], theta: f64, head_dim: u64) -> Option<Value> {
    let factor = factors.iter().fold(1.0f32, |largest, factor| largest.max(*factor));
    if factors.iter().all(|factor| *factor == 1.0) {
        return None;
    }
    let (high, low, trained) = LLAMA3;
    let expected = |pair: usize| {
        let wavelength = std::f64::consts::TAU * theta.powf(2.0 * pair as f64 / head_dim as f64);
        let kept = ((trained / wavelength - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - kept) / f64::from(factor) + kept)
    };
    let fits = |(pair, found): (usize, &f32)| (f64::from(*found) / expected(pair) - 1.0).abs() < 1e-4;
    Some(match factors.iter().enumerate().all(fits) {
        true => json!({ "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": trained }),
        false => {
            json!({ "rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0 })
        }
    })
}
