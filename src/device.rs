//! Choosing the device at run time.

use burn::tensor::Device;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thiserror::Error;

/// Why a device cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum DeviceError {
    /// This build does not have it.
    #[error("device `{name}` is not in this build; build with `--features {name}`")]
    FeatureOff {
        /// The device, which is also the feature.
        name: &'static str,
    },
    /// No device is called so.
    #[error("no device is called `{name}`; use flex, ndarray, wgpu or cuda")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// An environment variable that decides how the device computes has a value that means nothing.
    #[error("the environment variable {variable} is `{value}`, {reason}; correct it, or leave it out")]
    Variable {
        /// Which one.
        variable: &'static str,
        /// Its value.
        value: String,
        /// Why it means nothing.
        reason: String,
    },
    /// This machine does not have it.
    #[error("device `{name}` cannot be used on this machine: {reason}; install its driver, or use flex")]
    Unavailable {
        /// The device.
        name: &'static str,
        /// What the backend says.
        reason: String,
    },
}

/// The plain device called `flex`, `ndarray`, `wgpu` or `cuda`.
///
/// ```
/// let device = rekindle::device("flex")?;
/// # Ok::<(), rekindle::DeviceError>(())
/// ```
///
/// # Errors
/// A device whose feature is off, that this machine lacks, or that does not exist; on `flex`, a `REKINDLE_KERNELS` or
/// `REKINDLE_SIMD` that means nothing.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    match name {
        "flex" => {
            #[cfg(feature = "flex")]
            crate::kernel::check_variables()?;
            flex()
        }
        "ndarray" => ndarray(),
        "wgpu" => wgpu(),
        "cuda" => cuda(),
        _ => Err(DeviceError::Unknown { name: name.into() }),
    }
}

#[cfg(feature = "flex")]
impl From<crate::kernel::BadVariable> for DeviceError {
    fn from(bad: crate::kernel::BadVariable) -> Self {
        Self::Variable { variable: bad.name, value: bad.value, reason: bad.reason.into() }
    }
}

/// The device of what has no parameters. Burn's default would be a GPU in a build that can use one, driver or not.
pub(crate) fn host() -> Device {
    flex().unwrap_or_default()
}

macro_rules! device_of {
    ($function:ident, $feature:literal, $make:expr) => {
        #[cfg(feature = $feature)]
        fn $function() -> Result<Device, DeviceError> {
            open($feature, || $make)
        }
        #[cfg(not(feature = $feature))]
        fn $function() -> Result<Device, DeviceError> {
            Err(DeviceError::FeatureOff { name: $feature })
        }
    };
}

device_of!(flex, "flex", Device::flex());
#[allow(deprecated)] // Burn 0.23 drops ndarray; until then it is one of ours.
mod deprecated {
    use super::*;
    device_of!(ndarray, "ndarray", Device::ndarray());
    pub(super) fn open_ndarray() -> Result<Device, DeviceError> {
        ndarray()
    }
}
fn ndarray() -> Result<Device, DeviceError> {
    deprecated::open_ndarray()
}
device_of!(wgpu, "wgpu", Device::wgpu(Default::default()));
device_of!(cuda, "cuda", Device::cuda(0));

/// Makes a device and computes one sum on it: backends panic, and only on first use, where a driver is missing.
#[cfg(any(feature = "flex", feature = "ndarray", feature = "wgpu", feature = "cuda"))]
fn open(name: &'static str, make: impl Fn() -> Device) -> Result<Device, DeviceError> {
    let attempt = || {
        let device = make();
        let sum = burn::tensor::Tensor::<1>::ones([2], &device).sum().into_data();
        (device, sum.iter::<f32>().next())
    };
    match catch_unwind(AssertUnwindSafe(attempt)) {
        Ok((device, Some(2.0))) => Ok(device),
        Ok((_, sum)) => Err(DeviceError::Unavailable { name, reason: format!("1 + 1 gives {sum:?}") }),
        Err(panic) => {
            let reason = panic.downcast_ref::<String>().cloned();
            let reason = reason.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            Err(DeviceError::Unavailable { name, reason: reason.unwrap_or_else(|| "the backend panicked".into()) })
        }
    }
}
