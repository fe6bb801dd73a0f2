//! In which instruction set loops run: the best one of the processor, or the one that the environment variable
//! `REKINDLE_SIMD` names, so that what other processors run can be tried on this one. It is read once. Matrix products in
//! f32 are `gemm`'s, which chooses by itself.

use pulp::Arch;
use std::sync::OnceLock;

/// The environment variable.
pub(crate) const VARIABLE: &str = "REKINDLE_SIMD";

/// Why a name stands for no instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLevel {
    Unknown,
    Absent,
}

impl NoLevel {
    /// What is said after the value.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "which is none of portable, avx2 and avx512",
            Self::Absent => "which this processor does not have",
        }
    }
}

/// The instruction set of all loops here: the processor's best one if the variable names none.
pub(super) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match asked() {
        None => Arch::new(),
        Some((_, Ok(arch))) => arch,
        Some((name, Err(why))) => {
            // Whoever makes a device through this crate gets an error; others would not hear of it.
            eprintln!("{VARIABLE} is `{name}`, {}: it changes nothing", why.reason());
            Arch::new()
        }
    })
}

/// What the variable names, if it is set.
pub(super) fn asked() -> Option<(String, Result<Arch, NoLevel>)> {
    let name = std::env::var_os(VARIABLE).filter(|name| !name.is_empty())?.to_string_lossy().into_owned();
    let arch = named(&name);
    Some((name, arch))
}

/// The instruction set of this name.
pub(super) fn named(name: &str) -> Result<Arch, NoLevel> {
    match name {
        "portable" => Ok(Arch::Scalar),
        "avx2" => avx2().ok_or(NoLevel::Absent),
        "avx512" => avx512().ok_or(NoLevel::Absent),
        _ => Err(NoLevel::Unknown),
    }
}

/// Whether loops run in AVX-512.
pub(super) fn is_avx512() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return matches!(arch(), Arch::V4(_));
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    false
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn avx2() -> Option<Arch> {
    pulp::x86::V3::try_new().map(Arch::V3)
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn avx512() -> Option<Arch> {
    pulp::x86::V4::try_new().map(Arch::V4)
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn avx2() -> Option<Arch> {
    None
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn avx512() -> Option<Arch> {
    None
}
