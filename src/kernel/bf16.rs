//! Matrix products whose factors are rounded to bfloat16 and whose sums are f32, by the instruction that x86-64 has for it
//! (AVX512-BF16). It multiplies pairs of neighbours on the inner axis, so that is how both factors are laid out.

use super::gemm::Matrix;
#[cfg(target_arch = "x86_64")]
use super::level::is_avx512;
use rayon::prelude::*;

/// Columns that a tile works on: two registers.
const PANEL: usize = 32;
/// Rows of a tile: 24 registers of sums.
const ROWS: usize = 12;
/// Pairs of the inner axis worked on at a time: that much of a panel stays in the nearest cache.
const INNER: usize = 256;
/// Rows of the result that a task makes.
const TASK: usize = 8 * ROWS;

/// Whether this processor has the instruction, and may use it.
pub(crate) fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_avx512() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `out = a b`, or `out += a b` where `add`; `out` is row-major. Only where it is [`available`].
pub(super) fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], add: bool) {
    let [inner, columns] = b.size;
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
    let (left, right) = rayon::join(|| Left::pack(a), || panels(b));
    out.par_chunks_mut(TASK * columns).enumerate().for_each(|(task, out)| {
        for first in (0..pairs).step_by(INNER) {
            let inner = first..pairs.min(first + INNER);
            for (index, panel) in right.chunks_exact(pairs * PANEL).enumerate() {
                let panel = &panel[inner.start * PANEL..inner.end * PANEL];
                let onto = Onto { columns, from: index * PANEL, add: add || first > 0 };
                rows(&left, task * TASK, inner.start, panel, onto, out);
            }
        }
    });
}

/// Where in row-major rows a panel's product goes.
#[derive(Clone, Copy)]
struct Onto {
    columns: usize,
    from: usize,
    add: bool,
}

/// The left factor in pairs.
struct Left {
    pairs: Vec<u32>,
    /// How far rows stand apart, and pairs of a row.
    strides: [usize; 2],
}

impl Left {
    fn pack(a: Matrix<'_>) -> Self {
        let ([rows, inner], [down, right]) = (a.size, a.strides);
        let count = inner.div_ceil(2);
        let mut pairs = vec![0; rows * count];
        if down == 1 && right != 1 {
            // Stored by columns: pairs of whole columns.
            pairs.par_chunks_mut(rows).enumerate().for_each(|(pair, out)| {
                let column = |index: usize| (index < inner).then(|| &a.values[index * right..][..rows]);
                pair_lines(column(2 * pair), column(2 * pair + 1), out);
            });
            return Self { pairs, strides: [1, rows] };
        }
        pairs.par_chunks_mut(count).enumerate().for_each(|(row, out)| {
            let line = &a.values[row * down..];
            pair_neighbours(inner, right, line, out);
        });
        Self { pairs, strides: [count, 1] }
    }
}

/// The right factor in panels, `[panel][pair][PANEL]`, the last one filled up with zeros.
fn panels(b: Matrix<'_>) -> Vec<u32> {
    let ([inner, columns], [down, right]) = (b.size, b.strides);
    let pairs = inner.div_ceil(2);
    let mut packed = vec![0; columns.div_ceil(PANEL) * pairs * PANEL];
    packed.par_chunks_mut(pairs * PANEL).enumerate().for_each(|(index, panel)| {
        let (first, width) = (index * PANEL, PANEL.min(columns - index * PANEL));
        if right == 1 {
            for (pair, out) in panel.chunks_exact_mut(PANEL).enumerate() {
                let line = |row: usize| (row < inner).then(|| &b.values[row * down + first..][..width]);
                pair_lines(line(2 * pair), line(2 * pair + 1), &mut out[..width]);
            }
            return;
        }
        let mut column = vec![0; pairs];
        for lane in 0..width {
            pair_neighbours(inner, down, &b.values[(first + lane) * right..], &mut column);
            panel.iter_mut().skip(lane).step_by(PANEL).zip(&column).for_each(|(to, pair)| *to = *pair);
        }
    });
    packed
}

/// Pairs of the values at the same place of two lines; a missing second line is zeros.
fn pair_lines(first: Option<&[f32]>, second: Option<&[f32]>, out: &mut [u32]) {
    let Some(first) = first else { return };
    match second {
        Some(second) => out.iter_mut().zip(first).zip(second).for_each(|((to, a), b)| *to = pair(*a, *b)),
        None => out.iter_mut().zip(first).for_each(|(to, a)| *to = pair(*a, 0.0)),
    }
}

