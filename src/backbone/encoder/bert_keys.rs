//! The key map of Hugging Face's BERT.

use crate::checkpoint::KeyMap;

/// The table for `BertModel` and its classification, multiple-choice, question-answering, masked-LM and pretraining heads, as Transformers names their parameters.
///
/// The masked-LM head stands at `head.*` in a masked-LM model and at `head.masked_lm.*` in a pretraining model, under the same keys.
pub fn bert_key_map() -> KeyMap {
    let map = encoder_key_map("bert")
        .rule("head.linear", "classifier")
        .rule("head.score", "classifier")
        .rule("head.outputs", "qa_outputs")
        .rule("head.next_sentence", "cls.seq_relationship");
    ["head", "head.masked_lm"]
        .into_iter()
        .fold(map, masked_lm_head)
        .tied("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight")
        .tied("cls.predictions.decoder.bias", "cls.predictions.bias")
}

/// Embeddings, layers and pooler, whose keys start with `prefix`.
pub(super) fn encoder_key_map(prefix: &str) -> KeyMap {
    let rules = [
        ("embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("embeddings.position_embeddings", "embeddings.position_embeddings"),
        ("embeddings.token_type_embeddings", "embeddings.token_type_embeddings"),
        ("embeddings.norm", "embeddings.LayerNorm"),
        ("encoder.layer.*.attention.query", "encoder.layer.*.attention.self.query"),
        ("encoder.layer.*.attention.key", "encoder.layer.*.attention.self.key"),
        ("encoder.layer.*.attention.value", "encoder.layer.*.attention.self.value"),
        ("encoder.layer.*.attention.output", "encoder.layer.*.attention.output.dense"),
        ("encoder.layer.*.attention.norm", "encoder.layer.*.attention.output.LayerNorm"),
        ("encoder.layer.*.intermediate", "encoder.layer.*.intermediate.dense"),
        ("encoder.layer.*.output", "encoder.layer.*.output.dense"),
        ("encoder.layer.*.norm", "encoder.layer.*.output.LayerNorm"),
        ("pooler.dense", "pooler.dense"),
    ];
    body_key_map(prefix, &rules)
}

/// A body's table of (path, key), whose keys start with `prefix`. The pooler may be missing.
pub(super) fn body_key_map(prefix: &str, rules: &[(&str, &str)]) -> KeyMap {
    rules
        .iter()
        .fold(KeyMap::new(prefix), |map, (path, key)| map.rule(&format!("backbone.{path}"), &format!("{prefix}.{key}")))
        .optional("backbone.pooler")
        .ignore("**.position_ids", "a constant that counts the positions")
}

fn masked_lm_head(map: KeyMap, at: &str) -> KeyMap {
    map.rule(&format!("{at}.transform.dense"), "cls.predictions.transform.dense")
        .rule(&format!("{at}.transform.norm"), "cls.predictions.transform.LayerNorm")
        .rule(&format!("{at}.bias"), "cls.predictions.bias")
        .rule(&format!("{at}.decoder"), "cls.predictions.decoder")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        bert_key_map().check().expect("no contradiction");
    }

    #[test]
    fn each_module_maps_both_ways() {
        let map = bert_key_map();
        for (path, key) in [
            ("backbone.embeddings.norm.weight", "bert.embeddings.LayerNorm.weight"),
            ("backbone.encoder.layer.11.attention.value.bias", "bert.encoder.layer.11.attention.self.value.bias"),
            ("backbone.encoder.layer.1.attention.output.weight", "bert.encoder.layer.1.attention.output.dense.weight"),
            ("backbone.encoder.layer.1.attention.norm.bias", "bert.encoder.layer.1.attention.output.LayerNorm.bias"),
            ("backbone.encoder.layer.0.intermediate.weight", "bert.encoder.layer.0.intermediate.dense.weight"),
            ("backbone.encoder.layer.0.output.weight", "bert.encoder.layer.0.output.dense.weight"),
            ("backbone.encoder.layer.0.norm.bias", "bert.encoder.layer.0.output.LayerNorm.bias"),
            ("backbone.pooler.dense.bias", "bert.pooler.dense.bias"),
            ("head.next_sentence.weight", "cls.seq_relationship.weight"),
        ] {
            assert_eq!(map.to_file(path).as_deref(), Some(key));
            assert_eq!(map.to_path(key).as_deref(), Some(path));
        }
        // Classes and choices end in the same key: which one, the model decides.
        assert_eq!(map.to_paths("classifier.weight"), ["head.linear.weight", "head.score.weight"]);
    }

    #[test]
    fn the_masked_lm_head_has_two_places() {
        let map = bert_key_map();
        for (key, tail) in [
            ("cls.predictions.bias", "bias"),
            ("cls.predictions.transform.dense.weight", "transform.dense.weight"),
            ("cls.predictions.transform.LayerNorm.bias", "transform.norm.bias"),
        ] {
            let expected = [format!("head.{tail}"), format!("head.masked_lm.{tail}")];
            assert_eq!(BTreeSet::from_iter(map.to_paths(key)), BTreeSet::from(expected));
        }
    }

    #[test]
    fn copies_and_counters_are_ignored_and_the_pooler_may_be_missing() {
        let map = bert_key_map();
        assert!(map.ignored("bert.embeddings.position_ids").is_some());
        assert_eq!(map.tied_keys().len(), 2);
        for (copy, original) in map.tied_keys() {
            assert!(map.ignored(copy).is_some_and(|reason| reason.contains(original)));
            assert!(map.ignored(original).is_none());
        }
        assert!(map.is_optional("backbone.pooler.dense.weight"));
        assert!(!map.is_optional("backbone.embeddings.norm.weight"));
    }
}
