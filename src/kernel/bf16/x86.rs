//! What runs in AVX512-BF16. Loops are written out: a closure that went into a function of the standard library would leave
//! the instruction set.

use super::{LANES, Onto, PANEL, ROWS, Side};
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_permutex2var_epi32,
    _mm512_permutexvar_epi16, _mm512_setzero_ps, _mm512_setzero_si512,
};

/// Writes pairs of neighbours on the inner axis, of `W` lanes side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn pack<const W: usize>(side: Side<'_>, out: &mut [[u32; W]]) {
    for from in (0..W).step_by(LANES) {
        let width = LANES.min(W - from);
        if side.lane == 1 {
            for (pair, out) in out.iter_mut().enumerate() {
                let pairs = interleaved(side.across(from, 2 * pair), side.across(from, 2 * pair + 1));
                out[from..][..width].copy_from_slice(&pairs[..width]);
            }
            continue;
        }
        for (block, out) in out.chunks_mut(LANES).enumerate() {
            let mut lines = [_mm512_setzero_si512(); LANES];
            for (lane, line) in lines.iter_mut().enumerate().take(width) {
                *line = rounded(side.along(from + lane, 2 * LANES * block));
            }
            for (out, pairs) in out.iter_mut().zip(transposed(lines)) {
                out[from..][..width].copy_from_slice(&words(pairs)[..width]);
            }
        }
    }
}

/// The sums of `rows` times `panel`, written or added.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn tile(rows: &[[u32; ROWS]], panel: &[[[u32; LANES]; 2]], onto: Onto, out: &mut [f32]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (left, right) in rows.iter().zip(panel) {
        let right = right.map(pairs);
        for (sums, left) in sums.iter_mut().zip(left) {
            let left = pairs([*left; LANES]);
            sums[0] = _mm512_dpbf16_ps(sums[0], left, right[0]);
            sums[1] = _mm512_dpbf16_ps(sums[1], left, right[1]);
        }
    }
    let width = PANEL.min(onto.columns - onto.from);
    for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(onto.columns)) {
        let (values, out) = (sums.map(values), &mut out[onto.from..][..width]);
        let values = values.as_flattened();
        match onto.add {
            true => out.iter_mut().zip(values).for_each(|(to, value)| *to += value),
            false => out.iter_mut().zip(values).for_each(|(to, value)| *to = *value),
        }
    }
}

/// Pairs of the values at the same place of two lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn interleaved(first: [f32; LANES], second: [f32; LANES]) -> [u32; LANES] {
    const IN_TURN: [u16; 2 * LANES] = {
        let mut places = [0; 2 * LANES];
        let mut place = 0;
        while place < 2 * LANES {
            places[place] = (place / 2 + place % 2 * LANES) as u16;
            place += 1;
        }
        places
    };
    let rounded = integers(_mm512_cvtne2ps_pbh(floats(second), floats(first)));
    words(_mm512_permutexvar_epi16(halves(IN_TURN), rounded))
}

/// Neighbours as bfloat16 values.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(line: [f32; 2 * LANES]) -> __m512i {
    let parts = line.as_chunks::<LANES>().0;
    integers(_mm512_cvtne2ps_pbh(floats(parts[1]), floats(parts[0])))
}

/// Rows as columns, by four perfect shuffles of all words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(mut rows: [__m512i; LANES]) -> [__m512i; LANES] {
    const LOW: [u32; LANES] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
    const HIGH: [u32; LANES] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
    let (low, high) = (register(LOW), register(HIGH));
    for _ in 0..LANES.ilog2() {
        let old = rows;
        for row in 0..LANES / 2 {
            rows[2 * row] = _mm512_permutex2var_epi32(old[row], low, old[row + LANES / 2]);
            rows[2 * row + 1] = _mm512_permutex2var_epi32(old[row], high, old[row + LANES / 2]);
        }
    }
    rows
}

/// The same 64 bytes as another type.
macro_rules! casts {
    ($($name:ident: $from:ty => $to:ty),* $(,)?) => {$(
        #[inline(always)]
        fn $name(from: $from) -> $to {
            // SAFETY: both are 64 bytes of which every pattern is a value.
            #[allow(unsafe_code)]
            unsafe {
                std::mem::transmute(from)
            }
        }
    )*};
}
casts! {
    pairs: [u32; LANES] => __m512bh,
    values: __m512 => [f32; LANES],
    floats: [f32; LANES] => __m512,
    integers: __m512bh => __m512i,
    register: [u32; LANES] => __m512i,
    halves: [u16; 2 * LANES] => __m512i,
    words: __m512i => [u32; LANES],
}
