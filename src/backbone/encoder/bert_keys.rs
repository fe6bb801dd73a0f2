//! The key map of Hugging Face's BERT.

use crate::checkpoint::KeyMap;

/// The table for `BertModel` and its classification, masked-LM and pretraining heads, as Transformers names their parameters.
///
/// The masked-LM head stands at `head.*` in a masked-LM model and at `head.masked_lm.*` in a pretraining model, under the same keys.
pub fn bert_key_map() -> KeyMap {
    let map = KeyMap::new("bert")
        .rule("backbone.embeddings.word_embeddings", "bert.embeddings.word_embeddings")
        .rule("backbone.embeddings.position_embeddings", "bert.embeddings.position_embeddings")
        .rule("backbone.embeddings.token_type_embeddings", "bert.embeddings.token_type_embeddings")
        .rule("backbone.embeddings.norm", "bert.embeddings.LayerNorm")
        .rule("backbone.encoder.layer.*.attention.query", "bert.encoder.layer.*.attention.self.query")
        .rule("backbone.encoder.layer.*.attention.key", "bert.encoder.layer.*.attention.self.key")
        .rule("backbone.encoder.layer.*.attention.value", "bert.encoder.layer.*.attention.self.value")
        .rule("backbone.encoder.layer.*.attention.output", "bert.encoder.layer.*.attention.output.dense")
        .rule("backbone.encoder.layer.*.attention.norm", "bert.encoder.layer.*.attention.output.LayerNorm")
        .rule("backbone.encoder.layer.*.intermediate", "bert.encoder.layer.*.intermediate.dense")
        .rule("backbone.encoder.layer.*.output", "bert.encoder.layer.*.output.dense")
        .rule("backbone.encoder.layer.*.norm", "bert.encoder.layer.*.output.LayerNorm")
        .rule("backbone.pooler.dense", "bert.pooler.dense")
        .optional("backbone.pooler")
        .rule("head.linear", "classifier")
        .rule("head.outputs", "qa_outputs")
        .rule("head.next_sentence", "cls.seq_relationship")
        .ignore("**.position_ids", "a constant that counts the positions");
    ["head", "head.masked_lm"]
        .into_iter()
        .fold(map, masked_lm_head)
        .tied("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight")
        .tied("cls.predictions.decoder.bias", "cls.predictions.bias")
}

fn masked_lm_head(map: KeyMap, at: &str) -> KeyMap {
    map.rule(&format!("{at}.transform.dense"), "cls.predictions.transform.dense")
        .rule(&format!("{at}.transform.norm"), "cls.predictions.transform.LayerNorm")
        .rule(&format!("{at}.bias"), "cls.predictions.bias")
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
            ("head.linear.weight", "classifier.weight"),
            ("head.next_sentence.weight", "cls.seq_relationship.weight"),
        ] {
            assert_eq!(map.to_file(path).as_deref(), Some(key));
            assert_eq!(map.to_path(key).as_deref(), Some(path));
        }
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
