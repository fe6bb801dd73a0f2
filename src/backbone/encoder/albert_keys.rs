//! The key map of Hugging Face's ALBERT.

use super::bert_keys::body_key_map;
use crate::checkpoint::KeyMap;

/// The table for `AlbertModel` and its classification, multiple-choice, question-answering and masked-LM heads, as Transformers names their
/// parameters, where a group has `inner` layers. Ours are numbered through all groups.
pub fn albert_key_map(groups: usize, inner: usize) -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("embeddings.position_embeddings", "embeddings.position_embeddings"),
        ("embeddings.token_type_embeddings", "embeddings.token_type_embeddings"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("embeddings_project", "encoder.embedding_hidden_mapping_in"),
        ("pooler.dense", "pooler"),
    ];
    let places = (0..groups).flat_map(|group| (0..inner).map(move |place| (group, place)));
    let map = places.fold(body_key_map("albert", &rules), |map, (group, place)| {
        let path = format!("backbone.encoder.layer.{}", group * inner + place);
        let key = format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{place}");
        LAYER.iter().fold(map, |map, (own, file)| map.rule(&format!("{path}.{own}"), &format!("{key}.{file}")))
    });
    map.rule("head.linear", "classifier")
        .rule("head.score", "classifier")
        .rule("head.outputs", "qa_outputs")
        .rule("head.transform.dense", "predictions.dense")
        .rule("head.transform.norm", "predictions.LayerNorm")
        .rule("head.bias", "predictions.bias")
        .rule("head.decoder", "predictions.decoder")
        .tied("predictions.decoder.weight", "albert.embeddings.word_embeddings.weight")
        .tied("predictions.decoder.bias", "predictions.bias")
        .ignore("sop_classifier.**", "the head that orders sentences is not built")
}

const LAYER: [(&str, &str); 8] = [
    ("attention.query", "attention.query"),
    ("attention.key", "attention.key"),
    ("attention.value", "attention.value"),
    ("attention.output", "attention.dense"),
    ("attention.norm", "attention.LayerNorm"),
    ("intermediate", "ffn"),
    ("output", "ffn_output"),
    ("norm", "full_layer_layer_norm"),
];
