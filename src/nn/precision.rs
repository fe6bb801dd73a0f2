#[cfg(feature = "flex")]
use super::gelu::is_flex;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// In what the matrix products of linear layers multiply. Weights, activations, gradients and sums stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// In f32.
    #[default]
    F32,
    /// In bfloat16, forward and backward, with sums in f32: PyTorch's autocast for linear layers. Faster, where the
    /// processor has instructions for it (AVX512-BF16), and less exact: 8 bits of each factor count.
    Bf16,
}

impl Precision {
    /// Whether linear layers can compute in it on this device: bfloat16 on Flex alone, where the processor has it.
    pub fn is_available(self, device: &Device) -> bool {
        match self {
            Self::F32 => true,
            #[cfg(feature = "flex")]
            Self::Bf16 => is_flex(device) && crate::kernel::has_bf16(),
            #[cfg(not(feature = "flex"))]
            Self::Bf16 => false,
        }
    }
}

impl std::str::FromStr for Precision {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            other => Err(format!("no precision is called `{other}`; use f32 or bf16")),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::F32 { "f32" } else { "bf16" })
    }
}

thread_local! { static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) } }

/// While it lives, linear layers that this thread runs on the Flex device compute in its precision, and so does the backward
/// pass of what they made. `fit` opens one for a run. Scopes nest.
#[derive(Debug)]
#[must_use = "layers compute in the precision only while the scope lives"]
pub(crate) struct PrecisionScope {
    outer: Precision,
}

impl PrecisionScope {
    /// Opens a scope for the current thread. The precision must be [available](Precision::is_available).
    pub(crate) fn new(precision: Precision) -> Self {
        Self { outer: PRECISION.replace(precision) }
    }

    /// The precision of the innermost scope.
    #[cfg(feature = "flex")]
    pub(crate) fn current() -> Precision {
        PRECISION.get()
    }
}

impl Drop for PrecisionScope {
    fn drop(&mut self) {
        PRECISION.set(self.outer);
    }
}
