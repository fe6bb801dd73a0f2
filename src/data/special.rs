//! The special tokens of a tokenizer and their ids.

use serde_json::Value;
use tokenizers::Tokenizer;

/// The ids of the special tokens that a tokenizer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpecialIds {
    pub(crate) pad: Option<u32>,
    pub(crate) mask: Option<u32>,
    pub(crate) cls: Option<u32>,
    pub(crate) sep: Option<u32>,
    pub(crate) unk: Option<u32>,
}

impl SpecialIds {
    /// Looks each token up under the name that one of `configs` gives it, else under its usual names.
    ///
    /// `configs` are `tokenizer_config.json` and `special_tokens_map.json`, where a name is a string or `{"content": ..}`.
    pub(crate) fn find(tokenizer: &Tokenizer, configs: &[Value]) -> Self {
        let find = |key: &str, usual: [&str; 2]| {
            let given = configs.iter().filter_map(|config| name(config.get(key)?));
            given.chain(usual).find_map(|name| tokenizer.token_to_id(name))
        };
        Self {
            pad: find("pad_token", ["[PAD]", "<pad>"]),
            mask: find("mask_token", ["[MASK]", "<mask>"]),
            cls: find("cls_token", ["[CLS]", "<s>"]),
            sep: find("sep_token", ["[SEP]", "</s>"]),
            unk: find("unk_token", ["[UNK]", "<unk>"]),
        }
    }
}

fn name(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}
