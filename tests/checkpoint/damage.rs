//! Whatever the bytes, opening is an error or reads what the reference implementation reads.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rekindle::checkpoint::{Dtype, Tensors};
use safetensors::SafeTensors;

use super::{f32_bytes, raw_file, reference_file, temporary};

fn sound() -> Vec<u8> {
    let ramp = |count: usize| f32_bytes(&(0..count).map(|i| i as f32 - 3.5).collect::<Vec<_>>());
    reference_file(&[
        ("bert.encoder.layer.0.output.dense.weight", Dtype::F32, vec![6, 5], ramp(30)),
        ("bert.encoder.layer.0.output.dense.bias", Dtype::F32, vec![6], ramp(6)),
        ("bert.embeddings.position_ids", Dtype::I64, vec![1, 4], (0..4i64).flat_map(i64::to_le_bytes).collect()),
        ("half", Dtype::BF16, vec![3], vec![1, 2, 3, 4, 5, 6]),
        ("flag", Dtype::BOOL, vec![], vec![1]),
    ])
}

fn header_end(bytes: &[u8]) -> usize {
    8 + usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Opens the bytes and reads every tensor in every way; whether it opened. What it gives, the reference gives too.
fn opens(bytes: &[u8], path: &Path) -> bool {
    fs::write(path, bytes).expect("written");
    let Ok(tensors) = Tensors::open_file(path) else { return false };
    let reference = SafeTensors::deserialize(bytes).expect("the reference reads what we read");
    assert_eq!(reference.len(), tensors.len());
    for key in tensors.keys() {
        let view = reference.tensor(key).expect("the same keys");
        assert_eq!(*tensors.bytes(key).expect("there"), *view.data());
        assert_eq!(tensors.shape(key).expect("there"), view.shape());
        assert_eq!(tensors.dtype(key).expect("there"), view.dtype());
        let count = view.shape().iter().product::<usize>();
        for length in [tensors.f32(key).map(|v| v.len()), tensors.i64(key).map(|v| v.len())].into_iter().flatten() {
            assert_eq!(length, count);
        }
        let _ = tensors.finite_f32(key);
    }
    true
}

#[test]
fn a_truncated_file_never_opens() {
    let (dir, bytes) = (temporary(), sound());
    let path = dir.path().join("a.safetensors");
    assert!(opens(&bytes, &path));
    let parts = (0..64).map(|part| bytes.len() * part / 64);
    for length in parts.chain(0..header_end(&bytes) + 1).chain([bytes.len() - 1]) {
        assert!(!opens(&bytes[..length], &path), "{length} of {} bytes", bytes.len());
    }
    assert!(!opens(&[&bytes[..], &[0]].concat(), &path), "one byte too many");
}

#[test]
fn every_flipped_header_bit_is_an_error_or_a_correct_read() {
    let (dir, bytes) = (temporary(), sound());
    let path = dir.path().join("a.safetensors");
    let mut refused = 0;
    for position in 0..header_end(&bytes) {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            refused += usize::from(!opens(&damaged, &path));
        }
    }
    assert!(refused > 256, "{refused} flips were refused");
}

#[test]
fn every_header_byte_may_become_structure() {
    let (dir, bytes) = (temporary(), sound());
    let path = dir.path().join("a.safetensors");
    for position in 0..header_end(&bytes) {
        for value in [0, 0xFF, b'"', b'{', b'}', b'[', b',', b'9', b'-', b' ', b'\\'] {
            let mut damaged = bytes.clone();
            damaged[position] = value;
            opens(&damaged, &path);
        }
    }
}

proptest! {
    #[test]
    fn several_damages_at_once(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (dir, mut bytes) = (temporary(), sound());
        for (index, value) in edits {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        opens(&bytes, &dir.path().join("a.safetensors"));
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = temporary();
        opens(&bytes, &dir.path().join("a.safetensors"));
    }

    #[test]
    fn any_offsets(
        entries in prop::collection::vec((prop::collection::vec(0usize..5, 0..3), 0usize..9, 0usize..9), 1..4),
        length in 0usize..12,
    ) {
        let tensors = entries.iter().enumerate().map(|(i, (shape, begin, end))| {
            format!(r#""k{i}":{{"dtype":"U8","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
        });
        let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
        let bytes = raw_file(&header, &vec![7; length]);
        let dir = temporary();
        let opened = opens(&bytes, &dir.path().join("a.safetensors"));
        prop_assert_eq!(opened, SafeTensors::deserialize(&bytes).is_ok());
    }
}
