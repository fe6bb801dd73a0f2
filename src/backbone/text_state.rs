use super::{Pooling, TextFeatures};
use burn::tensor::{Bool, Tensor};

/// What flows between the stages of a network that reads one text a row.
#[derive(Clone, Debug)]
pub struct TextState {
    /// `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// True for real tokens, `[batch, seq]`.
    pub mask: Tensor<2, Bool>,
    /// What a pooler made, `[batch, hidden]`; `None` before it and where there is none.
    pub pooler_output: Option<Tensor<2>>,
}
crate::rows!(TextState { pooler_output } padded { hidden, mask } by mask);

impl TextState {
    /// The state after the embeddings.
    pub fn new(hidden: Tensor<3>, mask: Tensor<2, Bool>) -> Self {
        Self { hidden, mask, pooler_output: None }
    }

    /// What heads see of the last state; `token_embedding` is `[vocabulary, hidden]`.
    pub fn into_features(self, pooling: Pooling, token_embedding: Tensor<2>) -> TextFeatures {
        let Self { hidden, mask, pooler_output } = self;
        TextFeatures { hidden, mask, pooler_output, pooling, token_embedding }
    }
}
