//! Encoders: every token sees every other one.

mod bert;
mod bert_config;
mod bert_keys;
mod roberta;
mod roberta_config;
mod roberta_keys;

pub use bert::Bert;
pub use bert_config::BertConfig;
pub use bert_keys::bert_key_map;
pub use roberta::Roberta;
pub use roberta_config::RobertaConfig;
pub use roberta_keys::roberta_key_map;
