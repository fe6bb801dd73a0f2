//! Flex tensors as slices, and work on their rows in parallel.

use super::reuse::Buffer;
use super::simd::vectorised;
use burn::backend::{DType, Shape, TensorMetadata};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

/// Values a task works on: 128 KiB, so that what one loop leaves is still cached for the next.
const BLOCK: usize = 1 << 15;

/// The same tensor, whole and in order in its buffer.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let whole = tensor.bytes().len() == tensor.shape().num_elements() * tensor.dtype().size();
    if tensor.is_contiguous() && tensor.layout().start_offset() == 0 && whole { tensor } else { tensor.to_contiguous() }
}

/// The values of a [`contiguous`] f32 tensor.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage::<f32>()
}

/// The values of an integer tensor of 32 or 64 bits; those below zero as more than there is of anything.
pub(super) fn indices(tensor: FlexTensor) -> Vec<usize> {
    let tensor = contiguous(tensor);
    match tensor.dtype() {
        DType::I32 => tensor.storage::<i32>().iter().map(|index| *index as usize).collect(),
        _ => tensor.storage::<i64>().iter().map(|index| *index as usize).collect(),
    }
}

/// An f32 tensor of these values.
pub(super) fn tensor(values: impl Into<Buffer>, shape: Shape) -> FlexTensor {
    FlexTensor::new(values.into().into_bytes(), Layout::contiguous(shape), DType::F32)
}

/// `len` zeros; large ones cost nothing until they are touched.
pub(super) fn zeros(len: usize) -> Vec<f32> {
    vec![0.0; len]
}

/// How many values of whole rows a task takes; a function of the row's width alone.
pub(super) fn block(width: usize) -> usize {
    (BLOCK / width).max(1) * width
}

/// `shape` with another last axis.
pub(super) fn with_width(mut shape: Shape, width: usize) -> Shape {
    let last = shape.num_dims() - 1;
    shape[last] = width;
    shape
}

/// The sum of rows `[.., width]` over all but the last axis.
pub(super) fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    let parts = rows.par_chunks(block(width)).map(|rows| {
        let mut sums = zeros(width);
        add_rows(rows, &mut sums);
        sums
    });
    total(parts.collect(), width)
}

/// The sum of vectors, in order.
pub(super) fn total(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| zeros(width));
    parts.for_each(|part| add_rows(&part, &mut sum));
    sum
}

vectorised! {
    /// Adds rows as wide as `sums` to it.
    pub(super) fn add_rows<'a, S>(rows: &'a [f32], sums: &'a mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}
