//! Fused operations of Burn's Flex backend in f32, each with its own backward pass.
//!
//! Layers ask [`covers`] and compose Burn's operations where it says no: on other backends, in other dtypes, and
//! everywhere if the environment variable `REKINDLE_KERNELS` is `off` (it is read once), which tells whether a figure
//! comes from here; `REKINDLE_SIMD` chooses their instruction set. An operation is one function on the plain device and under autodiff, so that frozen stages give the
//! same bits on both, and a row's result does not depend on the other rows of its batch.
//!
//! Loops are plain Rust, compiled for several instruction sets by [`simd`]; matrix products are `gemm`'s. Work is cut
//! into blocks whose size depends on the shape only, so results do not depend on the number of threads.

mod activation;
mod adamw;
mod attention;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod buffer;
mod dropout;
mod embedding;
mod gemm;
mod head;
mod level;
mod linear;
mod loss;
mod norm;
mod reuse;
mod rms_norm;
mod rotary;
mod simd;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use activation::{Curve, activate, gated, gated_halves};
pub(crate) use adamw::{Scalars, adamw, square_sum, towards};
pub(crate) use attention::{Attention, attention};
pub(crate) use dropout::dropout;
pub(crate) use embedding::embedding;
pub(crate) use linear::{linear, linear_without_bias};
pub(crate) use loss::cross_entropy;
pub(crate) use norm::{norm, residual_norm};
pub(crate) use reuse::{ReuseScope, let_go};
pub(crate) use rms_norm::{RmsNorm, residual_rms_norm, rms_norm};
pub(crate) use rotary::rotate;

use crate::nn::{Precision, PrecisionScope};
use burn::backend::DispatchDevice;
use burn::tensor::{DType, Tensor};
use std::sync::OnceLock;

/// The environment variable that switches the operations here off.
const SWITCH: &str = "REKINDLE_KERNELS";

/// Whether the operations here take this tensor.
pub(crate) fn covers<const D: usize>(tensor: &Tensor<D>) -> bool {
    enabled()
        && tensor.dtype() == DType::F32
        && matches!(tensor.device().inner().as_dispatch(), DispatchDevice::Flex(_))
        && tensor.shape().num_elements() > 0
}

/// Whether products in bfloat16 are made here.
pub(crate) fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return enabled() && bf16::available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What the bits of the operations here depend on besides their inputs: the instruction set and the precision that is in
/// force, or that they are off.
pub(crate) fn instructions() -> String {
    match (enabled(), PrecisionScope::current()) {
        (false, _) => "off".into(),
        (true, Precision::F32) => format!("{:?}", level::arch()),
        (true, precision) => format!("{:?} {precision}", level::arch()),
    }
}

fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os(SWITCH).is_none_or(|value| value != "off"))
}

/// An environment variable whose value means nothing here.
#[derive(Debug)]
pub(crate) struct BadVariable {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Why, as the end of a sentence.
    pub(crate) reason: &'static str,
}

/// Whether the environment variables that are read here have values that mean something.
pub(crate) fn check_variables() -> Result<(), BadVariable> {
    if let Some(value) = std::env::var_os(SWITCH)
        && !["on", "off", ""].iter().any(|known| value == *known)
    {
        let value = value.to_string_lossy().into_owned();
        return Err(BadVariable { name: SWITCH, value, reason: "which is neither on nor off" });
    }
    match level::asked() {
        Some((value, Err(why))) => Err(BadVariable { name: level::VARIABLE, value, reason: why.reason() }),
        _ => Ok(()),
    }
}
