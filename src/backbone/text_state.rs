use super::{Pooling, TextFeatures, features::token_at};
use burn::tensor::{Bool, Int, Tensor};

/// What flows between the stages of a network that reads one text a row.
#[derive(Clone, Debug)]
pub struct TextState {
    /// `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// True for real tokens, `[batch, seq]`.
    pub mask: Tensor<2, Bool>,
    /// What a pooler made, `[batch, hidden]`; `None` before it and where there is none.
    pub pooler_output: Option<Tensor<2>>,
    /// The place of each row's last token, `[batch]`, where the network pools there by its own rule.
    pub last_token: Option<Tensor<1, Int>>,
}
crate::rows!(TextState { pooler_output, last_token } padded { hidden, mask } by mask);

impl TextState {
    /// The state after the embeddings.
    pub fn new(hidden: Tensor<3>, mask: Tensor<2, Bool>) -> Self {
        Self { hidden, mask, pooler_output: None, last_token: None }
    }

    /// What heads see of the last state; `token_embedding` is `[vocabulary, hidden]`.
    pub fn into_features(self, pooling: Pooling, token_embedding: Tensor<2>) -> TextFeatures {
        let Self { hidden, mask, pooler_output, last_token } = self;
        let last = || last_token.map(|places| token_at(hidden.clone(), places));
        let pooler_output = pooler_output.or_else(last);
        TextFeatures { hidden, mask, pooler_output, pooling, token_embedding }
    }
}
