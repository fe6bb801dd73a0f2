//! The key map of Hugging Face's DeBERTa v2 and v3.

use super::DebertaV2Config;
use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `DebertaV2Model` and its classification, multiple-choice, question-answering and masked-LM heads, as
/// Transformers names their parameters. The masked-LM head has two forms, which `legacy` tells apart.
pub fn deberta_v2_key_map(config: &DebertaV2Config) -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("embeddings.token_type_embeddings", "embeddings.token_type_embeddings"),
        ("embeddings.project", "embeddings.embed_proj"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("encoder.rel_embeddings", "encoder.rel_embeddings"),
        ("encoder.norm", "encoder.LayerNorm"),
        ("encoder.conv.conv", "encoder.conv.conv"),
        ("encoder.conv.norm", "encoder.conv.LayerNorm"),
        ("encoder.layer.*.attention.query", "encoder.layer.*.attention.self.query_proj"),
        ("encoder.layer.*.attention.key", "encoder.layer.*.attention.self.key_proj"),
        ("encoder.layer.*.attention.value", "encoder.layer.*.attention.self.value_proj"),
        ("encoder.layer.*.attention.position_key", "encoder.layer.*.attention.self.pos_key_proj"),
        ("encoder.layer.*.attention.position_query", "encoder.layer.*.attention.self.pos_query_proj"),
        ("encoder.layer.*.attention.output", "encoder.layer.*.attention.output.dense"),
        ("encoder.layer.*.attention.norm", "encoder.layer.*.attention.output.LayerNorm"),
        ("encoder.layer.*.intermediate", "encoder.layer.*.intermediate.dense"),
        ("encoder.layer.*.output", "encoder.layer.*.output.dense"),
        ("encoder.layer.*.norm", "encoder.layer.*.output.LayerNorm"),
        ("pooler.dense", "pooler.dense"),
    ];
    let (table, key) = ("backbone.embeddings.position_embeddings", "deberta.embeddings.position_embeddings");
    let map = body_key_map("deberta", &rules)
        .rule("head.dense", "pooler.dense")
        .rule("head.summary", "pooler.dense")
        .rule("head.linear", "classifier")
        .rule("head.score", "classifier")
        .rule("head.outputs", "qa_outputs")
        .ignore("mask_predictions.**", "the head of DeBERTa's pretraining, which no class reads");
    let map = match config.position_biased_input {
        true => map.rule(table, key),
        false => map.ignore(&format!("{key}.weight"), "the input has no absolute positions"),
    };
    let map = match config.relative_attention {
        true => map,
        false => map.ignore("deberta.encoder.LayerNorm.*", "the norm of embeddings that there are not"),
    };
    let (prefix, at) = match config.legacy {
        true => ("cls.predictions", "cls.predictions.transform"),
        false => ("lm_predictions.lm_head", "lm_predictions.lm_head"),
    };
    let other = if config.legacy { "lm_predictions.**" } else { "cls.predictions.**" };
    map.ignore(other, "a masked-LM head of the form that `legacy` does not choose")
        .rule("head.transform.dense", &format!("{at}.dense"))
        .rule("head.transform.norm", &format!("{at}.LayerNorm"))
        .rule("head.bias", &format!("{prefix}.bias"))
        .rule("head.decoder", "cls.predictions.decoder")
        .tied("cls.predictions.decoder.weight", "deberta.embeddings.word_embeddings.weight")
        .tied("cls.predictions.decoder.bias", "cls.predictions.bias")
}
