//! GGUF files: one that the Python package `gguf` wrote (`tests/fixtures/gguf/make.py`), and ones that lie.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rekindle::checkpoint::{CheckpointError, Tensors, gguf_metadata};

use super::temporary;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

#[test]
fn every_number_type_gives_what_gguf_gives() {
    let expected = Tensors::open_file(file("expected.safetensors")).expect("sound");
    let tensors = Tensors::open_file(file("all.gguf")).expect("sound");
    assert_eq!((expected.len(), tensors.len()), (15, 16));
    for key in expected.keys() {
        assert_eq!(tensors.shape(key).expect("there"), expected.shape(key).expect("there"), "{key}");
        let kind = key.trim_start_matches("blk.0.").trim_end_matches(".weight");
        assert_eq!(tensors.dtype(key).expect("there").to_string().to_lowercase(), kind);
        let (read, wanted) = (tensors.finite_f32(key).expect("finite"), expected.f32(key).expect("there"));
        assert_eq!(read, wanted, "{key}");
    }
    assert_eq!(tensors.i64("ids").expect("whole numbers"), [1, -2, 3]);
    assert_eq!(tensors.shape("ids").expect("there"), [1, 3]);
    let error = tensors.i64("blk.0.q4_k.weight").expect_err("no whole numbers");
    assert!(error.to_string().contains("stored as Q4_K"), "{error}");
}

#[test]
fn metadata_is_given_by_its_keys() {
    let metadata = gguf_metadata(file("all.gguf")).expect("sound");
    for (key, value) in [
        ("general.architecture", serde_json::json!("llama")),
        ("llama.context_length", 128.into()),
        ("llama.vocab_size", u32::MAX.into()),
        ("llama.attention.layer_norm_rms_epsilon", 1e-5_f32.into()),
        ("tiny.flag", true.into()),
        ("tiny.below_zero", (-5).into()),
        ("tiny.double", 0.1.into()),
        ("tokenizer.ggml.tokens", serde_json::json!(["<s>", "ä", "b"])),
        ("tokenizer.ggml.scores", serde_json::json!([0.0, -1.5, 2.0])),
        ("tiny.numbers", serde_json::json!([1, 2, 3])),
    ] {
        assert_eq!(metadata.get(key), Some(&value), "{key}");
    }
    assert!(matches!(gguf_metadata(file("make.py")), Err(CheckpointError::Damaged { .. })));
}

