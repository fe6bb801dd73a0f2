//! Which rows make which batch: a function of the seed and the epoch.

use serde::{Deserialize, Serialize};

use crate::random::permutation;

/// Batches in a bucketing window. Larger windows pad less; 50 already brings rows of a batch to nearly equal length
/// while the batches of an epoch still mix.
const WINDOW: usize = 50;

/// Keeps the order of rows apart from the order of batches.
const ROWS: u64 = 1;
const BATCHES: u64 = 2;

/// How much a batch may hold. A number of rows is a limit by itself: `BatchLimit::from(32)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLimit {
    /// Rows, at most. 0 counts as 1.
    pub batch_size: usize,
    /// Padded tokens, at most: rows times the length of the longest. `None` leaves the number of rows alone to count. A
    /// row that is longer by itself is a batch of its own.
    pub max_tokens: Option<usize>,
}

impl From<usize> for BatchLimit {
    fn from(batch_size: usize) -> Self {
        Self { batch_size, max_tokens: None }
    }
}

impl BatchLimit {
    /// Cuts rows, in the order that they have, into batches as large as may be.
    pub(crate) fn cut<T>(self, rows: &[T], length: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
        let mut rest = rows;
        std::iter::from_fn(move || {
            let (batch, later) = rest.split_at(self.fitting(rest.iter().map(&length)));
            rest = later;
            (!batch.is_empty()).then_some(batch)
        })
    }

    /// How many of these rows go into one batch: one at least, where there is one.
    fn fitting(self, lengths: impl Iterator<Item = usize>) -> usize {
        let mut longest = 0;
        let fits = |(before, length): &(usize, usize)| {
            longest = longest.max(*length);
            *before == 0 || self.max_tokens.is_none_or(|most| (before + 1).saturating_mul(longest) <= most)
        };
        lengths.take(self.batch_size.max(1)).enumerate().take_while(fits).count()
    }

    /// Rows of a batch of average lengths.
    fn typical(self, lengths: &[usize]) -> usize {
        let size = self.batch_size.max(1);
        let tokens = lengths.iter().sum::<usize>().max(1);
        self.max_tokens.map_or(size, |most| (most.saturating_mul(lengths.len()) / tokens).clamp(1, size))
    }
}

/// How an epoch's rows are put into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchOrder {
    /// Rows in a batch, at most; without `max_tokens` only the last batch has fewer. 0 counts as 1.
    pub batch_size: usize,
    /// Padded tokens in a batch, at most: rows times the length of the longest. A row that is longer by itself is a batch of
    /// its own. How many batches there are may then differ from epoch to epoch.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// What the order is drawn from.
    pub seed: u64,
    /// Whether rows come in random order.
    pub shuffle: bool,
    /// Whether rows of similar length share a batch, so that little is padded.
    pub bucket: bool,
}

impl BatchOrder {
    /// Batches of rows of similar length in an order that depends on lengths alone.
    pub fn by_length(limit: impl Into<BatchLimit>) -> Self {
        let BatchLimit { batch_size, max_tokens } = limit.into();
        Self { batch_size, max_tokens, seed: 0, shuffle: false, bucket: true }
    }

    /// The batches of one epoch as row indices; each of the `lengths.len()` rows is in exactly one of them.
    ///
    /// `lengths` are the rows' lengths in tokens. With `shuffle` the order is a function of `(seed, epoch)`. With `bucket`
    /// as well, windows of 50 typical batches of the shuffled rows are sorted by length and cut, and then the batches are
    /// shuffled. With `bucket` alone all rows are sorted by length, in the order of their indices where that is equal.
    pub fn batches(&self, lengths: &[usize], epoch: u64) -> Vec<Vec<usize>> {
        let (rows, window) = self.rows(lengths, epoch);
        let mut batches: Vec<Vec<usize>> = self.cut(&rows, window, lengths).map(<[usize]>::to_vec).collect();
        if !(self.shuffle && self.bucket) {
            return batches;
        }
        let order = permutation(batches.len(), &[self.seed, epoch, BATCHES]);
        order.into_iter().map(|batch| std::mem::take(&mut batches[batch])).collect()
    }

    /// How many [`batches`](Self::batches) there are.
    pub fn count(&self, lengths: &[usize], epoch: u64) -> usize {
        if self.max_tokens.is_none() {
            return lengths.len().div_ceil(self.batch_size.max(1));
        }
        let (rows, window) = self.rows(lengths, epoch);
        self.cut(&rows, window, lengths).count()
    }

