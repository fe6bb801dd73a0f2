use super::Seq2SeqState;
use crate::backbone::features::{mean_pool, token_at};
use crate::backbone::{Pooled, Pooling, Tied, Tokens, first_token};
use burn::tensor::{Bool, Int, Tensor};

/// Features of encoder-decoders. Heads read the decoder's side: [`Tokens::hidden`] is the decoder's.
#[derive(Clone, Debug)]
pub struct Seq2SeqFeatures {
    /// The decoder's last hidden states, `[batch, target, hidden]`.
    pub hidden: Tensor<3>,
    /// True for the decoder's real tokens, `[batch, target]`.
    pub mask: Tensor<2, Bool>,
    /// The encoder's last hidden states, `[batch, source, hidden]`.
    pub memory: Tensor<3>,
    /// True for the encoder's real places, `[batch, source]`.
    pub memory_mask: Tensor<2, Bool>,
    /// The place of each row's last end-of-sequence token, `[batch]`, where `pooling` is [`Pooling::Eos`].
    pub last_eos: Option<Tensor<1, Int>>,
    /// How [`Pooled::pooled`] makes one vector of the decoder's hidden states; there is no pooler, and [`Pooling::Pooler`]
    /// reads the first token.
    pub pooling: Pooling,
    /// The table of the decoder's tokens, `[vocabulary, hidden]`.
    pub token_embedding: Tensor<2>,
}

impl Seq2SeqFeatures {
    /// What heads see of the last state; `token_embedding` is `[vocabulary, hidden]`.
    pub(super) fn new(state: Seq2SeqState, pooling: Pooling, token_embedding: Tensor<2>) -> Self {
        let Seq2SeqState { source, target, last_eos } = state;
        // The last stage is the decoder's; a state from before it has the encoder's alone.
        let hidden = target.hidden.unwrap_or_else(|| source.hidden.clone());
        let (memory, memory_mask) = (source.hidden, source.mask);
        Self { hidden, mask: target.mask, memory, memory_mask, last_eos, pooling, token_embedding }
    }
}

impl Pooled for Seq2SeqFeatures {
    fn pooled(&self) -> Tensor<2> {
        match (&self.last_eos, self.pooling) {
            (Some(places), Pooling::Eos) => token_at(self.hidden.clone(), places.clone()),
            (_, Pooling::Mean) => mean_pool(self.hidden.clone(), self.mask.clone()),
            _ => first_token(self.hidden.clone()),
        }
    }
}

impl Tokens for Seq2SeqFeatures {
    fn hidden(&self) -> Tensor<3> {
        self.hidden.clone()
    }
    fn mask(&self) -> Option<Tensor<2, Bool>> {
        Some(self.mask.clone())
    }
}

impl Tied for Seq2SeqFeatures {
    fn token_embedding(&self) -> Tensor<2> {
        self.token_embedding.clone()
    }
}
