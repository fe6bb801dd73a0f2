//! Attention within windows of a map.

use crate::nn::{Dropout, Init, Linear, linear, merge_heads, softmax, split_heads};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// What is added to a score of two places that are beside one another only because the map was shifted around its edge.
const APART: f32 = -100.0;

/// How a map of patches is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Windows {
    /// Height and width of a window.
    pub(super) size: usize,
    /// By how many places the map is shifted up and left before.
    pub(super) shift: usize,
}

impl Windows {
    /// `[batch, height, width, channels]` to `[batch * windows, size * size, channels]`, padded with zeros at the right and
    /// lower edge to whole windows.
    fn cut(self, map: Tensor<4>) -> Tensor<3> {
        let [batch, height, width, channels] = map.dims();
        let [rows, columns] = self.count(height, width);
        let map = pad(map, [rows * self.size, columns * self.size]);
        let map = if self.shift > 0 { roll(map, self.shift, self.shift) } else { map };
        map.reshape([batch, rows, self.size, columns, self.size, channels]).permute([0, 1, 3, 2, 4, 5]).reshape([
            batch * rows * columns,
            self.size * self.size,
            channels,
        ])
    }

    /// Undoes [`cut`](Self::cut) for a map of this height and width.
    fn join(self, windows: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
        let [rows, columns] = self.count(height, width);
        let [all, _, channels] = windows.dims();
        let (padded_height, padded_width) = (rows * self.size, columns * self.size);
        let map = windows
            .reshape([all / (rows * columns), rows, columns, self.size, self.size, channels])
            .permute([0, 1, 3, 2, 4, 5])
            .reshape([all / (rows * columns), padded_height, padded_width, channels]);
        let map = match self.shift {
            0 => map,
            shift => roll(map, padded_height - shift, padded_width - shift),
        };
        match (padded_height, padded_width) == (height, width) {
            true => map,
            false => map.narrow(1, 0, height).narrow(2, 0, width),
        }
    }

    /// Windows below and beside one another.
    fn count(self, height: usize, width: usize) -> [usize; 2] {
        [height.div_ceil(self.size), width.div_ceil(self.size)]
    }

    /// What is added to the scores of each window's places, `[windows, 1, size * size, size * size]`; `None` without shift.
    fn apart(self, height: usize, width: usize, device: &Device) -> Option<Tensor<4>> {
        if self.shift == 0 {
            return None;
        }
        let [rows, columns] = self.count(height, width);
        let region = |place: usize, count: usize| {
            let end = count * self.size;
            usize::from(place >= end - self.size) + usize::from(place >= end - self.shift)
        };
        let area = self.size * self.size;
        let mut values = Vec::with_capacity(rows * columns * area * area);
        for window in 0..rows * columns {
            let place = |index: usize| {
                let (row, column) = (window / columns * self.size, window % columns * self.size);
                (region(row + index / self.size, rows), region(column + index % self.size, columns))
            };
            let regions: Vec<_> = (0..area).map(place).collect();
            let added = |one, other| if one == other { 0.0 } else { APART };
            values.extend(regions.iter().flat_map(|one| regions.iter().map(move |other| added(one, other))));
        }
        Some(Tensor::from_data(TensorData::new(values, [rows * columns, 1, area, area]), device))
    }
}

/// Zeros at the lower and right edge of `[batch, height, width, channels]`, up to these height and width.
pub(super) fn pad(map: Tensor<4>, to: [usize; 2]) -> Tensor<4> {
    let [batch, height, width, channels] = map.dims();
    let device = map.device().inner();
    let mut map = map;
    if to[0] > height {
        map = Tensor::cat(vec![map, Tensor::zeros([batch, to[0] - height, width, channels], &device)], 1);
    }
    if to[1] > width {
        map = Tensor::cat(vec![map, Tensor::zeros([batch, to[0], to[1] - width, channels], &device)], 2);
    }
    map
}

/// Moves `[batch, height, width, channels]` up and left; what leaves one edge comes in at the other.
fn roll(map: Tensor<4>, up: usize, left: usize) -> Tensor<4> {
    let [_, height, width, _] = map.dims();
    let turn = |map: Tensor<4>, axis: usize, by: usize, size: usize| {
        Tensor::cat(vec![map.clone().narrow(axis, by, size - by), map.narrow(axis, 0, by)], axis)
    };
    turn(turn(map, 1, up, height), 2, left, width)
}

