//! From llama.cpp's tensor names to Transformers' keys.

use crate::checkpoint::KeyMap;

/// What every decoder with rotary positions has.
const ROTARY: [(&str, &str); 11] = [
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("blk.*.attn_norm", "model.layers.*.input_layernorm"),
    ("blk.*.attn_q", "model.layers.*.self_attn.q_proj"),
    ("blk.*.attn_k", "model.layers.*.self_attn.k_proj"),
    ("blk.*.attn_v", "model.layers.*.self_attn.v_proj"),
    ("blk.*.attn_output", "model.layers.*.self_attn.o_proj"),
    ("blk.*.ffn_gate", "model.layers.*.mlp.gate_proj"),
    ("blk.*.ffn_up", "model.layers.*.mlp.up_proj"),
    ("blk.*.ffn_down", "model.layers.*.mlp.down_proj"),
];
/// The router and the experts of Mixtral, one tensor each.
const EXPERTS: [(&str, &str); 4] = [
    ("blk.*.ffn_gate_inp", "model.layers.*.block_sparse_moe.gate"),
    ("blk.*.ffn_gate.*", "model.layers.*.block_sparse_moe.experts.*.w1"),
    ("blk.*.ffn_down.*", "model.layers.*.block_sparse_moe.experts.*.w2"),
    ("blk.*.ffn_up.*", "model.layers.*.block_sparse_moe.experts.*.w3"),
];
const ONE_NORM: [(&str, &str); 1] = [("blk.*.ffn_norm", "model.layers.*.post_attention_layernorm")];
const HEAD_NORMS: [(&str, &str); 2] = [
    ("blk.*.attn_q_norm", "model.layers.*.self_attn.q_norm"),
    ("blk.*.attn_k_norm", "model.layers.*.self_attn.k_norm"),
];
/// Gemma's norms around each part of a layer.
const FOUR_NORMS: [(&str, &str); 3] = [
    ("blk.*.post_attention_norm", "model.layers.*.post_attention_layernorm"),
    ("blk.*.ffn_norm", "model.layers.*.pre_feedforward_layernorm"),
    ("blk.*.post_ffw_norm", "model.layers.*.post_feedforward_layernorm"),
];
const FUSED: [(&str, &str); 7] = [
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("blk.*.attn_norm", "model.layers.*.input_layernorm"),
    ("blk.*.attn_qkv", "model.layers.*.self_attn.qkv_proj"),
    ("blk.*.attn_output", "model.layers.*.self_attn.o_proj"),
    ("blk.*.ffn_down", "model.layers.*.mlp.down_proj"),
];
const FUSED_GATE: [(&str, &str); 1] = [("blk.*.ffn_up", "model.layers.*.mlp.gate_up_proj")];
const GPT2: [(&str, &str); 10] = [
    ("token_embd", "transformer.wte"),
    ("position_embd", "transformer.wpe"),
    ("output_norm", "transformer.ln_f"),
    ("output", "lm_head"),
    ("blk.*.attn_norm", "transformer.h.*.ln_1"),
    ("blk.*.attn_qkv", "transformer.h.*.attn.c_attn"),
    ("blk.*.attn_output", "transformer.h.*.attn.c_proj"),
    ("blk.*.ffn_norm", "transformer.h.*.ln_2"),
    ("blk.*.ffn_up", "transformer.h.*.mlp.c_fc"),
    ("blk.*.ffn_down", "transformer.h.*.mlp.c_proj"),
];

/// The table of an architecture that is known, whose layers have experts or not.
pub(super) fn table(architecture: &str, has_experts: bool) -> KeyMap {
    let parts: Vec<&[(&str, &str)]> = match architecture {
        "gpt2" => vec![&GPT2],
        "phi3" => vec![&FUSED, &FUSED_GATE, &ONE_NORM],
        "gemma2" => vec![&ROTARY, &FOUR_NORMS],
        "gemma3" => vec![&ROTARY, &FOUR_NORMS, &HEAD_NORMS],
        "qwen3" => vec![&ROTARY, &ONE_NORM, &HEAD_NORMS],
        // The last three are one network's in place of experts.
        _ if has_experts => vec![&ROTARY[..8], &EXPERTS, &ONE_NORM],
        _ => vec![&ROTARY, &ONE_NORM],
    };
    parts.concat().into_iter().fold(KeyMap::new(""), |map, (name, key)| map.rule(name, key))
}

/// Tensors that hold frequencies, which the configuration says.
pub(super) fn is_frequencies(name: &str) -> bool {
    ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight", "attn_rot_embd"]
        .iter()
        .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sound() {
        for architecture in ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"] {
            table(architecture, false).check().unwrap_or_else(|error| panic!("{architecture}: {error}"));
        }
        table("llama", true).check().expect("sound");
        let key = table("gemma3", false).to_file("blk.11.ffn_norm.weight");
        assert_eq!(key.as_deref(), Some("model.layers.11.pre_feedforward_layernorm.weight"));
    }
}
