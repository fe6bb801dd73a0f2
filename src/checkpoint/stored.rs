//! A tensor as it lies in a file, and its way to float32.

use std::fmt;
use std::ops::{Deref, Range};

use super::convert::{Coding, Rows, straight};
use super::error::CheckpointError;
use super::map::{MappedFile, Mapping};
use super::strided::Strided;

/// The most bytes of a file that are mapped at once while a tensor is converted.
const WINDOW: usize = 16 << 20;

/// A tensor's place in its file.
pub(super) struct Stored<'a> {
    pub(super) file: &'a MappedFile,
    pub(super) range: Range<usize>,
    /// How the values lie in the range, where it is not one after the other.
    pub(super) strided: Option<Strided<'a>>,
}

/// A tensor's bytes: little-endian, row-major. They stay in memory for as long as this lives.
pub struct TensorBytes(Held);

enum Held {
    Mapped(Mapping),
    Gathered(Vec<u8>),
}

impl Stored<'_> {
    pub(super) fn whole(self) -> Result<TensorBytes, CheckpointError> {
        let mapping = self.file.range(self.range)?;
        Ok(TensorBytes(match self.strided {
            None => Held::Mapped(mapping),
            Some(strided) => {
                let mut bytes = vec![0; strided.byte_size()];
                strided.gather(&mapping, 0, &mut bytes);
                Held::Gathered(bytes)
            }
        }))
    }

    /// The values in their order, `count` of them.
    pub(super) fn values(self, coding: Coding, count: usize) -> Result<Vec<f32>, CheckpointError> {
        let mut values = vec![0.0; count];
        self.windows(coding.block_bytes(), |start, bytes| {
            let start = start / coding.block_bytes() * coding.block_values();
            straight(coding, bytes, &mut values[start..]);
        })?;
        Ok(values)
    }

    /// The values of a matrix `[rows, columns]` in the order of its transpose.
    pub(super) fn transposed(self, coding: Coding, rows: usize, columns: usize) -> Result<Vec<f32>, CheckpointError> {
        let mut values = vec![0.0; rows * columns];
        if values.is_empty() {
            return Ok(values);
        }
        let row_bytes = coding.bytes_of(columns);
        self.windows(row_bytes, |start, bytes| {
            Rows { coding, bytes, first: start / row_bytes, rows, columns }.transpose(&mut values);
        })?;
        Ok(values)
    }

    /// Shows the bytes in their order, whole `unit`s at a time, with the place of the first in the tensor.
    fn windows(self, unit: usize, mut show: impl FnMut(usize, &[u8])) -> Result<(), CheckpointError> {
        let Self { file, range, strided } = self;
        let step = (WINDOW / unit).max(1) * unit;
        let Some(strided) = strided else {
            for start in range.clone().step_by(step) {
                let window = file.range(start..range.end.min(start + step))?;
                show(start - range.start, &window);
            }
            return Ok(());
        };
        let (mapping, end) = (file.range(range)?, strided.byte_size());
        for start in (0..end).step_by(step) {
            let mut window = vec![0; step.min(end - start)];
            strided.gather(&mapping, start, &mut window);
            show(start, &window);
        }
        Ok(())
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Mapped(mapping) => mapping,
            Held::Gathered(bytes) => bytes,
        }
    }
}

impl fmt::Debug for TensorBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorBytes").field("len", &self.len()).finish_non_exhaustive()
    }
}
