//! Position tables.

use crate::nn::{Buffer, Embedding, Init};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A table of positions, learned or fixed.
#[derive(Module, Debug)]
pub(super) enum Positions {
    Learned(Embedding),
    Fixed(Buffer<2>),
}

impl Positions {
    pub(super) fn learned(entries: usize, hidden: usize, init: &mut Init) -> Self {
        Self::Learned(init.embedding(entries, hidden, None))
    }

    /// [`sinusoids`] of the timescales `10000^(2 k / hidden)`, as Transformers' `models/marian/modeling_marian.py` has them.
    pub(super) fn marian(entries: usize, hidden: usize, device: &Device) -> Self {
        let timescale = |k: usize| 10000f64.powf(2.0 * k as f64 / hidden as f64);
        Self::Fixed(Buffer::new(sinusoids(entries, hidden, timescale, device)))
    }

    /// `[1, seq, hidden]`: the entries from `first` on.
    pub(super) fn range(&self, first: usize, seq: usize) -> Tensor<3> {
        match self {
            Self::Learned(table) => {
                let places = first as i64..(first + seq) as i64;
                table.forward(Tensor::<1, Int>::arange(places, &table.weight.val().device()).unsqueeze())
            }
            Self::Fixed(table) => table.val().narrow(0, first, seq).unsqueeze(),
        }
    }
}

/// `[entries, hidden]`: sines of position over timescale, then cosines ([Vaswani et al.,
/// 2017](https://arxiv.org/abs/1706.03762), not interleaved). Of an odd width the sines have one more.
pub(super) fn sinusoids(entries: usize, hidden: usize, timescale: impl Fn(usize) -> f64, device: &Device) -> Tensor<2> {
    let sines = hidden.div_ceil(2);
    let value = |position: usize, column: usize| match column.checked_sub(sines) {
        None => (position as f64 / timescale(column)).sin(),
        Some(column) => (position as f64 / timescale(column)).cos(),
    };
    let values = (0..entries).flat_map(|position| (0..hidden).map(move |column| (position, column)));
    let values: Vec<f32> = values.map(|(position, column)| value(position, column) as f32).collect();
    Tensor::from_data(TensorData::new(values, [entries, hidden]), device)
}
