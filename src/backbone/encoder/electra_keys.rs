//! The key map of Hugging Face's ELECTRA.

use super::bert_keys::encoder_key_map;
use crate::checkpoint::KeyMap;

/// The table for `ElectraModel` and its classification, multiple-choice, question-answering, generator and discriminator heads, as
/// Transformers names their parameters.
pub fn electra_key_map() -> KeyMap {
    encoder_key_map("electra")
        .rule("backbone.embeddings_project", "electra.embeddings_project")
        .rule("head.dense", "classifier.dense")
        .rule("head.linear", "classifier.out_proj")
        .rule_without("head.dense", "head.linear", "classifier")
        .rule("head.summary", "sequence_summary.summary")
        .rule("head.score", "classifier")
        .rule("head.outputs", "qa_outputs")
        .rule("head.detector.dense", "discriminator_predictions.dense")
        .rule("head.detector.output", "discriminator_predictions.dense_prediction")
        .rule("head.transform.dense", "generator_predictions.dense")
        .rule("head.transform.norm", "generator_predictions.LayerNorm")
        .rule("head.bias", "generator_lm_head.bias")
        .rule("head.decoder", "generator_lm_head")
        .tied("generator_lm_head.weight", "electra.embeddings.word_embeddings.weight")
}