/// Pairs of neighbours in a line of `len` values, which stand `stride` apart.
fn pair_neighbours(len: usize, stride: usize, line: &[f32], out: &mut [u32]) {
    if stride == 1 {
        let (whole, rest) = line[..len].as_chunks::<2>();
        out.iter_mut().zip(whole).for_each(|(to, [a, b])| *to = pair(*a, *b));
        if let (Some(last), [a]) = (out.last_mut(), rest) {
            *last = pair(*a, 0.0);
        }
        return;
    }
    for (index, to) in out.iter_mut().enumerate() {
        let second = if 2 * index + 1 < len { line[(2 * index + 1) * stride] } else { 0.0 };
        *to = pair(line[2 * index * stride], second);
    }
}

#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    rounded(first) >> 16 | rounded(second) & 0xffff_0000
}

/// The bits of the nearest bfloat16, ties to even, in the upper half; NaN stays NaN.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if value.is_nan() { bits | 0x0040_0000 } else { nearest }
}

/// Multiplies the rows of `out`, the first of which is row `first` of the result, with a part of a panel.
fn rows(left: &Left, first: usize, pair: usize, panel: &[u32], onto: Onto, out: &mut [f32]) {
    let [down, right] = left.strides;
    let start = |row: usize| &left.pairs[(first + row) * down + pair * right..];
    let count = out.len() / onto.columns;
    let mut row = 0;
    while row < count {
        let out = &mut out[row * onto.columns..];
        row += match count - row {
            ROWS.. => tile::<ROWS>(start(row), left.strides, panel, onto, out),
            4.. => tile::<4>(start(row), left.strides, panel, onto, out),
            _ => tile::<1>(start(row), left.strides, panel, onto, out),
        };
    }
}

/// Makes `M` rows of a panel's product; gives `M`.
#[cfg(target_arch = "x86_64")]
fn tile<const M: usize>(left: &[u32], strides: [usize; 2], panel: &[u32], onto: Onto, out: &mut [f32]) -> usize {
    // SAFETY: a product is only asked for where the processor has the instructions.
    #[allow(unsafe_code)]
    unsafe {
        x86::tile::<M>(left, strides, panel, onto, out);
    }
    M
}

#[cfg(not(target_arch = "x86_64"))]
fn tile<const M: usize>(_: &[u32], _: [usize; 2], _: &[u32], _: Onto, _: &mut [f32]) -> usize {
    M
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Onto, PANEL};
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_setzero_ps};

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn tile<const M: usize>(
        left: &[u32],
        [down, right]: [usize; 2],
        panel: &[u32],
        onto: Onto,
        out: &mut [f32],
    ) {
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        let pairs = panel.len() / PANEL;
        if right == 1 {
            let lines: [&[u32]; M] = std::array::from_fn(|row| &left[row * down..][..pairs]);
            for (index, [first, second]) in panel.as_chunks::<16>().0.as_chunks::<2>().0.iter().enumerate() {
                add(&mut sums, std::array::from_fn(|row| lines[row][index]), [lanes(*first), lanes(*second)]);
            }
        } else {
            for (index, [first, second]) in panel.as_chunks::<16>().0.as_chunks::<2>().0.iter().enumerate() {
                let column = &left[index * right..][..M];
                add(&mut sums, std::array::from_fn(|row| column[row]), [lanes(*first), lanes(*second)]);
            }
        }
        let width = PANEL.min(onto.columns - onto.from);
        for (row, sums) in sums.into_iter().enumerate() {
            let out = &mut out[row * onto.columns + onto.from..][..width];
            let values = sums.map(values);
            let values = values.as_flattened();
            match onto.add {
                true => out.iter_mut().zip(values).for_each(|(to, value)| *to += value),
                false => out.iter_mut().zip(values).for_each(|(to, value)| *to = *value),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn add<const M: usize>(sums: &mut [[__m512; 2]; M], left: [u32; M], right: [__m512bh; 2]) {
        for (sums, left) in sums.iter_mut().zip(left) {
            let left = lanes([left; 16]);
            sums[0] = _mm512_dpbf16_ps(sums[0], left, right[0]);
            sums[1] = _mm512_dpbf16_ps(sums[1], left, right[1]);
        }
    }

    #[inline(always)]
    fn lanes(pairs: [u32; 16]) -> __m512bh {
        // SAFETY: both are 64 bytes of which every pattern is a value.
        #[allow(unsafe_code)]
        unsafe {
            std::mem::transmute(pairs)
        }
    }

    #[inline(always)]
    fn values(sums: __m512) -> [f32; 16] {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            std::mem::transmute(sums)
        }
    }
}
