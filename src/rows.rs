//! [`Rows`]: a bundle of tensors whose first axis is the batch row.
//!
//! One traversal of the bundle gives everything the trainer does with it: counting and selecting rows, lifting onto an
//! autodiff device, and taking rows apart into [`Record`]s and putting them together again for the cache.

use burn::tensor::{Bool, DType, Device, Float, Int, Tensor, TensorData};
use half::bf16;
use std::fmt::Debug;

/// Sees every tensor of a bundle, in a fixed order.
pub trait RowsVisitor {
    /// A float tensor, `[rows, ..]`.
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>);
    /// An integer tensor, `[rows, ..]`.
    fn int<const D: usize>(&mut self, tensor: &mut Tensor<D, Int>);
    /// A boolean tensor, `[rows, ..]`.
    fn bool<const D: usize>(&mut self, tensor: &mut Tensor<D, Bool>);
    /// Says that the tensors that follow are padded at the end of axis 1, where this mask `[rows, seq]` is false; `None`: that
    /// they are not.
    fn padded(&mut self, _mask: Option<&Tensor<2, Bool>>) {}
}

/// A bundle of tensors whose axis 0 is the batch row. Implement it with [`rows!`](crate::rows!).
///
/// The tensors and their order must be the same for every value of the type: a cached row is put back by position.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a bundle of batch rows",
    note = "write `rows!({Self} {{ field, .. }})` below the struct"
)]
pub trait Rows: Clone + Debug + Send + 'static {
    /// Hands every tensor to the visitor, in a fixed order.
    fn each<V: RowsVisitor>(&mut self, visitor: &mut V);
}

/// Implements [`Rows`](crate::rows::Rows) for a struct, naming its tensor fields.
///
/// `rows!(State { a, b })`, or, where some fields are padded at the end of axis 1 and a boolean mask `[rows, seq]` says
/// where rows end: `rows!(State { pooled } padded { hidden, mask } by mask)`. Fields that are padded by another mask go into
/// a bundle of their own, which is a field like any other.
#[macro_export]
macro_rules! rows {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::rows::Rows for $type {
            fn each<V: $crate::rows::RowsVisitor>(&mut self, visitor: &mut V) {
                $( $crate::rows::Rows::each(&mut self.$field, visitor); )*
                let _ = visitor;
            }
        }
    };
    ($type:ty { $($field:ident),* $(,)? } padded { $($padded:ident),* $(,)? } by $mask:ident) => {
        impl $crate::rows::Rows for $type {
            fn each<V: $crate::rows::RowsVisitor>(&mut self, visitor: &mut V) {
                $( $crate::rows::Rows::each(&mut self.$field, visitor); )*
                let mask = self.$mask.clone();
                visitor.padded(Some(&mask));
                $( $crate::rows::Rows::each(&mut self.$padded, visitor); )*
                visitor.padded(None);
            }
        }
    };
}

/// Row lengths by a mask `[rows, seq]` (true = real token): padding on the right is cut off, padding on the left is not.
pub fn mask_lengths(mask: &Tensor<2, Bool>) -> Vec<usize> {
    let [rows, seq] = mask.dims();
    let real: Vec<bool> = mask.to_data().iter::<bool>().collect();
    let length =
        |row: usize| real[row * seq..(row + 1) * seq].iter().rposition(|real| *real).map_or(0, |last| last + 1);
    (0..rows).map(length).collect()
}

macro_rules! leaf {
    ($($kind:ty => $method:ident),*) => {$(
        impl<const D: usize> Rows for Tensor<D, $kind> {
            fn each<V: RowsVisitor>(&mut self, visitor: &mut V) {
                visitor.$method(self)
            }
        }
    )*};
}
leaf!(Float => float, Int => int, Bool => bool);

impl Rows for () {
    fn each<V: RowsVisitor>(&mut self, _: &mut V) {}
}
impl<A: Rows, B: Rows> Rows for (A, B) {
    fn each<V: RowsVisitor>(&mut self, visitor: &mut V) {
        self.0.each(visitor);
        self.1.each(visitor);
    }
}
impl<R: Rows> Rows for Option<R> {
    fn each<V: RowsVisitor>(&mut self, visitor: &mut V) {
        if let Some(rows) = self {
            rows.each(visitor)
        }
    }
}
impl<R: Rows> Rows for Vec<R> {
    fn each<V: RowsVisitor>(&mut self, visitor: &mut V) {
        self.iter_mut().for_each(|rows| rows.each(visitor));
    }
}

