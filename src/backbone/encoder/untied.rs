//! Masked-LM heads of BERT and its kin where `tie_word_embeddings` is false: the projection and its bias are the head's own.

use crate::backbone::config::ties_embeddings;
use crate::checkpoint::KeyMap;
use crate::head::MaskedLm;
use burn::tensor::Device;
use serde_json::{Map, Value};

/// `head` on vectors of `width`, with a projection of its own where a configuration with these other keys has one.
pub(super) fn projecting_if_untied(
    head: MaskedLm,
    extra: &Map<String, Value>,
    width: usize,
    (seed, device): (u64, &Device),
) -> MaskedLm {
    if ties_embeddings(extra) { head } else { head.projecting(width, seed, device) }
}

/// The table for that head: Transformers keeps the bias of tied embeddings, called `bias`, and does not read it.
pub(super) fn leaving_out(map: KeyMap, bias: &str, extra: &Map<String, Value>) -> KeyMap {
    if ties_embeddings(extra) { map } else { map.ignore(bias, "the bias of tied embeddings, which these are not") }
}
