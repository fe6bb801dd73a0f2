//! How values of a GGUF file differ from those of Transformers' files.

use crate::checkpoint::convert::transposed;
use crate::checkpoint::header::Entry;

/// What turns stored values into Transformers'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::checkpoint) enum Change {
    /// Rows of so many heads, which llama.cpp turns in neighbouring pairs and Transformers in halves.
    Halves { heads: usize },
    /// One less: llama.cpp multiplies by the stored value, Gemma by one more.
    LessOne,
    /// The transpose of the stored matrix.
    Transposed,
    /// One of so many matrices that are stored as one tensor: those of a layer's experts.
    Slab { index: usize, of: usize },
}

impl Change {
    /// Where and of which shape a tensor is that is stored so.
    pub(in crate::checkpoint) fn place(self, entry: &mut Entry) {
        match self {
            Self::Transposed => entry.shape.reverse(),
            Self::Slab { index, of } => {
                let bytes = entry.range.len() / of;
                let start = entry.range.start + index * bytes;
                entry.range = start..start + bytes;
                entry.shape.remove(0);
            }
            _ => {}
        }
    }

    /// Applies it to values of a shape as Transformers has it.
    pub(in crate::checkpoint) fn apply(self, mut values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match self {
            Self::LessOne => {
                values.iter_mut().for_each(|value| *value -= 1.0);
                values
            }
            // Where its bytes stand says it all.
            Self::Slab { .. } => values,
            Self::Transposed => match shape {
                [rows, columns] => transposed(&values, *columns, *rows),
                _ => values,
            },
            Self::Halves { heads } => {
                let rows = shape.first().copied().unwrap_or(0);
                let (width, columns) = (rows / heads, values.len() / rows.max(1));
                let row = |row: usize| {
                    let (head, place) = (row / width, row % width);
                    let stored = head * width + place % (width / 2) * 2 + place / (width / 2);
                    values[stored * columns..(stored + 1) * columns].iter().copied()
                };
                (0..rows).flat_map(row).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_halves() {
        // Two heads of width 4: pairs (0, 2) and (1, 3) of a head are stored side by side.
        let stored = vec![0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0];
        let expected = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        assert_eq!(Change::Halves { heads: 2 }.apply(stored.clone(), &[8]), expected);
        let rows: Vec<f32> = stored.iter().flat_map(|value| [*value, value + 100.0]).collect();
        let wanted: Vec<f32> = expected.iter().flat_map(|value| [*value, value + 100.0]).collect();
        assert_eq!(Change::Halves { heads: 2 }.apply(rows, &[8, 2]), wanted);
    }

    #[test]
    fn a_matrix_is_turned_and_a_bias_is_not() {
        let stored = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(Change::Transposed.apply(stored.clone(), &[3, 2]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(Change::Transposed.apply(stored.clone(), &[6]), stored);
        assert_eq!(Change::LessOne.apply(vec![1.5, 0.0], &[2]), [0.5, -1.0]);
    }
}
