//! A tensor whose values do not lie one after the other, such as the transpose of a matrix.

/// How values lie in the bytes that span them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) shape: &'a [usize],
    /// Distance of neighbours along each axis, in values.
    pub(super) strides: &'a [usize],
    /// Bytes of a value.
    pub(super) width: usize,
}

impl Strided<'_> {
    /// Bytes of all values, one after the other.
    pub(super) fn byte_size(&self) -> usize {
        self.shape.iter().product::<usize>() * self.width
    }

    /// Copies values from their `span` in row-major order, from byte `start` of that order on, until `out` is full.
    pub(super) fn gather(&self, span: &[u8], start: usize, out: &mut [u8]) {
        let mut index = self.index_of(start / self.width);
        for value in out.chunks_exact_mut(self.width) {
            let place =
                index.iter().zip(self.strides).map(|(index, stride)| index * stride).sum::<usize>() * self.width;
            value.copy_from_slice(&span[place..place + self.width]);
            self.advance(&mut index);
        }
    }

    fn index_of(&self, mut number: usize) -> Vec<usize> {
        let mut index = vec![0; self.shape.len()];
        for (index, size) in index.iter_mut().zip(self.shape).rev() {
            *index = number % size;
            number /= size;
        }
        index
    }

    fn advance(&self, index: &mut [usize]) {
        for (index, size) in index.iter_mut().zip(self.shape).rev() {
            *index += 1;
            if *index < *size {
                return;
            }
            *index = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_is_gathered_in_any_pieces() {
        // The matrix [[0, 1, 2], [3, 4, 5]] as its transpose, two bytes a value.
        let span: Vec<u8> = (0..6).flat_map(|value| [value, 100 + value]).collect();
        let strided = Strided { shape: &[3, 2], strides: &[1, 3], width: 2 };
        let mut whole = vec![0; strided.byte_size()];
        strided.gather(&span, 0, &mut whole);
        assert_eq!(whole, [0, 100, 3, 103, 1, 101, 4, 104, 2, 102, 5, 105]);
        for start in [2, 4, 10] {
            let mut part = vec![0; whole.len() - start];
            strided.gather(&span, start, &mut part);
            assert_eq!(part, whole[start..]);
        }
    }
}
