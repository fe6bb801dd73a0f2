//! The key map of Hugging Face's MPNet.

use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `MPNetModel` and its classification, multiple-choice, question-answering and masked-LM heads, as Transformers names their
/// parameters.
pub fn mpnet_key_map() -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("embeddings.position_embeddings", "embeddings.position_embeddings"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("relative_attention_bias", "encoder.relative_attention_bias"),
        ("encoder.layer.*.attention.query", "encoder.layer.*.attention.attn.q"),
        ("encoder.layer.*.attention.key", "encoder.layer.*.attention.attn.k"),
        ("encoder.layer.*.attention.value", "encoder.layer.*.attention.attn.v"),
        ("encoder.layer.*.attention.output", "encoder.layer.*.attention.attn.o"),
        ("encoder.layer.*.attention.norm", "encoder.layer.*.attention.LayerNorm"),
        ("encoder.layer.*.intermediate", "encoder.layer.*.intermediate.dense"),
        ("encoder.layer.*.output", "encoder.layer.*.output.dense"),
        ("encoder.layer.*.norm", "encoder.layer.*.output.LayerNorm"),
        ("pooler.dense", "pooler.dense"),
    ];
    body_key_map("mpnet", &rules)
        .rule("head.dense", "classifier.dense")
        .rule("head.linear", "classifier.out_proj")
        .rule_without("head.dense", "head.linear", "classifier")
        .rule("head.score", "classifier")
        .rule("head.outputs", "qa_outputs")
        .rule("head.transform.dense", "lm_head.dense")
        .rule("head.transform.norm", "lm_head.layer_norm")
        .rule("head.bias", "lm_head.bias")
        .rule("head.decoder", "lm_head.decoder")
        .tied("lm_head.decoder.weight", "mpnet.embeddings.word_embeddings.weight")
        .tied("lm_head.decoder.bias", "lm_head.bias")
}
