//! RoBERTa's configuration file.

use super::BertConfig;
use crate::backbone::config::ensure;
use crate::checkpoint::CheckpointError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `config.json` of RoBERTa, XLM-RoBERTa and CamemBERT: BERT's fields, with a padding id of 1 where the file does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "BertConfig")]
pub struct RobertaConfig(BertConfig);

impl TryFrom<Map<String, Value>> for RobertaConfig {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, serde_json::Error> {
        for (field, value) in [("model_type", Value::from("roberta")), ("pad_token_id", 1.into())] {
            fields.entry(field).or_insert(value);
        }
        serde_json::from_value(fields.into()).map(Self)
    }
}

impl From<RobertaConfig> for BertConfig {
    fn from(config: RobertaConfig) -> Self {
        config.0
    }
}

impl RobertaConfig {
    /// The fields, which are BERT's.
    pub fn fields(&self) -> &BertConfig {
        &self.0
    }

    /// The padding id, past which positions are counted.
    pub(super) fn padding(&self) -> usize {
        self.0.pad_token_id.unwrap_or(1)
    }

    /// Longest input in tokens: the position table without the places of padding and before.
    pub fn max_length(&self) -> usize {
        self.0.max_position_embeddings.saturating_sub(self.padding() + 1)
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let BertConfig { model_type, max_position_embeddings, .. } = &self.0;
        let known = ["roberta", "xlm-roberta", "camembert"].contains(&model_type.as_str());
        ensure(known, "model_type", model_type, "roberta, xlm-roberta or camembert")?;
        ensure(self.0.pad_token_id.is_some(), "pad_token_id", "null", "an id of the vocabulary")?;
        let supported = "more than pad_token_id + 1, for positions are counted from there";
        ensure(self.max_length() > 0, "max_position_embeddings", max_position_embeddings, supported)?;
        self.0.check_fields()
    }
}
