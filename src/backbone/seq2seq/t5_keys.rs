//! The key map of Hugging Face's T5.

use super::T5Config;
use crate::checkpoint::KeyMap;

/// The table for `T5Model`, `T5ForConditionalGeneration`, `T5ForSequenceClassification` and `T5ForQuestionAnswering`, as
/// Transformers names their parameters. Files of the classifier alone have the prefix `transformer`.
pub fn t5_key_map(config: &T5Config) -> KeyMap {
    let map = encoder_keys(config)
        .rule("head.lm_head", "lm_head")
        .rule("head.dense", "classification_head.dense")
        .rule("head.linear", "classification_head.out_proj")
        .rule("head.outputs", "qa_outputs")
        .tied("transformer.decoder.embed_tokens.weight", SHARED)
        .tied("lm_head.weight", SHARED)
        .ignore(
            "transformer.decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
            "the first release had it and did not read it",
        );
    stack(map, "decoder", config)
        .rule("backbone.decoder.block.*.cross_attention", "transformer.decoder.block.*.layer.1.EncDecAttention")
        .rule("backbone.decoder.block.*.cross_attention_norm", "transformer.decoder.block.*.layer.1.layer_norm")
}

/// The table for `T5EncoderModel` and `T5ForTokenClassification`; of a whole T5's file the decoder is left unread.
pub fn t5_encoder_key_map(config: &T5Config) -> KeyMap {
    encoder_keys(config)
        .rule("head.linear", "classifier")
        .ignore("transformer.decoder.**", "the decoder, which is not here")
        .ignore("lm_head.weight", "the decoder's projection")
}

const SHARED: &str = "transformer.shared.weight";

fn encoder_keys(config: &T5Config) -> KeyMap {
    let map = KeyMap::new("transformer")
        .written_bare()
        .prefixed_where("head.linear")
        .rule("backbone.shared", "transformer.shared");
    stack(map, "encoder", config).tied("transformer.encoder.embed_tokens.weight", SHARED)
}

/// What both sides have; the feed-forward layer is a block's last.
fn stack(map: KeyMap, side: &str, config: &T5Config) -> KeyMap {
    let last = if side == "encoder" { 1 } else { 2 };
    let dense = format!("layer.{last}.DenseReluDense");
    let gated = config.is_gated();
    let wi = format!("{dense}.{}", if gated { "wi_0" } else { "wi" });
    let blocks = [
        ("attention", "layer.0.SelfAttention".to_string()),
        ("attention_norm", "layer.0.layer_norm".into()),
        ("feed_forward.wi", wi),
        ("feed_forward.wo", format!("{dense}.wo")),
        ("feed_forward_norm", format!("layer.{last}.layer_norm")),
    ];
    let gate = gated.then(|| ("feed_forward.gate", format!("{dense}.wi_1")));
    let map = blocks.into_iter().chain(gate).fold(map, |map, (path, key)| {
        map.rule(&format!("backbone.{side}.block.*.{path}"), &format!("transformer.{side}.block.*.{key}"))
    });
    map.rule(
        &format!("backbone.{side}.ends.positions.relative_attention_bias"),
        &format!("transformer.{side}.block.0.layer.0.SelfAttention.relative_attention_bias"),
    )
    .rule(&format!("backbone.{side}.ends.last.final_layer_norm"), &format!("transformer.{side}.final_layer_norm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_maps_both_ways() {
        let gated = T5Config { feed_forward_proj: "gated-gelu".into(), ..T5Config::default() };
        t5_key_map(&T5Config::default()).check().expect("no contradiction");
        t5_encoder_key_map(&gated).check().expect("no contradiction");
        let map = t5_key_map(&gated);
        map.check().expect("no contradiction");
        for (path, key) in [
            ("backbone.shared.weight", "shared.weight"),
            ("backbone.encoder.block.11.attention.q.weight", "encoder.block.11.layer.0.SelfAttention.q.weight"),
            (
                "backbone.encoder.ends.positions.relative_attention_bias.weight",
                "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            ),
            ("backbone.encoder.block.1.feed_forward.wi.weight", "encoder.block.1.layer.1.DenseReluDense.wi_0.weight"),
            ("backbone.decoder.block.1.feed_forward.gate.weight", "decoder.block.1.layer.2.DenseReluDense.wi_1.weight"),
            ("backbone.decoder.block.0.cross_attention.k.weight", "decoder.block.0.layer.1.EncDecAttention.k.weight"),
            ("backbone.decoder.block.0.cross_attention_norm.weight", "decoder.block.0.layer.1.layer_norm.weight"),
            ("backbone.decoder.ends.last.final_layer_norm.weight", "decoder.final_layer_norm.weight"),
        ] {
            let prefixed = format!("transformer.{key}");
            assert_eq!(map.to_file(path).as_deref(), Some(prefixed.as_str()));
            assert_eq!(map.to_path(&prefixed).as_deref(), Some(path));
            assert_eq!(map.to_written(path).as_deref(), Some(key));
            let of_classifier = map.of_module([path, "head.linear.weight"]);
            assert_eq!(of_classifier.to_written(path), Some(prefixed));
        }
    }
}