    /// The rows in the order in which they are cut, and how many of them make a window, over whose end no batch reaches.
    fn rows(&self, lengths: &[usize], epoch: u64) -> (Vec<usize>, usize) {
        let mut rows = match self.shuffle {
            true => permutation(lengths.len(), &[self.seed, epoch, ROWS]),
            false => (0..lengths.len()).collect(),
        };
        let window = match self.shuffle && self.bucket {
            true => self.limit().typical(lengths).saturating_mul(WINDOW),
            false => rows.len().max(1),
        };
        if self.bucket {
            rows.chunks_mut(window).for_each(|rows| rows.sort_by_key(|row| lengths[*row]));
        }
        (rows, window)
    }

    fn cut<'a>(&self, rows: &'a [usize], window: usize, lengths: &[usize]) -> impl Iterator<Item = &'a [usize]> {
        let limit = self.limit();
        rows.chunks(window).flat_map(move |rows| limit.cut(rows, |row| lengths[*row]))
    }

    fn limit(&self) -> BatchLimit {
        BatchLimit { batch_size: self.batch_size, max_tokens: self.max_tokens }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(batch_size: usize, seed: u64, shuffle: bool, bucket: bool) -> BatchOrder {
        BatchOrder { batch_size, max_tokens: None, seed, shuffle, bucket }
    }

    fn padded(batch: &[usize], lengths: &[usize]) -> usize {
        batch.len() * batch.iter().map(|row| lengths[*row]).max().unwrap_or(0)
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
            prop_assert_eq!(order.count(&lengths, epoch), batches.len());
            prop_assert_eq!(order.batches(&lengths, epoch), batches);
        }

        #[test]
        fn a_budget_holds_and_every_row_comes_once(
            lengths in prop::collection::vec(0_usize..200, 0..700),
            size in 0_usize..40,
            most in 0_usize..900,
            seed: u64,
            epoch in 0_u64..5,
            shuffle: bool,
            bucket: bool,
        ) {
            let order = BatchOrder { max_tokens: Some(most), ..order(size, seed, shuffle, bucket) };
            let batches = order.batches(&lengths, epoch);
            let mut rows: Vec<usize> = batches.iter().flatten().copied().collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert!(batch.len() == 1 || padded(batch, &lengths) <= most, "{:?}", batch);
                prop_assert!(!batch.is_empty() && batch.len() <= size.max(1));
                prop_assert!(!bucket || batch.is_sorted_by_key(|row| lengths[*row]));
            }
            prop_assert_eq!(order.count(&lengths, epoch), batches.len());
            prop_assert_eq!(order.batches(&lengths, epoch), batches);
        }

        #[test]
        fn a_budget_that_nothing_reaches_changes_nothing(
            lengths in prop::collection::vec(0_usize..200, 0..700),
            size in 0_usize..9,
            seed: u64,
            shuffle: bool,
            bucket: bool,
        ) {
            let order = order(size, seed, shuffle, bucket);
            let wide = BatchOrder { max_tokens: Some(size.max(1) * 200), ..order };
            prop_assert_eq!(wide.batches(&lengths, 1), order.batches(&lengths, 1));
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
            batches.iter().map(|batch| padded(batch, &lengths)).sum::<usize>() as f64
        };
        let needed = lengths.iter().sum::<usize>() as f64;
        assert!(cells(true) / needed < 1.03, "{}", cells(true) / needed);
        assert!(cells(false) / needed > 1.8);
    }
    #[test]
    fn a_batch_takes_rows_until_the_next_one_would_go_over_the_budget() {
        let order = BatchOrder { max_tokens: Some(12), ..order(4, 0, false, true) };
        // 2 2 2 2 | 3 4 4 | 5 6 | 7 | 13: four rows at most, twelve padded tokens at most, and one row that is longer.
        let lengths = [13, 2, 2, 4, 7, 2, 6, 5, 3, 4, 2];
        let expected = [vec![1, 2, 5, 10], vec![8, 3, 9], vec![7, 6], vec![4], vec![0]];
        assert_eq!(order.batches(&lengths, 0), expected);
        assert_eq!(order.count(&lengths, 3), 5);
        let unsorted = BatchOrder { bucket: false, ..order };
        assert_eq!(unsorted.batches(&[13, 2, 6, 7, 5], 0), [vec![0], vec![1, 2], vec![3], vec![4]]);
    }

    #[test]
    fn batches_by_budget_are_full_and_little_padded() {
        let lengths: Vec<usize> = permutation(4000, &[3]).into_iter().map(|row| 1 + row % 100).collect();
        let order = BatchOrder { max_tokens: Some(2048), ..order(4000, 5, true, true) };
        let batches = order.batches(&lengths, 0);
        let cells = batches.iter().map(|batch| padded(batch, &lengths)).sum::<usize>() as f64;
        let needed = lengths.iter().sum::<usize>() as f64;
        assert!(cells / needed < 1.05, "{}", cells / needed);
        assert!(needed / (2048.0 * batches.len() as f64) > 0.9, "{} batches", batches.len());
    }
}
