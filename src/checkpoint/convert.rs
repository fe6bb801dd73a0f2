//! From stored bytes to float32, in blocks and on all cores.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use safetensors::Dtype;

use super::blocks::Block;
use super::number_type::NumberType;

/// Values that one job converts: few enough to share among cores, many enough to be worth a job.
const JOB: usize = 1 << 16;
/// A tile of a transposition, which fits into the first cache.
const TILE_ROWS: usize = 32;
const TILE_COLUMNS: usize = 64;

/// How float values lie in a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Coding {
    F32,
    F64,
    F16,
    BF16,
    Block(&'static Block),
}

impl Coding {
    pub(super) fn of(kind: NumberType) -> Option<Self> {
        match kind {
            NumberType::Plain(Dtype::F32) => Some(Self::F32),
            NumberType::Plain(Dtype::F64) => Some(Self::F64),
            NumberType::Plain(Dtype::F16) => Some(Self::F16),
            NumberType::Plain(Dtype::BF16) => Some(Self::BF16),
            NumberType::Block(block) if block.decode.is_some() => Some(Self::Block(block)),
            _ => None,
        }
    }

    /// Bytes of the smallest piece that can be read by itself.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Block(block) => block.bytes,
        }
    }

    /// Values of that piece.
    pub(super) fn block_values(self) -> usize {
        match self {
            Self::Block(block) => block.values,
            _ => 1,
        }
    }

    /// The bytes that so many values take, which are whole blocks.
    pub(super) fn bytes_of(self, values: usize) -> usize {
        values / self.block_values() * self.block_bytes()
    }

    fn decode(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 => each(bytes, values, f32::from_le_bytes),
            Self::F64 => each(bytes, values, |value| f64::from_le_bytes(value) as f32),
            // A half's bits are the upper ones of a float.
            Self::BF16 => each(bytes, values, |[low, high]| f32::from_le_bytes([0, 0, low, high])),
            Self::F16 => halves(bytes, values),
            Self::Block(block) => {
                let blocks = values.chunks_exact_mut(block.values).zip(bytes.chunks_exact(block.bytes));
                let decode = block.decode.unwrap_or(|_, _| ());
                blocks.for_each(|(values, bytes)| decode(bytes, values));
            }
        }
    }
}

fn each<const N: usize>(bytes: &[u8], values: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = decode(*bytes);
    }
}

/// Processors convert halves only by the several.
fn halves(bytes: &[u8], values: &mut [f32]) {
    let mut buffer = [f16::ZERO; 64];
    for (values, bytes) in values.chunks_mut(64).zip(bytes.chunks(128)) {
        for (half, bytes) in buffer.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        buffer[..values.len()].convert_to_f32_slice(values);
    }
}

/// Converts `bytes` into `values` in their order.
pub(super) fn straight(coding: Coding, bytes: &[u8], values: &mut [f32]) {
    let jobs = values.par_chunks_mut(JOB).zip(bytes.par_chunks(coding.bytes_of(JOB)));
    jobs.for_each(|(values, bytes)| coding.decode(bytes, values));
}

/// Some rows of a matrix `[rows, columns]`, for its transpose `[columns, rows]`.
pub(super) struct Rows<'a> {
    pub(super) coding: Coding,
    pub(super) bytes: &'a [u8],
    /// Place of the first of them in the matrix.
    pub(super) first: usize,
    /// Rows and columns of the matrix.
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Rows<'_> {
    /// Converts the rows into their columns of `values`, the transpose of the whole matrix.
    pub(super) fn transpose(&self, values: &mut [f32]) {
        let width = TILE_COLUMNS.next_multiple_of(self.coding.block_values());
        values.par_chunks_mut(width * self.rows).enumerate().for_each(|(job, values)| {
            let mut tile = vec![0.0; TILE_ROWS * width];
            self.columns_from(job * width, &mut tile, values);
        });
    }

    /// The columns from `column` on, as many as `values` has room for.
    fn columns_from(&self, column: usize, tile: &mut [f32], values: &mut [f32]) {
        let width = values.len() / self.rows;
        let row_bytes = self.coding.bytes_of(self.columns);
        let (from, to) = (self.coding.bytes_of(column), self.coding.bytes_of(column + width));
        for (number, rows) in self.bytes.chunks(TILE_ROWS * row_bytes).enumerate() {
            for (line, row) in tile.chunks_mut(width).zip(rows.chunks(row_bytes)) {
                self.coding.decode(&row[from..to], line);
            }
            let (first, count) = (self.first + number * TILE_ROWS, rows.len() / row_bytes);
            for (column, out) in values.chunks_mut(self.rows).enumerate() {
                let lines = tile.chunks(width).map(|line| line[column]);
                out[first..first + count].iter_mut().zip(lines).for_each(|(out, value)| *out = value);
            }
        }
    }
}

/// The values of a matrix `[rows, columns]` in the order of its transpose.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

/// Whether no value is infinite or NaN.
pub(super) fn all_finite(values: &[f32]) -> bool {
    // Without an early end, the loop is done by the several.
    values.par_chunks(JOB).all(|values| values.iter().fold(true, |fine, value| fine & value.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn bytes(coding: Coding, values: &[f32]) -> Vec<u8> {
        let bytes = |value: &f32| match coding {
            Coding::F32 => value.to_le_bytes().to_vec(),
            Coding::F64 => f64::from(*value).to_le_bytes().to_vec(),
            Coding::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
            Coding::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
            Coding::Block(_) => unreachable!("blocks hold no values exactly"),
        };
        values.iter().flat_map(bytes).collect()
    }

    #[test]
    fn a_transpose_of_any_shape_in_any_pieces_is_right() {
        for (rows, columns) in [(1, 1), (1, 200), (200, 1), (31, 65), (64, 64), (100, 130), (33, 257)] {
            // Small whole numbers, which every coding holds exactly.
            let source: Vec<f32> = (0..rows * columns).map(|i| (i % 251) as f32 - 100.0).collect();
            for coding in [Coding::F32, Coding::F64, Coding::F16, Coding::BF16] {
                let stored = bytes(coding, &source);
                let mut read = vec![f32::NAN; rows * columns];
                straight(coding, &stored, &mut read);
                assert_eq!(read, source);
                for piece in [rows, 1, 7] {
                    let mut turned = vec![f32::NAN; rows * columns];
                    for (number, bytes) in stored.chunks(piece * coding.bytes_of(columns)).enumerate() {
                        Rows { coding, bytes, first: number * piece, rows, columns }.transpose(&mut turned);
                    }
                    for (place, value) in turned.iter().enumerate() {
                        assert_eq!(*value, source[place % rows * columns + place / rows], "{rows} x {columns}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_found_anywhere() {
        let mut values = vec![1.0; 3 * JOB + 1];
        assert!(all_finite(&values) && all_finite(&[]));
        values[2 * JOB + 5] = f32::NAN;
        assert!(!all_finite(&values));
        values[2 * JOB + 5] = f32::NEG_INFINITY;
        assert!(!all_finite(&values));
    }
}
