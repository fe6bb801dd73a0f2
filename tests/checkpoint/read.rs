//! Single files: number types, shapes, metadata, and the errors that name what is wrong.

use std::fs;

use half::{bf16, f16};
use rekindle::checkpoint::{CheckpointError, Dtype, Tensors};

use super::{Raw, f32_bytes, raw_file, reference_file, temporary};

fn open(bytes: &[u8]) -> Result<Tensors, CheckpointError> {
    let dir = temporary();
    let path = dir.path().join("a.safetensors");
    fs::write(&path, bytes).expect("written");
    Tensors::open_file(path)
}

fn one(dtype: Dtype, count: usize, bytes: Vec<u8>) -> Tensors {
    open(&reference_file(&[("x", dtype, vec![count], bytes)])).expect("a sound file")
}

#[test]
fn floats_of_every_width_are_read() {
    let values = [0.0f32, -0.0, 1.5, -2.25, 65504.0, 2.0f32.powi(-14)];
    let f16s = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
    let f64s = values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect();
    for (dtype, bytes) in [(Dtype::F32, f32_bytes(&values)), (Dtype::F16, f16s), (Dtype::F64, f64s)] {
        let read = one(dtype, values.len(), bytes).f32("x").expect("readable");
        assert_eq!(read.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.map(f32::to_bits), "{dtype}");
    }
    let wide = [1.0f32, -3.0e38, 1.0e-38];
    let bf16s = wide.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
    assert_eq!(one(Dtype::BF16, 3, bf16s).f32("x").expect("readable"), wide.map(|v| bf16::from_f32(v).to_f32()));
}

#[test]
fn every_half_value_is_read_exactly() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let halves = one(Dtype::F16, 65536, bytes.clone()).f32("x").expect("readable");
    let brains = one(Dtype::BF16, 65536, bytes).f32("x").expect("readable");
    for bits in 0..=u16::MAX {
        let (half, brain) = (halves[usize::from(bits)], brains[usize::from(bits)]);
        let same = |read: f32, wanted: f64| read.is_nan() && wanted.is_nan() || f64::from(read) == wanted;
        assert!(same(half, f16::from_bits(bits).to_f64()) && same(brain, bf16::from_bits(bits).to_f64()), "{bits}");
    }
}

