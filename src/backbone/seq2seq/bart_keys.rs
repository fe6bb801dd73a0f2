//! The key map of Hugging Face's BART and Marian.

use super::BartConfig;
use crate::checkpoint::KeyMap;

/// The table for `BartModel`, `MarianModel` and their heads, as Transformers names their parameters.
///
/// Where the embeddings are tied, files may hold the shared table under any of its names, and copies beside it.
pub fn bart_key_map(config: &BartConfig) -> KeyMap {
    let map = KeyMap::new("model")
        .rule("backbone.encoder.embeddings", "model.encoder")
        .rule("backbone.encoder.layers", "model.encoder.layers")
        .rule("backbone.decoder.embeddings", "model.decoder")
        .rule("backbone.decoder.layers", "model.decoder.layers")
        .rule("head.lm_head", "lm_head")
        .rule("head.final_logits_bias.weight", "final_logits_bias")
        .rule("head.dense", "classification_head.dense")
        .rule("head.linear", "classification_head.out_proj")
        .rule("head.outputs", "qa_outputs")
        .constant("head.final_logits_bias")
        .ignore("model.*.version", "a number that fairseq left");
    let map = match config.is_marian() {
        true => map
            .unsaved("backbone.encoder.embeddings.embed_positions")
            .unsaved("backbone.decoder.embeddings.embed_positions"),
        false => map,
    };
    with_tokens(map, config)
}

fn with_tokens(map: KeyMap, config: &BartConfig) -> KeyMap {
    const SHARED: &str = "model.shared.weight";
    const SIDES: [&str; 2] = ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"];
    const HEAD: &str = "lm_head.weight";
    if config.has_one_table() {
        let map = map.rule("backbone.embed_tokens", "model.shared");
        return SIDES.into_iter().chain([HEAD]).fold(map, |map, copy| map.tied(copy, SHARED));
    }
    let map = map
        .rule("backbone.embed_tokens.encoder", "model.encoder.embed_tokens")
        .rule("backbone.embed_tokens.decoder", "model.decoder.embed_tokens");
    let map = match config.has_unread_table() {
        true => map.rule("backbone.embed_tokens.unread", "model.shared").constant("backbone.embed_tokens.unread"),
        false => map,
    };
    if config.tie_word_embeddings { map.tied(HEAD, SIDES[1]) } else { map }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(config: serde_json::Value) -> KeyMap {
        let map = bart_key_map(&serde_json::from_value(config).expect("a configuration"));
        map.check().expect("no contradiction");
        map
    }

    #[test]
    fn each_module_maps_both_ways() {
        let map = map(json!({ "vocab_size": 9 }));
        for (path, key) in [
            ("backbone.embed_tokens.weight", "model.shared.weight"),
            ("backbone.encoder.embeddings.layernorm_embedding.bias", "model.encoder.layernorm_embedding.bias"),
            ("backbone.decoder.embeddings.embed_positions.weight", "model.decoder.embed_positions.weight"),
            ("backbone.encoder.layers.11.self_attn.k_proj.bias", "model.encoder.layers.11.self_attn.k_proj.bias"),
            (
                "backbone.decoder.layers.1.encoder_attn_layer_norm.bias",
                "model.decoder.layers.1.encoder_attn_layer_norm.bias",
            ),
            ("head.final_logits_bias.weight", "final_logits_bias"),
            ("head.linear.weight", "classification_head.out_proj.weight"),
        ] {
            assert_eq!(map.to_file(path).as_deref(), Some(key));
            assert_eq!(map.to_path(key).as_deref(), Some(path));
        }
    }

    #[test]
    fn every_table_of_tokens_has_one_parameter() {
        let marian = json!({ "model_type": "marian", "vocab_size": 9, "share_encoder_decoder_embeddings": false });
        let own = map(marian);
        assert_eq!(
            own.to_file("backbone.embed_tokens.decoder.weight").as_deref(),
            Some("model.decoder.embed_tokens.weight")
        );
        assert_eq!(own.tied_keys(), [("lm_head.weight".into(), "model.decoder.embed_tokens.weight".into())]);
        let untied = map(json!({ "vocab_size": 9, "tie_word_embeddings": false }));
        assert_eq!(untied.to_file("backbone.embed_tokens.unread.weight").as_deref(), Some("model.shared.weight"));
        assert!(untied.tied_keys().is_empty());
        assert_eq!(map(json!({ "vocab_size": 9 })).tied_keys().len(), 3);
    }
}
