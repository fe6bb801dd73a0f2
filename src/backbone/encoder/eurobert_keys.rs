//! The key map of Hugging Face's EuroBERT.

use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `EuroBertModel` and its classification and masked-LM heads, as Transformers names their parameters.
pub fn eurobert_key_map() -> KeyMap {
    let rules = [
        ("embeddings", "embed_tokens"),
        ("layers.*.attention_norm", "layers.*.input_layernorm"),
        ("layers.*.attention.query", "layers.*.self_attn.q_proj"),
        ("layers.*.attention.key", "layers.*.self_attn.k_proj"),
        ("layers.*.attention.value", "layers.*.self_attn.v_proj"),
        ("layers.*.attention.output", "layers.*.self_attn.o_proj"),
        ("layers.*.mlp_norm", "layers.*.post_attention_layernorm"),
        ("layers.*.mlp", "layers.*.mlp"),
        ("norm", "norm"),
        ("pooler.dense", "pooler.dense"),
    ];
    body_key_map("model", &rules)
        .rule("head.dense", "dense")
        .rule("head.linear", "classifier")
        .rule("head.decoder", "lm_head")
        .rule("head.bias", "lm_head.bias")
        .tied("lm_head.weight", "model.embed_tokens.weight")
        .ignore("**.inv_freq", "frequencies, which are computed")
}