/// What the library builds on the traversal; provided for every [`Rows`].
pub trait RowsExt: Rows {
    /// The number of rows.
    fn rows(&self) -> usize {
        let mut count = Count(None);
        self.clone().each(&mut count);
        count.0.unwrap_or(0)
    }

    /// The bundle as constants on `device` where that is an autodiff device; unchanged otherwise.
    ///
    /// Needed after plain stages: Burn's own dropout and batch norm ask the *input's* device whether they train.
    fn lift(mut self, device: &Device) -> Self {
        if device.is_autodiff() {
            self.each(&mut Lift(device));
        }
        self
    }

    /// The rows at `index`, in that order.
    fn select(mut self, index: &[usize]) -> Self {
        self.each(&mut Select(index.iter().map(|row| *row as i64).collect()));
        self
    }

    /// Takes the bundle apart into one [`Record`] a row, padding cut off.
    fn encode(&self) -> Vec<Record> {
        let mut encoder = Encoder { records: vec![], lengths: None };
        self.clone().each(&mut encoder);
        encoder.records
    }

    /// Puts records together again, padded with zeros to the longest of them. `template`, any value of the type, says
    /// which tensors there are. `None` if the records are not of this type.
    fn decode(template: &Self, records: &[&Record]) -> Option<Self> {
        let mut out = template.clone();
        let mut decoder = Decoder { records, slot: 0, padded: false, fits: !records.is_empty() };
        out.each(&mut decoder);
        decoder.fits.then_some(out)
    }
}
impl<R: Rows> RowsExt for R {}

/// One row of a bundle: for each tensor its shape without the row axis, and its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record(Vec<Part>);

/// One tensor of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) values: Values,
    /// Without the row axis.
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// How the bytes of a part are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// As the tensor has them.
    Exact,
    /// As the tensor has them, which is as f32.
    F32,
    /// As bf16, for a tensor of f32.
    Bf16,
}

impl Record {
    /// Size in memory, in bytes, without the bookkeeping.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|part| part.bytes.len()).sum()
    }

    /// The tensors, in the bundle's order.
    pub(crate) fn tensors(&self) -> &[Part] {
        &self.0
    }

    pub(crate) fn from_tensors(parts: Vec<Part>) -> Self {
        Self(parts)
    }
}

struct Count(Option<usize>);
impl RowsVisitor for Count {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        self.0.get_or_insert(tensor.dims()[0]);
    }
    fn int<const D: usize>(&mut self, tensor: &mut Tensor<D, Int>) {
        self.0.get_or_insert(tensor.dims()[0]);
    }
    fn bool<const D: usize>(&mut self, tensor: &mut Tensor<D, Bool>) {
        self.0.get_or_insert(tensor.dims()[0]);
    }
}

struct Lift<'a>(&'a Device);
impl RowsVisitor for Lift<'_> {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        let mut lifted = tensor.clone().autodiff();
        // Tensors of two checkpointing strategies cannot meet in one graph (Burn 0.22).
        if let Some(strategy) = self.0.gradient_checkpointing_strategy() {
            lifted = lifted.with_gradient_checkpointing_strategy(strategy);
        }
        *tensor = lifted;
    }
    fn int<const D: usize>(&mut self, _: &mut Tensor<D, Int>) {}
    fn bool<const D: usize>(&mut self, _: &mut Tensor<D, Bool>) {}
}

struct Select(Vec<i64>);
impl Select {
    fn index(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.0.clone(), [self.0.len()]), device)
    }
}
impl RowsVisitor for Select {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        *tensor = tensor.clone().select(0, self.index(&tensor.device()));
    }
    fn int<const D: usize>(&mut self, tensor: &mut Tensor<D, Int>) {
        *tensor = tensor.clone().select(0, self.index(&tensor.device()));
    }
    fn bool<const D: usize>(&mut self, tensor: &mut Tensor<D, Bool>) {
        *tensor = tensor.clone().select(0, self.index(&tensor.device()));
    }
}

