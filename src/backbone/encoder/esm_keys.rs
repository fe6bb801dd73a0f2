//! The key map of Hugging Face's ESM.

use super::EsmPositions;
use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `EsmModel` and its classification and masked-LM heads, as Transformers names their parameters.
/// Absolute positions have a table, which files of rotary ones may carry too.
pub fn esm_key_map(positions: EsmPositions) -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("embeddings.norm", "embeddings.layer_norm"),
        ("encoder.layer.*.attention.query", "encoder.layer.*.attention.self.query"),
        ("encoder.layer.*.attention.key", "encoder.layer.*.attention.self.key"),
        ("encoder.layer.*.attention.value", "encoder.layer.*.attention.self.value"),
        ("encoder.layer.*.attention.output", "encoder.layer.*.attention.output.dense"),
        ("encoder.layer.*.attention_norm", "encoder.layer.*.attention.LayerNorm"),
        ("encoder.layer.*.intermediate", "encoder.layer.*.intermediate.dense"),
        ("encoder.layer.*.output", "encoder.layer.*.output.dense"),
        ("encoder.layer.*.norm", "encoder.layer.*.LayerNorm"),
        ("encoder.norm", "encoder.emb_layer_norm_after"),
        ("pooler.dense", "pooler.dense"),
        ("contact_head.regression", "contact_head.regression"),
        ("contact_head.bias.weight", "contact_head.regression.bias"),
    ];
    let map = body_key_map("esm", &rules)
        .rule("head.dense", "classifier.dense")
        .rule("head.linear", "classifier.out_proj")
        .rule_without("head.dense", "head.linear", "classifier")
        .rule("head.transform.dense", "lm_head.dense")
        .rule("head.transform.norm", "lm_head.layer_norm")
        .rule("head.bias", "lm_head.bias")
        .rule("head.decoder", "lm_head.decoder")
        .tied("lm_head.decoder.weight", "esm.embeddings.word_embeddings.weight")
        .constant("backbone.contact_head")
        .ignore("**.inv_freq", "frequencies, which are computed");
    match positions {
        EsmPositions::Absolute => {
            map.rule("backbone.embeddings.position_embeddings", "esm.embeddings.position_embeddings")
        }
        EsmPositions::Rotary => map.ignore("**.position_embeddings.weight", "the positions are rotary"),
    }
}
