//! Randomness as a function of where one is: `(seed, epoch, step, example)` gives a stream, so that a resumed run jumps to it.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Hashes a position, such as `[seed, epoch, step]`, to one well-mixed number (SplitMix64's finaliser over each part).
///
/// The result is part of what a stored run depends on and never changes between releases.
pub fn mix(position: &[u64]) -> u64 {
    position.iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| mix_into(state, *part))
}

/// What [`mix`] gives for a position whose mix is `state`, with `part` after it.
#[inline(always)]
pub(crate) fn mix_into(state: u64, part: u64) -> u64 {
    let mut z = state.wrapping_add(part).wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The random stream that belongs to a position.
pub fn stream(position: &[u64]) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(mix(position))
}

/// A random order of `0..len` that belongs to a position (Fisher and Yates).
///
/// Written out here because the order is part of what a stored run depends on, and `rand` may change how it shuffles.
pub fn permutation(len: usize, position: &[u64]) -> Vec<usize> {
    let mut random = stream(position);
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        // The high half of the product is uniform over 0..=last up to a bias of last / 2^64.
        let other = ((u128::from(random.next_u64()) * (last as u128 + 1)) >> 64) as usize;
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_positions_differ_and_order_matters() {
        assert_ne!(mix(&[1, 2]), mix(&[2, 1]));
        assert_ne!(mix(&[0]), mix(&[0, 0]));
        assert_eq!(mix(&[7, 8, 9]), mix_into(mix(&[7, 8]), 9));
    }

    #[test]
    fn permutations_are_stable_across_releases() {
        assert_eq!(permutation(0, &[1]), Vec::<usize>::new());
        assert_eq!(permutation(8, &[1, 2]), [7, 6, 3, 4, 5, 2, 0, 1]);
        assert_ne!(permutation(8, &[1, 2]), permutation(8, &[1, 3]));
        let mut sorted = permutation(100, &[9]);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