struct Encoder {
    records: Vec<Record>,
    /// Where the rows of a padded tensor end.
    lengths: Option<Vec<usize>>,
}
impl Encoder {
    fn put(&mut self, data: TensorData, values: Values) {
        let shape = data.shape().as_slice().to_vec();
        let (rows, row_shape) = (shape[0], &shape[1..]);
        self.records.resize(rows, Record::default());
        let row_bytes = data.as_bytes().len() / rows.max(1);
        for (row, bytes) in data.as_bytes().chunks_exact(row_bytes.max(1)).enumerate() {
            let (mut shape, mut bytes) = (row_shape.to_vec(), bytes);
            if let Some(lengths) = &self.lengths {
                bytes = &bytes[..row_bytes / shape[0].max(1) * lengths[row]];
                shape[0] = lengths[row];
            }
            self.records[row].0.push(Part { values, shape, bytes: bytes.to_vec() });
        }
    }
}
impl RowsVisitor for Encoder {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        let values = if tensor.dtype() == DType::F32 { Values::F32 } else { Values::Exact };
        self.put(tensor.to_data(), values);
    }
    fn int<const D: usize>(&mut self, tensor: &mut Tensor<D, Int>) {
        self.put(tensor.to_data(), Values::Exact);
    }
    fn bool<const D: usize>(&mut self, tensor: &mut Tensor<D, Bool>) {
        self.put(tensor.to_data(), Values::Exact);
    }
    fn padded(&mut self, mask: Option<&Tensor<2, Bool>>) {
        self.lengths = mask.map(mask_lengths);
    }
}

struct Decoder<'a> {
    records: &'a [&'a Record],
    slot: usize,
    padded: bool,
    fits: bool,
}
impl Decoder<'_> {
    /// The next tensor of all records, `None` (and `fits` false) where a record has none or one of another shape.
    fn take(&mut self, dtype: DType, rank: usize) -> Option<TensorData> {
        let parts: Option<Vec<_>> = self.records.iter().map(|record| record.0.get(self.slot)).collect();
        self.slot += 1;
        let joined = parts.and_then(|parts| join(&parts, self.padded, dtype, rank));
        self.fits &= joined.is_some();
        joined
    }
}
impl RowsVisitor for Decoder<'_> {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        if let Some(data) = self.take(tensor.dtype(), D) {
            *tensor = Tensor::from_data(data, &tensor.device());
        }
    }
    fn int<const D: usize>(&mut self, tensor: &mut Tensor<D, Int>) {
        if let Some(data) = self.take(tensor.dtype(), D) {
            *tensor = Tensor::from_data(data, &tensor.device());
        }
    }
    fn bool<const D: usize>(&mut self, tensor: &mut Tensor<D, Bool>) {
        if let Some(data) = self.take(tensor.dtype(), D) {
            *tensor = Tensor::from_data(data, &tensor.device());
        }
    }
    fn padded(&mut self, mask: Option<&Tensor<2, Bool>>) {
        self.padded = mask.is_some();
    }
}

/// Stacks row parts into `[rows, ..]`, zero-padded on axis 1 where `padded`.
fn join(parts: &[&Part], padded: bool, dtype: DType, rank: usize) -> Option<TensorData> {
    let mut shape = parts.first()?.shape.clone();
    if padded && !shape.is_empty() {
        shape[0] = parts.iter().filter_map(|part| part.shape.first()).max().copied()?;
    }
    let row_bytes = shape.iter().product::<usize>() * dtype.size();
    let mut bytes = vec![0u8; parts.len() * row_bytes];
    for (part, room) in parts.iter().zip(bytes.chunks_exact_mut(row_bytes.max(1))) {
        let same = if padded { part.shape.get(1..) == shape.get(1..) } else { part.shape == shape };
        let size = part.shape.iter().product::<usize>() * dtype.size();
        if !same || part.shape.len() + 1 != rank {
            return None;
        }
        match part.values {
            Values::Bf16 if dtype == DType::F32 && 2 * part.bytes.len() == size => widen(&part.bytes, room),
            Values::Exact | Values::F32 if part.bytes.len() == size => room[..size].copy_from_slice(&part.bytes),
            _ => return None,
        }
    }
    shape.insert(0, parts.len());
    Some(TensorData::from_bytes_vec(bytes, shape, dtype))
}

/// Values of bf16 as f32, in the order of bytes that memory has.
fn widen(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.chunks_exact_mut(4).zip(from.chunks_exact(2)) {
        to.copy_from_slice(&bf16::from_ne_bytes([from[0], from[1]]).to_f32().to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_on_the_right_is_cut_off_and_padding_on_the_left_is_not() {
        let mask = [[true, true, false], [false, true, true], [false, true, false], [false, false, false]];
        let mask = Tensor::<2, Bool>::from_data(mask, &crate::nn::test_device());
        assert_eq!(mask_lengths(&mask), [2, 3, 2, 0]);
    }
}
