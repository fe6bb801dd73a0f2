//! Changes to bytes that parsers are bad at.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Numbers at which sizes overflow or signs turn.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX >> 1, u64::MAX];
/// Longest input that is made.
const LONGEST: usize = 1 << 16;

/// The `number`-th change to one of the seeds.
pub(crate) fn mutated(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let mut bytes = seeds[below(&mut rng, seeds.len())].clone();
    for _ in 0..1 + below(&mut rng, 6) {
        change(&mut bytes, seeds, &mut rng);
    }
    bytes.truncate(LONGEST.max(bytes.len() / 2));
    bytes
}

fn below(rng: &mut ChaCha8Rng, end: usize) -> usize {
    (rng.next_u64() % end.max(1) as u64) as usize
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    if bytes.is_empty() {
        bytes.push(rng.next_u32() as u8);
    }
    let at = below(rng, bytes.len());
    let run = 1 + below(rng, (bytes.len() - at).min(40));
    match below(rng, 9) {
        0 => bytes[at] ^= 1 << below(rng, 8),
        1 => bytes[at] = rng.next_u32() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..at + run)),
        4 => {
            let copy = bytes[at..at + run].to_vec();
            let to = below(rng, bytes.len());
            bytes.splice(to..to, copy);
        }
        5 => {
            // A number of 1, 2, 4 or 8 bytes.
            let edge = EDGES[below(rng, EDGES.len())].to_le_bytes();
            let width = (1 << below(rng, 4)).min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&edge[..width]);
        }
        6 => {
            // A number in decimal digits.
            let digits = EDGES[below(rng, EDGES.len())].to_string();
            bytes.splice(at..at + run.min(3), digits.into_bytes());
        }
        7 => {
            let other = &seeds[below(rng, seeds.len())];
            let from = below(rng, other.len());
            let end = from + below(rng, (other.len() - from).min(200));
            bytes.splice(at..at + run, other[from..end].to_vec());
        }
        _ => {
            const STRUCTURE: &[u8] = b"{}[]():,\"\\\n\r\t .-0Nn%";
            bytes.insert(at, STRUCTURE[below(rng, STRUCTURE.len())]);
        }
    }
}