/// Attention of the places of a window, with a bias for each distance between two of them.
#[derive(Module, Debug)]
pub(super) struct WindowAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// `[(2 * size - 1)^2, heads]`.
    relative_position_bias_table: Param<Tensor<2>>,
    dropout: Dropout,
    heads: usize,
    size: usize,
}

impl WindowAttention {
    pub(super) fn new(width: usize, heads: usize, size: usize, bias: bool, dropout: f64, init: &mut Init) -> Self {
        let [query, key, value] = [(); 3].map(|()| init.linear_with(width, width, bias));
        let distances = (2 * size - 1) * (2 * size - 1);
        Self {
            query,
            key,
            value,
            output: init.linear(width, width),
            relative_position_bias_table: Param::from_tensor(Tensor::zeros([distances, heads], init.device())),
            dropout: Dropout::new(dropout),
            heads,
            size,
        }
    }

    /// `[batch, height, width, channels]`, unchanged; `shift` is that of its windows.
    pub(super) fn forward(&self, map: Tensor<4>, shift: usize) -> Tensor<4> {
        let [_, height, width, _] = map.dims();
        let windows = Windows { size: self.size, shift };
        let hidden = windows.cut(map);
        let [query, key, value] =
            [&self.query, &self.key, &self.value].map(|layer| split_heads(linear(layer, hidden.clone()), self.heads));
        let head_width = query.dims()[3];
        let mut scores = query.matmul(key.swap_dims(2, 3)) / (head_width as f64).sqrt() + self.bias();
        if let Some(apart) = windows.apart(height, width, &scores.device().inner()) {
            let [count, _, area, _] = apart.dims();
            let [all, heads, ..] = scores.dims();
            let by_image = scores.reshape([all / count, count, heads, area, area]);
            scores = (by_image + apart.unsqueeze::<5>()).reshape([all, heads, area, area]);
        }
        let mixed = merge_heads(self.dropout.forward(softmax(scores)).matmul(value));
        windows.join(linear(&self.output, mixed), [height, width])
    }

    /// `[1, heads, size * size, size * size]`.
    fn bias(&self) -> Tensor<4> {
        let (size, table) = (self.size as i64, self.relative_position_bias_table.val());
        let area = self.size * self.size;
        let places: Vec<_> = (0..size * size).map(|place| (place / size, place % size)).collect();
        let distance =
            |from: (i64, i64), to: (i64, i64)| (from.0 - to.0 + size - 1) * (2 * size - 1) + from.1 - to.1 + size - 1;
        let index: Vec<i64> =
            places.iter().flat_map(|from| places.iter().map(move |to| distance(*from, *to))).collect();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [area * area]), &table.device().inner());
        table.select(0, index).reshape([1, area, area, self.heads]).permute([0, 3, 1, 2])
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn cut_windows_join_again_with_any_shift() {
        let device = Device::flex();
        for (size, shift, height, width) in [(2, 0, 4, 6), (3, 1, 6, 6), (4, 2, 5, 7), (3, 1, 3, 8)] {
            let shape = [2, height, width, 2];
            let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|value| value as f32).collect();
            let map = Tensor::<4>::from_data(TensorData::new(values, shape), &device);
            let windows = Windows { size, shift };
            let joined = windows.join(windows.cut(map.clone()), [height, width]);
            assert_eq!(joined.into_data(), map.into_data(), "{windows:?}");
        }
    }

    #[test]
    fn only_places_of_one_region_see_one_another() {
        let windows = Windows { size: 2, shift: 1 };
        let apart = windows.apart(4, 4, &Device::flex()).expect("shifted");
        let values: Vec<f32> = apart.into_data().iter::<f32>().collect();
        // The first window is whole; the last one holds four corners that are not neighbours.
        assert!(values[..16].iter().all(|value| *value == 0.0));
        let last: Vec<usize> = (0..16).filter(|at| values[48 + at] == 0.0).collect();
        assert_eq!(last, [0, 5, 10, 15]);
    }
}
