use super::{ImageInput, PatchProjection, Sides, positions};
use crate::backbone::InputError;
use crate::nn::{Dropout, Init};
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// Sizes and settings of [`TokenEmbeddings`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenSizes {
    pub(crate) hidden: usize,
    pub(crate) channels: usize,
    /// Of the images that the position table is made for.
    pub(crate) image: Sides,
    pub(crate) patch: Sides,
    /// Whether there is a distillation token.
    pub(crate) distilled: bool,
    pub(crate) dropout: f64,
}

/// Class token, distillation token and patches, each with its position.
#[derive(Module, Debug)]
pub(crate) struct TokenEmbeddings {
    /// `[1, 1, hidden]`.
    cls_token: Param<Tensor<3>>,
    /// `[1, 1, hidden]`.
    distillation_token: Option<Param<Tensor<3>>>,
    patches: PatchProjection,
    /// `[1, tokens, hidden]`.
    position_embeddings: Param<Tensor<3>>,
    dropout: Dropout,
    /// Rows and columns of the position table.
    #[module(skip)]
    grid: [usize; 2],
}

impl TokenEmbeddings {
    pub(crate) fn new(sizes: TokenSizes, init: &mut Init) -> Self {
        let TokenSizes { hidden, channels, image, patch, distilled, dropout } = sizes;
        let grid = image.grid(patch);
        let tokens = 1 + usize::from(distilled) + grid[0] * grid[1];
        Self {
            cls_token: init.weight([1, 1, hidden]),
            distillation_token: distilled.then(|| init.weight([1, 1, hidden])),
            patches: PatchProjection::new(channels, hidden, patch, true, init),
            position_embeddings: init.weight([1, tokens, hidden]),
            dropout: Dropout::new(dropout),
            grid,
        }
    }

    /// Tokens before the patches.
    pub(crate) fn class_tokens(&self) -> usize {
        1 + usize::from(self.distillation_token.is_some())
    }

    /// Tokens of an image of the configured size.
    pub(crate) fn tokens(&self) -> usize {
        self.class_tokens() + self.grid[0] * self.grid[1]
    }

    pub(crate) fn check(&self, input: &ImageInput) -> Result<(), InputError> {
        let (channels, patch) = self.patches.reads();
        input.check(channels, patch)
    }

    /// `[batch, channels, height, width]` to `[batch, tokens, hidden]`.
    pub(crate) fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = self.patches.forward(pixels);
        let [batch, rows, columns, hidden] = patches.dims();
        let class_tokens = [Some(&self.cls_token), self.distillation_token.as_ref()].into_iter().flatten();
        let mut tokens: Vec<_> = class_tokens.map(|token| token.val().expand([batch, 1, hidden])).collect();
        let table = self.position_embeddings.val().squeeze_dim(0);
        let table = positions(table, tokens.len(), self.grid, [rows, columns]);
        tokens.push(patches.reshape([batch, rows * columns, hidden]));
        self.dropout.forward(Tensor::cat(tokens, 1) + table.unsqueeze())
    }
}
