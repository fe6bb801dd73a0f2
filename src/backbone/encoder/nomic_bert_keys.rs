//! The key map of Hugging Face's NomicBERT.

use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `NomicBertModel` and its classification and masked-LM heads, as published files name their parameters and
/// Transformers writes them.
pub fn nomic_bert_key_map() -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("embeddings.token_type_embeddings", "embeddings.token_type_embeddings"),
        ("embeddings.norm", "emb_ln"),
        ("layers.*.attention.qkv", "encoder.layers.*.attn.Wqkv"),
        ("layers.*.attention.output", "encoder.layers.*.attn.out_proj"),
        ("layers.*.attention_norm", "encoder.layers.*.norm1"),
        ("layers.*.mlp.up_proj", "encoder.layers.*.mlp.fc11"),
        ("layers.*.mlp.gate_proj", "encoder.layers.*.mlp.fc12"),
        ("layers.*.mlp.down_proj", "encoder.layers.*.mlp.fc2"),
        ("layers.*.mlp_norm", "encoder.layers.*.norm2"),
        ("pooler.dense", "pooler.dense"),
    ];
    body_key_map("nomic_bert", &rules)
        .rule("head.linear", "classifier")
        .rule("head.transform.dense", "cls.predictions.transform.dense")
        .rule("head.transform.norm", "cls.predictions.transform.layer_norm")
        .rule("head.bias", "cls.predictions.bias")
        .rule("head.decoder", "cls.predictions.decoder")
        .tied("cls.predictions.decoder.weight", "nomic_bert.embeddings.word_embeddings.weight")
        .tied("cls.predictions.decoder.bias", "cls.predictions.bias")
        .ignore("**.inv_freq", "frequencies, which are computed")
}
