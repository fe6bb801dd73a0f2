//! How the values of a tensor are stored.

use std::fmt;

use safetensors::Dtype;

use super::blocks::Block;

/// How the values of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NumberType {
    /// One by one, in a number type as safetensors names it.
    Plain(Dtype),
    /// In blocks with a common scale, as GGUF has them.
    Block(&'static Block),
}

impl NumberType {
    /// The bytes that so many values take; `None` when the number overflows, or is not whole.
    pub(super) fn byte_size(self, values: usize) -> Option<usize> {
        match self {
            Self::Plain(dtype) => {
                let bits = values.checked_mul(dtype.bitsize())?;
                (bits % 8 == 0).then_some(bits / 8)
            }
            Self::Block(block) => match values % block.values {
                0 => (values / block.values).checked_mul(block.bytes),
                _ => None,
            },
        }
    }
}

impl PartialEq<Dtype> for NumberType {
    fn eq(&self, dtype: &Dtype) -> bool {
        *self == Self::Plain(*dtype)
    }
}

impl fmt::Display for NumberType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(dtype) => dtype.fmt(f),
            Self::Block(block) => f.write_str(block.name),
        }
    }
}
