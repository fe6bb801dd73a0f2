use super::{Pooling, TextFeatures, features::token_at};
use crate::nn::Visible;
use burn::tensor::{Bool, Int, Tensor};

/// What flows between the stages of a network that reads one text a row.
#[derive(Clone, Debug)]
pub struct TextState {
    /// `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// True for real tokens, `[batch, seq]`.
    pub mask: Tensor<2, Bool>,
    /// Which document each place belongs to, as in [`TextInput`](super::TextInput); `None` where a row is one text.
    pub documents: Option<Tensor<2, Int>>,
    /// What a pooler made, `[batch, hidden]`; `None` before it and where there is none.
    pub pooler_output: Option<Tensor<2>>,
    /// The place of each row's last token, `[batch]`, where the network pools there by its own rule.
    pub last_token: Option<Tensor<1, Int>>,
}
crate::rows!(TextState { pooler_output, last_token } padded { hidden, mask, documents } by mask);

impl TextState {
    /// The state after the embeddings, of rows that are one text each: `hidden` is `[batch, seq, hidden]`, `mask` `[batch, seq]`,
    /// true for real tokens.
    pub fn new(hidden: Tensor<3>, mask: Tensor<2, Bool>) -> Self {
        Self::packed(hidden, mask, None)
    }

    /// As [`new`](Self::new), of rows that may be packed: `documents` is `[batch, seq]`, the number of each token's text.
    pub fn packed(hidden: Tensor<3>, mask: Tensor<2, Bool>, documents: Option<Tensor<2, Int>>) -> Self {
        Self { hidden, mask, documents, pooler_output: None, last_token: None }
    }

    /// What each place may look at.
    pub fn visible(&self) -> Visible {
        Visible::of(&self.mask, self.documents.as_ref())
    }

    /// What heads see of the last state; `token_embedding` is `[vocabulary, hidden]`.
    pub fn into_features(self, pooling: Pooling, token_embedding: Tensor<2>) -> TextFeatures {
        let Self { hidden, mask, pooler_output, last_token, .. } = self;
        let last = || last_token.map(|places| token_at(hidden.clone(), places));
        let pooler_output = pooler_output.or_else(last);
        TextFeatures { hidden, mask, pooler_output, pooling, token_embedding }
    }
}
