//! Ranks with ties.

/// The rank of each value, from 1; equal values share the mean of theirs.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut before) = (vec![0.0; values.len()], 0);
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (group.len() + 1) as f64 / 2.0;
        group.iter().for_each(|index| ranks[*index] = rank);
        before += group.len();
    }
    ranks
}

/// Kendall's tau-b by sorting (Knight, 1966); `None` where one side is constant.
pub(super) fn kendall_tau_b(a: &[f64], b: &[f64]) -> Option<f64> {
    // Adding 0 makes -0 the same as 0 for every comparison below.
    let mut pairs: Vec<(f64, f64)> = a.iter().zip(b).map(|(a, b)| (a + 0.0, b + 0.0)).collect();
    pairs.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1)));
    let all = choose_two(pairs.len());
    let tied_a = tied(&pairs, |pair| pair.0);
    let tied_both: f64 = pairs.chunk_by(|left, right| left == right).map(|group| choose_two(group.len())).sum();
    let mut seconds: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let discordant = sort_counting(&mut seconds);
    let tied_b = tied(&seconds, |value| *value);
    let spread = (all - tied_a) * (all - tied_b);
    let concordant = all - tied_a - tied_b + tied_both - discordant;
    (spread > 0.0).then(|| (concordant - discordant) / spread.sqrt())
}

/// Pairs of equal neighbours in a sorted list.
fn tied<T>(sorted: &[T], key: impl Fn(&T) -> f64) -> f64 {
    sorted.chunk_by(|left, right| key(left) == key(right)).map(|group| choose_two(group.len())).sum()
}

fn choose_two(count: usize) -> f64 {
    count as f64 * (count as f64 - 1.0) / 2.0
}

/// Sorts by merging and counts the pairs that stood the wrong way round.
fn sort_counting(values: &mut [f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut swaps = sort_counting(left) + sort_counting(right);
    let (left, right) = (left.to_vec(), right.to_vec());
    let (mut from_left, mut from_right) = (0, 0);
    for value in values {
        if from_right == right.len() || (from_left < left.len() && left[from_left] <= right[from_right]) {
            *value = left[from_left];
            from_left += 1;
        } else {
            *value = right[from_right];
            from_right += 1;
            swaps += (left.len() - from_left) as f64;
        }
    }
    swaps
}
