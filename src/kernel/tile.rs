//! Products of small matrices in one thread, in registers: what attention is made of.
//!
//! Each value is summed in the order of the inner axis, whatever the tile, so a row's bits do not depend on the others.
//! Registers are written out: from plain loops the compiler made gathers along the rows of the left matrix, three times slower.

use super::simd::{LANES, vectorised};
use bytemuck::{cast_slice, pod_read_unaligned};
use pulp::Simd;
use std::array::from_fn;

/// A matrix whose rows (those of its transpose, on the left of [`multiply_transposed`]) stand `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

impl Table<'_> {
    /// The same without its first `column` columns.
    #[inline(always)]
    pub(super) fn from(self, column: usize) -> Self {
        Self { values: &self.values[column..], ..self }
    }
}

vectorised! {
    /// `out[m, n] += a[m, inner] b[inner, n]`; `n`, the width of `out`, is a multiple of [`LANES`].
    pub(super) fn multiply<'a, S as simd>(a: Table<'a>, inner: usize, b: Table<'a>, n: usize, out: &'a mut [f32]) {
        // With 32 registers of 16 lanes, 16 sums hide the latency of their additions; with 16 registers, 8 fit.
        if S::F32_LANES >= LANES {
            let done = panels::<8>(n, out, |i, out| panel::<S, 8, 2>(simd, rows(a, i, inner), inner, b, n, out));
            each_row(n, out, done, |i, out| panel::<S, 1, 2>(simd, rows(a, i, inner), inner, b, n, out));
        } else {
            let done = panels::<4>(n, out, |i, out| panel::<S, 4, 2>(simd, rows(a, i, inner), inner, b, n, out));
            each_row(n, out, done, |i, out| panel::<S, 1, 2>(simd, rows(a, i, inner), inner, b, n, out));
        }
    }
}

vectorised! {
    /// [`multiply`] with `a` given by its columns.
    pub(super) fn multiply_transposed<'a, S as simd>(a: Table<'a>, inner: usize, b: Table<'a>, n: usize, out: &'a mut [f32]) {
        if S::F32_LANES >= LANES {
            let done = panels::<8>(n, out, |i, out| panel::<S, 8, 2>(simd, columns(a, i), inner, b, n, out));
            each_row(n, out, done, |i, out| panel::<S, 1, 2>(simd, columns(a, i), inner, b, n, out));
        } else {
            let done = panels::<4>(n, out, |i, out| panel::<S, 4, 2>(simd, columns(a, i), inner, b, n, out));
            each_row(n, out, done, |i, out| panel::<S, 1, 2>(simd, columns(a, i), inner, b, n, out));
        }
    }
}

/// Visits panels of `M` rows; gives how many rows that were.
#[inline(always)]
fn panels<const M: usize>(n: usize, out: &mut [f32], visit: impl Fn(usize, &mut [f32])) -> usize {
    let panels = out.chunks_exact_mut(M * n);
    let done = panels.len() * M;
    panels.enumerate().for_each(|(index, panel)| visit(index * M, panel));
    done
}

/// Visits the rows from `first` on.
#[inline(always)]
fn each_row(n: usize, out: &mut [f32], first: usize, visit: impl Fn(usize, &mut [f32])) {
    out[first * n..].chunks_exact_mut(n).enumerate().for_each(|(index, row)| visit(first + index, row));
}

/// Rows `i..i + M` as a function of the inner index.
#[inline(always)]
fn rows<'a, const M: usize>(a: Table<'a>, i: usize, inner: usize) -> impl Fn(usize) -> [f32; M] + use<'a, M> {
    let rows: [&[f32]; M] = from_fn(|row| &a.values[(i + row) * a.stride..][..inner]);
    move |p| from_fn(|row| rows[row][p])
}

/// Rows `i..i + M` of the transpose as a function of the inner index.
#[inline(always)]
fn columns<'a, const M: usize>(a: Table<'a>, i: usize) -> impl Fn(usize) -> [f32; M] + use<'a, M> {
    move |p| {
        let column = &a.values[p * a.stride + i..][..M];
        from_fn(|row| column[row])
    }
}

#[inline(always)]
fn panel<S: Simd, const M: usize, const N: usize>(
    simd: S,
    a: impl Fn(usize) -> [f32; M],
    inner: usize,
    b: Table<'_>,
    n: usize,
    out: &mut [f32],
) {
    let mut column = 0;
    while column + N * S::F32_LANES <= n {
        tile::<S, M, N>(simd, &a, inner, b.from(column), n, &mut out[column..]);
        column += N * S::F32_LANES;
    }
    while column < n {
        tile::<S, M, 1>(simd, &a, inner, b.from(column), n, &mut out[column..]);
        column += S::F32_LANES;
    }
}

#[inline(always)]
fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    a: &impl Fn(usize) -> [f32; M],
    inner: usize,
    b: Table<'_>,
    n: usize,
    out: &mut [f32],
) {
    let lanes = S::F32_LANES;
    let mut sums: [[S::f32s; N]; M] = from_fn(|row| from_fn(|part| load::<S>(&out[row * n + part * lanes..])));
    for p in 0..inner {
        let right: [S::f32s; N] = from_fn(|part| load::<S>(&b.values[p * b.stride + part * lanes..]));
        for (sums, left) in sums.iter_mut().zip(a(p)) {
            let left = simd.splat_f32s(left);
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = simd.mul_add_e_f32s(left, right, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (part, sum) in sums.iter().enumerate() {
            out[row * n + part * lanes..][..lanes].copy_from_slice(cast_slice(std::slice::from_ref(sum)));
        }
    }
}

#[inline(always)]
fn load<S: Simd>(values: &[f32]) -> S::f32s {
    pod_read_unaligned(cast_slice(&values[..S::F32_LANES]))
}