#[test]
fn whole_numbers_are_read() {
    let longs: Vec<u8> = [i64::MIN, -1, i64::MAX].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(one(Dtype::I64, 3, longs).i64("x").expect("readable"), [i64::MIN, -1, i64::MAX]);
    let ints: Vec<u8> = [i32::MIN, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(one(Dtype::I32, 2, ints).i64("x").expect("readable"), [i64::from(i32::MIN), 7]);
    assert_eq!(one(Dtype::U8, 2, vec![0, 255]).i64("x").expect("readable"), [0, 255]);
    assert_eq!(one(Dtype::BOOL, 2, vec![0, 1]).i64("x").expect("readable"), [0, 1]);
    assert!(matches!(one(Dtype::BOOL, 2, vec![0, 2]).i64("x"), Err(CheckpointError::Damaged { .. })));
}

#[test]
fn other_number_types_are_refused_by_name() {
    let error = one(Dtype::I32, 1, vec![0; 4]).f32("x").expect_err("whole numbers");
    assert!(
        matches!(&error, CheckpointError::UnsupportedDtype { key, dtype, .. } if key == "x" && *dtype == Dtype::I32)
    );
    assert!(error.to_string().contains("F32, F16, BF16, F64"), "{error}");
    assert!(one(Dtype::F8_E4M3, 1, vec![0]).f32("x").is_err());
    assert!(one(Dtype::F32, 1, vec![0; 4]).i64("x").is_err());
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    let tensors = one(Dtype::F32, 4, f32_bytes(&[0.0, 1.0, f32::NAN, f32::INFINITY]));
    assert!(tensors.f32("x").is_ok());
    assert!(matches!(tensors.finite_f32("x"), Err(CheckpointError::NotFinite { key, index: 2, .. }) if key == "x"));
    let overflow = one(Dtype::F64, 1, 1e300f64.to_le_bytes().to_vec());
    assert!(matches!(overflow.finite_f32("x"), Err(CheckpointError::NotFinite { index: 0, .. })));
}

#[test]
fn shapes_keys_and_metadata_are_given() {
    let raw: [Raw<'_>; 3] = [
        ("b", Dtype::F32, vec![2, 3], vec![0; 24]),
        ("a", Dtype::U8, vec![], vec![5]),
        ("c", Dtype::F32, vec![0, 4], vec![]),
    ];
    let tensors = open(&reference_file(&raw)).expect("a sound file");
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(tensors.shape("b").expect("there"), [2, 3]);
    assert!(tensors.shape("a").expect("there").is_empty());
    assert_eq!(tensors.i64("a").expect("readable"), [5]);
    assert!(tensors.f32("c").expect("readable").is_empty());
    assert_eq!(tensors.metadata()["format"], "pt");
    assert!(tensors.path_of("a").expect("there").ends_with("a.safetensors"));
    assert!(tensors.contains("a") && !tensors.contains("d"));
    assert!(matches!(tensors.shape("d"), Err(CheckpointError::MissingKey { keys, .. }) if keys == ["d"]));
}

#[test]
fn a_key_that_occurs_twice_is_an_error() {
    let tensor = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let twice = raw_file(&format!(r#"{{"x":{tensor},"x":{tensor}}}"#), &[1]);
    assert!(safetensors::SafeTensors::deserialize(&twice).is_ok(), "the reference takes the later one silently");
    assert!(matches!(open(&twice), Err(CheckpointError::DuplicateKey { key, .. }) if key == "x"));
    let metadata = raw_file(&format!(r#"{{"__metadata__":{{"a":"1","a":"2"}},"x":{tensor}}}"#), &[1]);
    assert!(matches!(open(&metadata), Err(CheckpointError::DuplicateKey { key, .. }) if key == "a"));
    let two = raw_file(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]);
    assert!(matches!(open(&two), Err(CheckpointError::Damaged { .. })));
}

#[test]
fn absurd_headers_are_errors() {
    let max = u64::MAX;
    for (header, data) in [
        (r#"{"x":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#.to_string(), 1),
        (r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#.to_string(), 4),
        (r#"{"x":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}"#.to_string(), 4),
        (r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#.to_string(), 4),
        (r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.to_string(), 8),
        (r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_string(), 5),
        (r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#.to_string(), 4),
        (r#"{"x":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}"#.to_string(), 1),
        (r#"{"x":{"dtype":"F99","shape":[1],"data_offsets":[0,1]}}"#.to_string(), 1),
        (r#"{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.to_string(), 1),
        (format!(r#"{{"x":{{"dtype":"U8","shape":[0],"data_offsets":[{max},{max}]}}}}"#), 0),
        ("[".repeat(100_000), 0),
        (r#"{"x":"#.repeat(100_000), 0),
        ("null".to_string(), 0),
        (String::new(), 0),
    ] {
        let shown = &header[..header.len().min(120)];
        assert!(matches!(open(&raw_file(&header, &vec![0; data])), Err(CheckpointError::Damaged { .. })), "{shown}");
    }
    for length in [0, 1, 3, 1 << 20, 100_000_001, u64::MAX - 7, u64::MAX] {
        let file = [&length.to_le_bytes()[..], b"{}"].concat();
        assert!(matches!(open(&file), Err(CheckpointError::Damaged { .. })), "length {length}");
    }
    assert!(open(&raw_file("{}", &[])).expect("no tensors is sound").is_empty());
}

#[test]
fn an_absent_file_is_named() {
    let error = Tensors::open_file("nowhere/a.safetensors").expect_err("absent");
    assert!(matches!(&error, CheckpointError::Io { .. }));
    assert!(error.to_string().starts_with("cannot read `nowhere/a.safetensors`"), "{error}");
}
