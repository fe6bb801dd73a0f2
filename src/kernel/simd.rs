//! Plain loops compiled for AVX-512, AVX2 with FMA, and the target's baseline; [`arch`](super::level::arch) says which of
//! them run.

use pulp::Simd;

/// Defines a function whose body is compiled for each instruction set. The body may name the chosen one, `$simd`, and its
/// token, `$token`, with which it writes operations out that the compiler does not find in plain loops.
///
/// All that it calls must be inlined into it: a call would leave the instruction set.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime, $simd:ident $(as $token:ident)?>($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) $(-> $out)? {
            struct Call<$life> { $($arg: $type),* }
            impl<$life> pulp::WithSimd for Call<$life> {
                type Output = $crate::kernel::simd::output!($($out)?);
                #[inline(always)]
                fn with_simd<$simd: pulp::Simd>(self, _chosen: $simd) -> Self::Output {
                    let Self { $($arg),* } = self;
                    $(let $token = _chosen;)?
                    $body
                }
            }
            $crate::kernel::level::arch().dispatch(Call { $($arg),* })
        }
    };
}
macro_rules! output {
    () => {
        ()
    };
    ($type:ty) => {
        $type
    };
}
pub(super) use {output, vectorised};

/// Lanes of a reduction, whatever the register width, so that all widths give the same bits.
pub(super) const LANES: usize = 16;

/// `a * b + c`, in one rounding where the instruction set has that (elsewhere `mul_add` is a slow library call).
#[inline(always)]
pub(super) fn fma<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::F32_LANES >= 8 || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// Folds a row into 16 lanes by `step` and adds these up.
#[inline(always)]
pub(super) fn sum_of(row: &[f32], step: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, *value);
    }
    halve(lanes, |a, b| a + b)
}

/// Folds two rows of equal length into 16 lanes by `step` and adds these up.
#[inline(always)]
pub(super) fn sum_of_pairs(left: &[f32], right: &[f32], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, others) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let (rest, other_rest) = (chunks.remainder(), others.remainder());
    for (chunk, other) in chunks.zip(others) {
        for ((lane, a), b) in lanes.iter_mut().zip(chunk).zip(other) {
            *lane = step(*lane, *a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(rest).zip(other_rest) {
        *lane = step(*lane, *a, *b);
    }
    halve(lanes, |a, b| a + b)
}

/// The greatest value of a row; NaNs are passed over.
#[inline(always)]
pub(super) fn max_of(row: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = greater(*lane, *value);
    }
    halve(lanes, greater)
}

#[inline(always)]
fn halve(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

/// `e^x` to 1 unit in the last place or so (Cephes' `expf`); exactly 0 below -87.3, at most `e^88`.
#[inline(always)]
pub(super) fn exp<S: Simd>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let tiny = x < -87.3;
    let x = if tiny { -87.3 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fma::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let power = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let rest = fma::<S>(power, -0.693_359_4, x);
    let rest = fma::<S>(power, 2.121_944_4e-4, rest);
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = fma::<S>(series, rest, coefficient);
    }
    let value = fma::<S>(series, rest * rest, rest) + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if tiny { 0.0 } else { value * scale }
}

/// The standard normal distribution's cumulative probability and density at `x`: exact GELU is `x * cumulative`.
///
/// Abramowitz and Stegun's formula 7.1.26, off by at most 7.5e-8.
#[inline(always)]
pub(super) fn normal<S: Simd>(x: f32) -> (f32, f32) {
    let bell = exp::<S>(-0.5 * x * x);
    let t = 1.0 / fma::<S>(x.abs(), 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
    let mut series = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        series = fma::<S>(series, t, coefficient);
    }
    let tail = 0.5 * series * t * bell;
    (
        if x < 0.0 { tail } else { 1.0 - tail },
        bell * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2 * 0.5,
    )
}
