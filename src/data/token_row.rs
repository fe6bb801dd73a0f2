//! What a tokenizer makes of texts.

use tokenizers::Encoding;

/// The tokens of one text or pair; the four lists are equally long. In a row of one's own making a list that is left empty
/// stands for segment 0, no frame, and words of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRow {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment ids: 0 for the first text, 1 for the second where the tokenizer tells them apart.
    pub type_ids: Vec<u32>,
    /// Whether the tokenizer added the token as a frame around the texts (`[CLS]`, `[SEP]`).
    pub special: Vec<bool>,
    /// The word that the token is part of, counted within its text; `None` for special tokens.
    pub word_ids: Vec<Option<u32>>,
    /// Whether the text was longer, so that its end is missing.
    pub truncated: bool,
}

impl TokenRow {
    /// How many tokens the row has.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the row has no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl From<Encoding> for TokenRow {
    fn from(encoding: Encoding) -> Self {
        Self {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
            special: encoding.get_special_tokens_mask().iter().map(|mask| *mask != 0).collect(),
            word_ids: encoding.get_word_ids().to_vec(),
            truncated: false,
        }
    }
}

/// Encoded texts and what the length limit did to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encodings {
    /// One row a text, in order.
    pub rows: Vec<TokenRow>,
    /// How many rows were cut to the limit.
    pub truncated: usize,
    /// The tokens of the longest row before cutting, special tokens included.
    pub longest: usize,
}
