//! The key map of Hugging Face's RoBERTa, XLM-RoBERTa and CamemBERT.

use super::bert_keys::encoder_key_map;
use crate::checkpoint::KeyMap;

/// The table for `RobertaModel` and its classification, question-answering and masked-LM heads, as Transformers names
/// their parameters; XLM-RoBERTa's and CamemBERT's are the same.
///
/// Sequence classification has a dense layer, token classification has not: their last layers have different keys.
pub fn roberta_key_map() -> KeyMap {
    encoder_key_map("roberta")
        .rule("head.dense", "classifier.dense")
        .rule("head.linear", "classifier.out_proj")
        .rule_without("head.dense", "head.linear", "classifier")
        .rule("head.score", "classifier")
        .rule("head.outputs", "qa_outputs")
        .rule("head.transform.dense", "lm_head.dense")
        .rule("head.transform.norm", "lm_head.layer_norm")
        .rule("head.bias", "lm_head.bias")
        .rule("head.decoder", "lm_head.decoder")
        .tied("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight")
        .tied("lm_head.decoder.bias", "lm_head.bias")
}
