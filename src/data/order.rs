//! Which rows make which batch: a function of the seed and the epoch.

use serde::{Deserialize, Serialize};

use crate::random::permutation;

/// Batches in a bucketing window. Larger windows pad less; 50 already brings rows of a batch to nearly equal length
/// while the batches of an epoch still mix.
const WINDOW: usize = 50;

/// Keeps the order of rows apart from the order of batches.
const ROWS: u64 = 1;
const BATCHES: u64 = 2;

/// How an epoch's rows are put into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchOrder {
    /// Rows in a batch; the last batch may be shorter. 0 counts as 1.
    pub batch_size: usize,
    /// What the order is drawn from.
    pub seed: u64,
    /// Whether rows come in random order.
    pub shuffle: bool,
    /// Whether rows of similar length share a batch, so that little is padded.
    pub bucket: bool,
}

impl BatchOrder {
    /// The batches of one epoch as row indices; each of the `lengths.len()` rows is in exactly one of them.
    ///
    /// `lengths` are the rows' lengths in tokens. With `shuffle` the order is a function of `(seed, epoch)`. With `bucket`
    /// as well, windows of 50 batches of the shuffled rows are sorted by length and cut, and then the batches are
    /// shuffled. With `bucket` alone all rows are sorted by length, in the order of their indices where that is equal.
    pub fn batches(&self, lengths: &[usize], epoch: u64) -> Vec<Vec<usize>> {
        let size = self.batch_size.max(1);
        let mut rows = match self.shuffle {
            true => permutation(lengths.len(), &[self.seed, epoch, ROWS]),
            false => (0..lengths.len()).collect(),
        };
        if self.bucket {
            let window = if self.shuffle { size.saturating_mul(WINDOW) } else { rows.len().max(1) };
            rows.chunks_mut(window).for_each(|rows| rows.sort_by_key(|row| lengths[*row]));
        }
        let batches: Vec<Vec<usize>> = rows.chunks(size).map(<[usize]>::to_vec).collect();
        if !(self.shuffle && self.bucket) {
            return batches;
        }
        let order = permutation(batches.len(), &[self.seed, epoch, BATCHES]);
        order.into_iter().map(|batch| batches[batch].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(batch_size: usize, seed: u64, shuffle: bool, bucket: bool) -> BatchOrder {
        BatchOrder { batch_size, seed, shuffle, bucket }
    }

    proptest! {
        #[test]
        fn every_row_comes_once_and_one_batch_is_short(
            lengths in prop::collection::vec(0_usize..200, 0..700),
            size in 0_usize..9,
            seed: u64,
            epoch in 0_u64..5,
            shuffle: bool,
            bucket: bool,
        ) {
            let order = order(size, seed, shuffle, bucket);
            let batches = order.batches(&lengths, epoch);
            let mut rows: Vec<usize> = batches.iter().flatten().copied().collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            let size = size.max(1);
            prop_assert!(batches.iter().all(|batch| !batch.is_empty() && batch.len() <= size));
            prop_assert!(batches.iter().filter(|batch| batch.len() < size).count() <= 1);
            prop_assert_eq!(order.batches(&lengths, epoch), batches);
        }

        #[test]
        fn without_bucket_the_order_ignores_lengths(
            a in prop::collection::vec(0_usize..200, 40),
            b in prop::collection::vec(0_usize..200, 40),
            seed: u64,
        ) {
            prop_assert_eq!(order(4, seed, true, false).batches(&a, 1), order(4, seed, true, false).batches(&b, 1));
        }

        #[test]
        fn bucketed_rows_ascend_within_a_batch(
            lengths in prop::collection::vec(0_usize..200, 0..700),
            seed: u64,
            shuffle: bool,
        ) {
            for batch in order(8, seed, shuffle, true).batches(&lengths, 0) {
                prop_assert!(batch.is_sorted_by_key(|row| lengths[*row]));
            }
        }
    }

    #[test]
    fn plain_orders_are_what_they_say() {
        assert_eq!(order(2, 0, false, false).batches(&[5, 4, 3], 9), [vec![0, 1], vec![2]]);
        assert_eq!(order(2, 0, false, true).batches(&[5, 4, 3, 4], 9), [vec![2, 1], vec![3, 0]]);
        assert!(order(2, 0, true, true).batches(&[], 0).is_empty());
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let lengths = vec![7; 64];
        let first = order(8, 1, true, true).batches(&lengths, 0);
        assert_ne!(first, order(8, 1, true, true).batches(&lengths, 1));
        assert_ne!(first, order(8, 2, true, true).batches(&lengths, 0));
    }

    #[test]
    fn buckets_save_most_of_the_padding() {
        let lengths: Vec<usize> = permutation(4000, &[3]).into_iter().map(|row| 1 + row % 100).collect();
        let cells = |bucket| {
            let batches = order(32, 5, true, bucket).batches(&lengths, 0);
            let cells = |batch: &Vec<usize>| batch.len() * batch.iter().map(|row| lengths[*row]).max().unwrap();
            batches.iter().map(cells).sum::<usize>() as f64
        };
        let needed = lengths.iter().sum::<usize>() as f64;
        assert!(cells(true) / needed < 1.03, "{}", cells(true) / needed);
        assert!(cells(false) / needed > 1.8);
    }
}
