//! Randomness as a function of where one is: `(seed, epoch, step, example)` gives a stream, so that a resumed run jumps to it.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// Hashes a position, such as `[seed, epoch, step]`, to one well-mixed number (SplitMix64's finaliser over each part).
///
/// The result is part of what a stored run depends on and never changes between releases.
pub fn mix(position: &[u64]) -> u64 {
    position.iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| {
        let mut z = state.wrapping_add(*part).wrapping_mul(0xD1B5_4A32_D192_ED03);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// The random stream that belongs to a position.
pub fn stream(position: &[u64]) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(mix(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_positions_differ_and_order_matters() {
        assert_ne!(mix(&[1, 2]), mix(&[2, 1]));
        assert_ne!(mix(&[0]), mix(&[0, 0]));
        assert_eq!(mix(&[7, 8, 9]), mix(&[7, 8, 9]));
    }
}
