//! Matrix products whose factors are rounded to bfloat16 and whose sums are f32, by the instruction that x86-64 has for it
//! (AVX512-BF16). It multiplies pairs of neighbours on the inner axis, so that is how both factors are laid out.

mod x86;

use super::gemm::Matrix;
use super::level::is_avx512;
use super::reuse::{Buffer, blank};
use rayon::prelude::*;
use std::array::from_fn;

/// Values of a register.
const LANES: usize = 16;
/// Columns of the right factor that stand side by side: two registers.
const PANEL: usize = 2 * LANES;
/// Rows of the left factor that stand side by side: 24 registers of sums.
const ROWS: usize = 12;
/// Pairs of the inner axis worked on at a time: that much of a panel stays in the nearest cache.
const INNER: usize = 256;
/// Groups of rows that a task makes.
const TASK: usize = 4;

/// Whether this processor has the instruction, and may use it.
pub(super) fn available() -> bool {
    is_avx512() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// `out = a b`, or `out += a b` where `add`; `out` is row-major. Only where it is [`available`].
pub(super) fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], add: bool) {
    let ([rows, inner], columns) = (a.size, b.columns());
    let pairs = inner.div_ceil(2);
    if out.is_empty() {
        return;
    }
    if pairs == 0 {
        if !add {
            out.fill(0.0);
        }
        return;
    }
    let left = Side { values: a.values, lanes: rows, lane: a.strides[0], inner, step: a.strides[1] };
    let right = Side { values: b.values, lanes: columns, lane: b.strides[1], inner, step: b.strides[0] };
    let (left, right) = rayon::join(|| left.pack::<ROWS>(), || right.pack::<PANEL>());
    let (left, right) = (bytemuck::cast_slice(&left), bytemuck::cast_slice(&right));
    let tasks = left.par_chunks(TASK * pairs * ROWS).zip(out.par_chunks_mut(TASK * ROWS * columns));
    tasks.for_each(|(left, out)| task(left, right, pairs, Onto { columns, from: 0, add }, out));
}

/// Multiplies groups of rows with all panels.
fn task(left: &[u32], right: &[u32], pairs: usize, onto: Onto, out: &mut [f32]) {
    for first in (0..pairs).step_by(INNER) {
        let part = first..pairs.min(first + INNER);
        for (index, panel) in right.chunks_exact(pairs * PANEL).enumerate() {
            let panel = &panel[part.start * PANEL..part.end * PANEL];
            let onto = Onto { from: index * PANEL, add: onto.add || first > 0, ..onto };
            for (group, out) in left.chunks_exact(pairs * ROWS).zip(out.chunks_mut(ROWS * onto.columns)) {
                tile(&group[part.start * ROWS..part.end * ROWS], panel, onto, out);
            }
        }
    }
}

/// Where in row-major rows a panel's product goes.
#[derive(Clone, Copy)]
struct Onto {
    columns: usize,
    from: usize,
    add: bool,
}

/// A factor: the rows of the left one or the columns of the right one are its lanes.
#[derive(Clone, Copy)]
struct Side<'a> {
    values: &'a [f32],
    lanes: usize,
    /// How far lanes stand apart.
    lane: usize,
    /// The length of the inner axis.
    inner: usize,
    /// How far neighbours on the inner axis stand apart.
    step: usize,
}

impl Side<'_> {
    /// Pairs of bfloat16 values, `[group][pair][W]`. What stands in lanes that a last group does not have is anything.
    fn pack<const W: usize>(self) -> Buffer {
        let pairs = self.inner.div_ceil(2);
        let mut packed = blank(self.lanes.div_ceil(W) * W * pairs);
        let words: &mut [u32] = bytemuck::cast_slice_mut(&mut packed);
        words.par_chunks_mut(pairs * W).enumerate().for_each(|(group, out)| {
            let first = group * W;
            let values = &self.values[first * self.lane..];
            pack(Self { values, lanes: W.min(self.lanes - first), ..self }, out.as_chunks_mut::<W>().0);
        });
        packed
    }

    /// Lanes from `lane` on.
    #[inline(always)]
    fn across(&self, lane: usize, inner: usize) -> [f32; LANES] {
        if inner >= self.inner {
            return [0.0; LANES];
        }
        let start = inner * self.step + lane * self.lane;
        let values = self.values.get(start..).unwrap_or_default();
        match values.first_chunk() {
            Some(values) if self.lane == 1 => *values,
            _ => from_fn(|lane| values.get(lane * self.lane).copied().unwrap_or_default()),
        }
    }

    /// Neighbours from `inner` on, then zeros.
    #[inline(always)]
    fn along(&self, lane: usize, inner: usize) -> [f32; 2 * LANES] {
        if lane >= self.lanes {
            return [0.0; 2 * LANES];
        }
        let values = &self.values[lane * self.lane + inner * self.step..];
        match values.first_chunk() {
            Some(values) if self.step == 1 && inner + 2 * LANES <= self.inner => *values,
            _ => from_fn(|index| if inner + index < self.inner { values[index * self.step] } else { 0.0 }),
        }
    }
}

/// Lays out a group.
fn pack<const W: usize>(side: Side<'_>, out: &mut [[u32; W]]) {
    // SAFETY: a product is only asked for where the processor has the instructions.
    #[allow(unsafe_code)]
    unsafe {
        x86::pack(side, out);
    }
}

/// Makes the product of a group of rows and a panel.
fn tile(rows: &[u32], panel: &[u32], onto: Onto, out: &mut [f32]) {
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe {
        x86::tile(rows.as_chunks().0, panel.as_chunks().0.as_chunks().0, onto, out);
    }
}
