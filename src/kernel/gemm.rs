//! Matrix products: the one call into `gemm`.

#[cfg(target_arch = "x86_64")]
use super::bf16;
use super::buffer::contiguous;
use crate::nn::Precision;
use burn::backend::TensorMetadata;
use burn_flex::FlexTensor;

/// Multiplications below which threads cost more than they bring; Burn's own bound.
const PARALLEL: usize = 192 * 192 * 192;

/// A matrix in a slice, with any positive strides.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) size: [usize; 2],
    pub(super) strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Row-major values, `[values.len() / columns, columns]`.
    pub(super) fn rows(values: &'a [f32], columns: usize) -> Self {
        Self { values, size: [values.len() / columns, columns], strides: [columns, 1] }
    }

    /// A tensor of rank 2 after [`forward_strides`].
    pub(super) fn of(tensor: &'a FlexTensor) -> Self {
        let (layout, shape) = (tensor.layout(), tensor.shape());
        let strides = [layout.strides()[0].unsigned_abs(), layout.strides()[1].unsigned_abs()];
        Self { values: &tensor.storage::<f32>()[layout.start_offset()..], size: [shape[0], shape[1]], strides }
    }

    pub(super) fn transposed(self) -> Self {
        let Self { values, size: [rows, columns], strides: [down, right] } = self;
        Self { values, size: [columns, rows], strides: [right, down] }
    }

    pub(super) fn columns(&self) -> usize {
        self.size[1]
    }

    /// How many values it reaches over.
    fn extent(&self) -> usize {
        let [rows, columns] = self.size;
        if rows == 0 || columns == 0 { 0 } else { (rows - 1) * self.strides[0] + (columns - 1) * self.strides[1] + 1 }
    }
}

/// So many rows a left factor needs for each row of its product with `b` to have the same bits whatever stands beside it.
///
/// For a product of fewer rows gemm 0.19 takes other paths, which sum in other orders: for a single row, for results of up
/// to 256 values where `b` is stored by columns, and for up to 64 x 64 values where the inner axis is over 512 long.
pub(super) fn steady_rows(b: Matrix<'_>) -> usize {
    let ([inner, columns], [down, _]) = (b.size, b.strides);
    let by_dots = if down == 1 { 256 / columns.max(1) + 1 } else { 0 };
    let in_one_block = if columns <= 64 && inner > 512 { 65 } else { 0 };
    by_dots.max(in_one_block).max(2)
}

/// The same tensor without negative strides.
pub(super) fn forward_strides(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().strides().iter().all(|stride| *stride >= 0) {
        tensor
    } else {
        contiguous(tensor.to_contiguous())
    }
}

/// `out = a b`, or `out += a b` where `add`; `out` is row-major.
pub(super) fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], add: bool, precision: Precision) {
    let ([m, k], [inner, n]) = (a.size, b.size);
    assert!(k == inner && out.len() == m * n, "a product of {:?} and {:?} into {}", a.size, b.size, out.len());
    assert!(a.extent() <= a.values.len() && b.extent() <= b.values.len(), "a matrix reaches over its values");
    match precision {
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 => return bf16::multiply(a, b, out, add),
        _ => {}
    }
    let parallel = m.saturating_mul(n).saturating_mul(k) >= PARALLEL;
    let threads = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    let [a_down, a_right] = a.strides.map(|stride| stride as isize);
    let [b_down, b_right] = b.strides.map(|stride| stride as isize);
    let (keep, scale) = (add, if add { 1.0 } else { 0.0 });
    // Burn's own product can neither add to what is there nor write into a buffer that is.
    // SAFETY: `out` holds m * n values and is borrowed alone; `a` and `b` reach no further than their slices (above).
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            keep,
            a.values.as_ptr(),
            a_right,
            a_down,
            b.values.as_ptr(),
            b_right,
            b_down,
            scale,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
