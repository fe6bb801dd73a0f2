//! From float32 to stored bytes.

use std::fmt;
use std::io::{self, Write};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;

use super::error::CheckpointError;

/// Values that are converted at once.
const BLOCK: usize = 1 << 16;

/// The number type that weights are saved in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaveDtype {
    /// As they are.
    #[default]
    F32,
    /// IEEE half precision, rounded to nearest, ties to even. Largest value 65504.
    F16,
    /// The upper half of float32, rounded to nearest, ties to even.
    Bf16,
}

impl SaveDtype {
    pub(super) fn stored(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// Bytes of so many values.
    pub(super) fn byte_size(self, values: usize) -> usize {
        values * self.stored().bitsize() / 8
    }

    /// Says which finite value the number type cannot hold.
    pub(super) fn check(self, key: &str, values: &[f32]) -> Result<(), CheckpointError> {
        let lost = |value: &f32| match self {
            Self::F32 => false,
            Self::F16 => value.is_finite() && f16::from_f32(*value).is_infinite(),
            Self::Bf16 => value.is_finite() && bf16::from_f32(*value).is_infinite(),
        };
        match values.iter().position(lost) {
            Some(index) => {
                Err(CheckpointError::OutOfRange { key: key.into(), index, value: values[index], dtype: self })
            }
            None => Ok(()),
        }
    }

    pub(super) fn write(self, file: &mut dyn Write, values: &[f32]) -> io::Result<()> {
        match self {
            Self::F32 => write_floats(file, values),
            Self::F16 => {
                let mut block = vec![f16::ZERO; BLOCK.min(values.len())];
                values.chunks(BLOCK).try_for_each(|values| {
                    block[..values.len()].convert_from_f32_slice(values);
                    write_halves(file, block[..values.len()].reinterpret_cast())
                })
            }
            Self::Bf16 => {
                let mut block = vec![bf16::ZERO; BLOCK.min(values.len())];
                values.chunks(BLOCK).try_for_each(|values| {
                    block[..values.len()].convert_from_f32_slice(values);
                    write_halves(file, block[..values.len()].reinterpret_cast())
                })
            }
        }
    }
}

impl fmt::Display for SaveDtype {
    /// As `config.json` names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        })
    }
}

fn write_floats(file: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    match cfg!(target_endian = "little") {
        true => file.write_all(bytemuck::cast_slice(values)),
        false => values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())),
    }
}

fn write_halves(file: &mut dyn Write, bits: &[u16]) -> io::Result<()> {
    match cfg!(target_endian = "little") {
        true => file.write_all(bytemuck::cast_slice(bits)),
        false => bits.iter().try_for_each(|bits| file.write_all(&bits.to_le_bytes())),
    }
}