/// A file of version 3: its metadata and tensor infos as they stand in it, how many of each, and so many bytes of data.
fn built(counts: [u64; 2], metadata: &[u8], infos: &[u8], data: usize) -> Vec<u8> {
    let start = [b"GGUF", &3u32.to_le_bytes()[..], &counts[1].to_le_bytes(), &counts[0].to_le_bytes()].concat();
    let mut bytes = [&start[..], metadata, infos].concat();
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn info(name: &str, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let sizes: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
    let axes = (shape.len() as u32).to_le_bytes();
    [&text(name)[..], &axes, &sizes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
}

fn alignment(value: u32) -> Vec<u8> {
    [&text("general.alignment")[..], &4u32.to_le_bytes(), &value.to_le_bytes()].concat()
}

#[test]
fn files_that_lie_are_errors() {
    let dir = temporary();
    let path = dir.path().join("a.gguf");
    let two = |second: u64| [info("a", &[4], 0, 0), info("b", &[4], 0, second)].concat();
    fs::write(&path, built([0, 2], &[], &two(32), 48)).expect("written");
    assert_eq!(Tensors::open_file(&path).expect("sound").len(), 2);
    for (bytes, reason) in [
        (built([0, 2], &[], &two(0), 64), "32 is next"),
        (built([0, 2], &[], &two(8), 64), "32 is next"),
        (built([0, 2], &[], &two(64), 96), "32 is next"),
        (built([0, 2], &[], &two(32), 47), "claims 16 bytes at byte 32"),
        (built([0, 1], &[], &info("a", &[4], 0, u64::MAX - 3), 64), "claims 16 bytes"),
        (built([0, 1], &[], &info("a", &[1 << 33, 1 << 33], 0, 0), 64), "no whole size"),
        (built([0, 1], &[], &info("a", &[33], 8, 0), 64), "no whole size"),
        (built([0, 1], &[], &info("a", &[16, 2], 8, 0), 64), "no whole size"),
        (built([0, 1], &[], &info("a", &[1; 5], 0, 0), 64), "5 axes"),
        (built([0, 1], &[], &info("a", &[1], 99, 0), 64), "99 (`a`)"),
        (built([0, 2], &[], &[info("a", &[8], 0, 0), info("a", &[8], 0, 32)].concat(), 64), "`a` occurs twice"),
        (built([2, 0], &[alignment(32), alignment(32)].concat(), &[], 0), "`general.alignment` occurs twice"),
        (built([1, 0], &alignment(24), &[], 0), "power of two"),
        (built([1, 0], &alignment(0), &[], 0), "power of two"),
        (built([u64::MAX, 0], &[], &[], 0), "follow"),
        (built([0, u64::MAX], &[], &[], 0), "follow"),
        (built([1, 0], &[&text("k")[..], &[13, 0, 0, 0]].concat(), &[], 0), "kind 13"),
        (built([1, 0], &[&text("k")[..], &[7, 0, 0, 0, 2]].concat(), &[], 0), "boolean 2"),
        (built([1, 0], &[&text("k")[..], &[9, 0, 0, 0, 9, 0, 0, 0], &[1; 8]].concat(), &[], 0), "list of lists"),
        (built([1, 0], &[&text("k")[..], &[9, 0, 0, 0, 0, 0, 0, 0], &[255; 8]].concat(), &[], 0), "follow"),
        (built([1, 0], &[255; 8], &[], 0), "claims 18446744073709551615 bytes"),
        (b"GGUF\x01\0\0\0\0\0\0\0".to_vec(), "the GGUF version"),
        (b"GGUF\0\0\0\x03\0\0\0\0".to_vec(), "the GGUF version"),
        (b"GGUF\x03\0\0\0\0".to_vec(), "follow"),
    ] {
        fs::write(&path, bytes).expect("written");
        let error = Tensors::open_file(&path).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}\n{reason}");
    }
}

#[test]
fn a_known_layout_that_is_not_read_is_named() {
    let dir = temporary();
    let path = dir.path().join("a.gguf");
    fs::write(&path, built([0, 1], &[], &info("a", &[256], 19, 0), 64)).expect("written");
    let tensors = Tensors::open_file(&path).expect("sound");
    let error = tensors.f32("a").expect_err("IQ1_S").to_string();
    assert!(error.contains("`a` is stored as IQ1_S, but f32 can read only F32, F16"), "{error}");
}

fn opens(bytes: &[u8], path: &Path) -> bool {
    fs::write(path, bytes).expect("written");
    let _ = gguf_metadata(path);
    let Ok(tensors) = Tensors::open_file(path) else { return false };
    for key in tensors.keys() {
        let count = tensors.shape(key).expect("there").iter().product::<usize>();
        if let Ok(values) = tensors.f32(key) {
            assert_eq!(values.len(), count);
        }
    }
    true
}

#[test]
fn a_cut_off_file_never_opens() {
    let dir = temporary();
    let bytes = fs::read(file("all.gguf")).expect("there");
    let path = dir.path().join("a.gguf");
    assert!(opens(&bytes, &path));
    // The last tensor of 12 bytes is filled up to 32.
    for length in (0..bytes.len() - 20).step_by(5) {
        assert!(!opens(&bytes[..length], &path), "{length}");
    }
}

#[test]
fn every_byte_of_the_header_may_become_another() {
    let dir = temporary();
    let bytes = fs::read(file("all.gguf")).expect("there");
    let path = dir.path().join("a.gguf");
    for position in (0..1400).step_by(3) {
        for value in [0, 0xff, bytes[position] ^ 1, bytes[position] ^ 0x80] {
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
    ) {
        let dir = temporary();
        let mut bytes = fs::read(file("all.gguf")).expect("there");
        for (index, value) in edits {
            let position = index.index(1400);
            bytes[position] = value;
        }
        opens(&bytes, &dir.path().join("a.gguf"));
    }
}
