//! The key map of Hugging Face's ModernBERT.

use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `ModernBertModel` and its classification, multiple-choice, question-answering and masked-LM heads, as
/// Transformers names their parameters: the last map of all heads but the last is `classifier`.
pub fn modernbert_key_map() -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.tok_embeddings"),
        ("embeddings.norm", "embeddings.norm"),
        ("layers.*.attention_norm", "layers.*.attn_norm"),
        ("layers.*.attention.qkv", "layers.*.attn.Wqkv"),
        ("layers.*.attention.output", "layers.*.attn.Wo"),
        ("layers.*.mlp_norm", "layers.*.mlp_norm"),
        ("layers.*.mlp.input", "layers.*.mlp.Wi"),
        ("layers.*.mlp.output", "layers.*.mlp.Wo"),
        ("norm", "final_norm"),
        ("pooler.dense", "pooler.dense"),
    ];
    body_key_map("model", &rules)
        .rule("head.dense", "head.dense")
        .rule("head.norm", "head.norm")
        .rule("head.transform.dense", "head.dense")
        .rule("head.transform.norm", "head.norm")
        .rule("head.linear", "classifier")
        .rule("head.score", "classifier")
        .rule("head.outputs", "classifier")
        .rule("head.decoder", "decoder")
        .rule("head.bias", "decoder.bias")
        .tied("decoder.weight", "model.embeddings.tok_embeddings.weight")
        .ignore("**.inv_freq", "frequencies, which are computed")
}
