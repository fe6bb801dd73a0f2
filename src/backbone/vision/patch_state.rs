use crate::backbone::{Pooled, Pooling, Tokens, first_token};
use burn::tensor::{Bool, Tensor};

/// What flows between the stages of a network that reads an image as a sequence of patches.
#[derive(Clone, Debug)]
pub struct PatchState {
    /// Class tokens, then patches row by row, `[batch, tokens, hidden]`.
    pub hidden: Tensor<3>,
    /// What a pooler made, `[batch, width]`; `None` before it and where there is none.
    pub pooler_output: Option<Tensor<2>>,
}
crate::rows!(PatchState { hidden, pooler_output });

impl PatchState {
    /// The state after the embeddings: `[batch, tokens, hidden]`.
    pub fn new(hidden: Tensor<3>) -> Self {
        Self { hidden, pooler_output: None }
    }
}

/// Features of vision backbones that read patches.
#[derive(Clone, Debug)]
pub struct PatchFeatures {
    /// Class tokens, then patches row by row, `[batch, tokens, hidden]`.
    pub hidden: Tensor<3>,
    /// What the pooler made, `[batch, width]`; `None` where the backbone has none, then `pooling` says how to pool.
    pub pooler_output: Option<Tensor<2>>,
    /// How [`Pooled::pooled`] makes one vector a row; means are over patches.
    pub pooling: Pooling,
    /// Whether [`Pooled::pooled`] puts the mean of the patches beside what `pooling` gives, as DINOv2 classifies: twice as
    /// wide.
    pub with_mean: bool,
    /// How many tokens stand before the patches.
    pub class_tokens: usize,
}

impl PatchFeatures {
    /// The patches alone, `[batch, patches, hidden]`.
    pub fn patches(&self) -> Tensor<3> {
        let tokens = self.hidden.dims()[1];
        self.hidden.clone().narrow(1, self.class_tokens, tokens - self.class_tokens)
    }
}

impl Pooled for PatchFeatures {
    fn pooled(&self) -> Tensor<2> {
        let mean = || mean_token(self.patches());
        let pooled = match (&self.pooler_output, self.pooling) {
            (Some(output), Pooling::Pooler) => output.clone(),
            (_, Pooling::Mean) => mean(),
            _ => first_token(self.hidden.clone()),
        };
        if self.with_mean { Tensor::cat(vec![pooled, mean()], 1) } else { pooled }
    }
}

impl Tokens for PatchFeatures {
    fn hidden(&self) -> Tensor<3> {
        self.hidden.clone()
    }
    fn mask(&self) -> Option<Tensor<2, Bool>> {
        None
    }
}

/// `[batch, tokens, hidden]` to `[batch, hidden]`.
fn mean_token(hidden: Tensor<3>) -> Tensor<2> {
    let [batch, _, width] = hidden.dims();
    hidden.mean_dim(1).reshape([batch, width])
}
