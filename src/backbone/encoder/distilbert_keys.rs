//! The key map of Hugging Face's DistilBERT.

use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `DistilBertModel` and its classification, multiple-choice, question-answering and masked-LM heads, as Transformers names
/// their parameters.
pub fn distilbert_key_map() -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("embeddings.position_embeddings", "embeddings.position_embeddings"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("encoder.layer.*.attention.query", "transformer.layer.*.attention.q_lin"),
        ("encoder.layer.*.attention.key", "transformer.layer.*.attention.k_lin"),
        ("encoder.layer.*.attention.value", "transformer.layer.*.attention.v_lin"),
        ("encoder.layer.*.attention.output", "transformer.layer.*.attention.out_lin"),
        ("encoder.layer.*.attention.norm", "transformer.layer.*.sa_layer_norm"),
        ("encoder.layer.*.intermediate", "transformer.layer.*.ffn.lin1"),
        ("encoder.layer.*.output", "transformer.layer.*.ffn.lin2"),
        ("encoder.layer.*.norm", "transformer.layer.*.output_layer_norm"),
        ("pooler.dense", "pooler.dense"),
    ];
    body_key_map("distilbert", &rules)
        .rule("head.dense", "pre_classifier")
        .rule("head.linear", "classifier")
        .rule("head.summary", "pre_classifier")
        .rule("head.score", "classifier")
        .rule("head.outputs", "qa_outputs")
        .rule("head.transform.dense", "vocab_transform")
        .rule("head.transform.norm", "vocab_layer_norm")
        .rule("head.bias", "vocab_projector.bias")
        .rule("head.decoder", "vocab_projector")
        .tied("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight")
}
