use super::MaskedIds;
use burn::tensor::{Bool, Int, Tensor};

/// What flows between the stages of an encoder-decoder: the encoder's hidden states, then the decoder's beside them.
#[derive(Clone, Debug)]
pub struct Seq2SeqState {
    /// What the encoder has made so far.
    pub source: Memory,
    /// What the decoder reads and has made so far.
    pub target: Target,
    /// The place of each row's last end-of-sequence token in the source, `[batch]`, where the pooling reads it.
    pub last_eos: Option<Tensor<1, Int>>,
}
crate::rows!(Seq2SeqState { source, target, last_eos });

/// The encoder's side.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `[batch, source, hidden]`.
    pub hidden: Tensor<3>,
    /// True for real places, `[batch, source]`.
    pub mask: Tensor<2, Bool>,
}
crate::rows!(Memory {} padded { hidden, mask } by mask);

/// The decoder's side.
#[derive(Clone, Debug)]
pub struct Target {
    /// Token ids, `[batch, target]`.
    pub ids: Tensor<2, Int>,
    /// True for real tokens, `[batch, target]`.
    pub mask: Tensor<2, Bool>,
    /// `[batch, target, hidden]`; `None` until the decoder has embedded its tokens.
    pub hidden: Option<Tensor<3>>,
}
crate::rows!(Target {} padded { ids, mask, hidden } by mask);

impl Seq2SeqState {
    /// The state after the encoder's embeddings: `hidden` is `[batch, source, hidden]`, `mask` `[batch, source]`.
    pub fn new(hidden: Tensor<3>, mask: Tensor<2, Bool>, target: MaskedIds) -> Self {
        let MaskedIds { ids, mask: target_mask } = target;
        let target = Target { ids, mask: target_mask, hidden: None };
        Self { source: Memory { hidden, mask }, target, last_eos: None }
    }

    /// The next hidden states of the decoder, once it has some.
    pub(super) fn decode(mut self, layer: impl FnOnce(Tensor<3>, &Tensor<2, Bool>, &Memory) -> Tensor<3>) -> Self {
        let hidden = self.target.hidden.take();
        self.target.hidden = hidden.map(|hidden| layer(hidden, &self.target.mask, &self.source));
        self
    }
}
