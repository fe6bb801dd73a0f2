//! Encoders: every token sees every other one.

mod bert;
mod bert_config;
mod bert_keys;

pub use bert::Bert;
pub use bert_config::BertConfig;
pub use bert_keys::bert_key_map;
