//! Images as patches, and the table of their positions.

use super::Sides;
use crate::nn::{Init, resize_bicubic};
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// `[batch, channels, height, width]` to one vector a patch, `[batch, rows, columns, channels * patch height * patch width]`.
/// What does not fill a patch at the right and lower edge is left out, as a convolution with that stride leaves it out.
pub(crate) fn patchify(pixels: Tensor<4>, patch: [usize; 2]) -> Tensor<4> {
    let [batch, channels, height, width] = pixels.dims();
    let [rows, columns] = [height / patch[0], width / patch[1]];
    let whole = match (rows * patch[0], columns * patch[1]) {
        (whole_height, whole_width) if (whole_height, whole_width) == (height, width) => pixels,
        (whole_height, whole_width) => pixels.narrow(2, 0, whole_height).narrow(3, 0, whole_width),
    };
    whole.reshape([batch, channels, rows, patch[0], columns, patch[1]]).permute([0, 2, 4, 1, 3, 5]).reshape([
        batch,
        rows,
        columns,
        channels * patch[0] * patch[1],
    ])
}

/// A linear map of patches: a convolution whose stride is its window, as one matrix product.
#[derive(Module, Debug)]
pub(crate) struct PatchProjection {
    /// `[hidden, channels, patch height, patch width]`, as files have it.
    pub(crate) weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
}

impl PatchProjection {
    pub(crate) fn new(channels: usize, hidden: usize, patch: Sides, bias: bool, init: &mut Init) -> Self {
        let [height, width] = patch.each();
        Self {
            weight: init.weight([hidden, channels, height, width]),
            bias: bias.then(|| Param::from_tensor(Tensor::zeros([hidden], init.device()))),
        }
    }

    /// Channels that it reads, then height and width of a patch.
    pub(crate) fn reads(&self) -> (usize, [usize; 2]) {
        let [_, channels, height, width] = self.weight.dims();
        (channels, [height, width])
    }

    /// `[batch, channels, height, width]` to `[batch, rows, columns, hidden]`.
    pub(crate) fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let [hidden, channels, height, width] = weight.dims();
        let [batch, rows, columns, size] = {
            let [batch, _, image_height, image_width] = pixels.dims();
            [batch, image_height / height, image_width / width, channels * height * width]
        };
        let patches = patchify(pixels, [height, width]).reshape([batch * rows * columns, size]);
        let mut output = patches.matmul(weight.reshape([hidden, size]).transpose());
        if let Some(bias) = &self.bias {
            output = output + bias.val().unsqueeze();
        }
        output.reshape([batch, rows, columns, hidden])
    }
}

/// The vectors of `first` class tokens and then of a grid of places, `[first + grid[0] * grid[1], hidden]`, for a grid of
/// another size: the places are resized bicubically, the class tokens stay (`interpolate_pos_encoding`).
pub(crate) fn positions(table: Tensor<2>, first: usize, grid: [usize; 2], to: [usize; 2]) -> Tensor<2> {
    if grid == to {
        return table;
    }
    let [_, hidden] = table.dims();
    let places = table.clone().narrow(0, first, grid[0] * grid[1]).reshape([grid[0], grid[1], hidden]);
    let places = resize_bicubic(places, to).reshape([to[0] * to[1], hidden]);
    match first {
        0 => places,
        _ => Tensor::cat(vec![table.narrow(0, 0, first), places], 0),
    }
}
