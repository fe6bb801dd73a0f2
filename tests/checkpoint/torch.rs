//! Files of PyTorch: those that PyTorch 2.15 wrote (`tests/fixtures/torch/make.py`), and ones that lie.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rekindle::checkpoint::{CheckpointError, Tensors};

use super::temporary;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch").join(name)
}

#[test]
fn every_form_gives_what_pytorch_gives() {
    let expected = Tensors::open_file(file("expected.safetensors")).expect("sound");
    for name in ["plain.bin", "module.bin", "trainer.bin", "legacy.bin", "legacy_module.bin", "protocol4.bin"] {
        let tensors = Tensors::open_file(file(name)).expect(name);
        assert!(tensors.keys().eq(expected.keys()), "{name}");
        assert_eq!(tensors.len(), 19);
        for key in expected.keys() {
            assert_eq!(tensors.dtype(key).expect("there"), expected.dtype(key).expect("there"), "{name}: {key}");
            assert_eq!(tensors.shape(key).expect("there"), expected.shape(key).expect("there"), "{name}: {key}");
            assert_eq!(*tensors.bytes(key).expect("there"), *expected.bytes(key).expect("there"), "{name}: {key}");
            match (tensors.f32(key), expected.f32(key)) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{name}: {key}"),
                (read, expected) => assert_eq!(read.is_ok(), expected.is_ok(), "{name}: {key}"),
            }
            match (tensors.i64(key), expected.i64(key)) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{name}: {key}"),
                (read, expected) => assert_eq!(read.is_ok(), expected.is_ok(), "{name}: {key}"),
            }
        }
    }
}

#[test]
fn what_is_no_state_dict_is_named_and_not_run() {
    for (name, what) in [
        ("evil.bin", "the global `posix.system`"),
        ("evil_legacy.bin", "the global `posix.system`"),
        ("complex.bin", "the global `torch.ComplexFloatStorage`"),
        ("list.bin", "a list in place of a dictionary"),
        ("number.bin", "a whole number under `step`"),
        ("script.bin", "the compressed or encrypted entry `script/code/"),
    ] {
        let error = Tensors::open_file(file(name)).expect_err(name);
        assert!(
            matches!(&error, CheckpointError::NotAStateDict { what: found, .. } if found.starts_with(what)),
            "{error}"
        );
        assert!(error.to_string().contains("nothing is run"), "{error}");
    }
    let error = Tensors::open_file(file("expanded.bin")).expect_err("a thousand values of one");
    assert!(error.to_string().contains("shape [1000], strides [0]"), "{error}");
}

#[test]
fn a_folder_is_read_as_transformers_reads_it() {
    let dir = temporary();
    let keys =
        |name: &str| Tensors::open_folder(dir.path()).expect(name).path().file_name().expect("a name").to_owned();
    let index = |shard: &str| {
        let tensors = Tensors::open_file(file("plain.bin")).expect("sound");
        let map: serde_json::Map<_, _> = tensors.keys().map(|key| (key.to_string(), shard.into())).collect();
        serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()
    };
    let sharded = "pytorch_model-00001-of-00001.bin";
    fs::copy(file("plain.bin"), dir.path().join(sharded)).expect("copied");
    fs::write(dir.path().join("pytorch_model.bin.index.json"), index(sharded)).expect("written");
    assert_eq!(keys("sharded"), "pytorch_model.bin.index.json");
    assert_eq!(Tensors::open_folder(dir.path()).expect("sound").f32("scalar").expect("there"), [1.5]);
    fs::copy(file("legacy.bin"), dir.path().join("pytorch_model.bin")).expect("copied");
    assert_eq!(keys("one file"), "pytorch_model.bin");
    fs::copy(file("expected.safetensors"), dir.path().join("model.safetensors")).expect("copied");
    assert_eq!(keys("safetensors"), "model.safetensors");
    for shard in ["../plain.bin", "/tmp/plain.bin"] {
        let dir = temporary();
        fs::write(dir.path().join("pytorch_model.bin.index.json"), index(shard)).expect("written");
        assert!(matches!(Tensors::open_folder(dir.path()), Err(CheckpointError::ShardOutside { .. })));
    }
}

/// Opens the bytes and reads every tensor; whether it opened.
fn opens(bytes: &[u8], path: &Path) -> bool {
    fs::write(path, bytes).expect("written");
    let Ok(tensors) = Tensors::open_file(path) else { return false };
    for key in tensors.keys() {
        let count = tensors.shape(key).expect("there").iter().product::<usize>();
        for length in [tensors.f32(key).map(|v| v.len()), tensors.i64(key).map(|v| v.len())].into_iter().flatten() {
            assert_eq!(length, count);
        }
        assert!(tensors.bytes(key).is_ok());
    }
    true
}

#[test]
fn a_cut_off_file_never_opens() {
    let dir = temporary();
    let path = dir.path().join("a.bin");
    for name in ["plain.bin", "legacy.bin"] {
        let bytes = fs::read(file(name)).expect("there");
        assert!(opens(&bytes, &path), "{name}");
        for length in (0..bytes.len()).step_by(7) {
            assert!(!opens(&bytes[..length], &path), "{name} at {length}");
        }
    }
}

#[test]
fn every_byte_may_become_another() {
    let dir = temporary();
    let path = dir.path().join("a.bin");
    for name in ["module.bin", "legacy_module.bin"] {
        let bytes = fs::read(file(name)).expect("there");
        let mut refused = 0;
        for position in (0..bytes.len()).step_by(7) {
            for value in [0, 0xff, b'R', bytes[position] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[position] = value;
                refused += usize::from(!opens(&damaged, &path));
            }
        }
        assert!(refused > bytes.len() / 7, "{name}: {refused} refused");
    }
}

/// A file of the old form around one pickle, with no storages.
fn around(pickle: &[u8]) -> Vec<u8> {
    let start = fs::read(file("legacy.bin")).expect("there");
    let version = start.windows(6).position(|bytes| bytes == b"\x80\x02M\xe9\x03.").expect("the version") + 6;
    let system = version + start[version..].windows(2).position(|bytes| bytes == b"u.").expect("the system") + 2;
    [&start[..system], pickle, b"\x80\x02]."].concat()
}

#[test]
fn pickles_that_lie_are_errors() {
    let dir = temporary();
    let path = dir.path().join("a.bin");
    assert!(opens(&around(b"\x80\x02}."), &path), "an empty dictionary is sound");
    for (pickle, reason) in [
        (&b"\x80\x02."[..], "too little on the stack"),
        (b"\x80\x02}u.", "no beginning"),
        (b"\x80\x02h\x07.", "object 7 is asked for"),
        (b"\x80\x09}.", "protocol 9"),
        (b"\x80\x02](K\x01u.", "a key has no value"),
        (b"\x80\x02](K\x01K\x02u.", "no dictionary"),
        (b"\x80\x02}(K\x01e.", "no list"),
        (b"\x80\x02X\xff\xff\xff\xffa.", "4294967295 bytes"),
        (b"\x80\x02X\x01\0\0\0\xff.", "not UTF-8"),
        (b"\x80\x02K\x01)R.", "a call of a whole number"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01R.", "no tuple"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "other arguments"),
        (b"\x80\x02ctorch\nload\n.", "the global `torch.load`"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "the global `posix.system`"),
        (b"\x80\x02i os\nsystem\n.", "opcode 0x69"),
        (b"\x80\x02}}X\x01\0\0\0aK\x01sb.", "attributes of"),
        (b"\x80\x02K\x01Q.", "no storage"),
        (b"\x80\x02}K\x01Ns.", "a whole number as a key"),
    ] {
        fs::write(&path, around(pickle)).expect("written");
        let error = Tensors::open_file(&path).map(|tensors| tensors.len()).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}\n{reason}");
    }
    // A tuple that holds itself twice, and so on: small in the file and here, endless if it were copied.
    let mut nested = b"\x80\x02K\x01".to_vec();
    for number in 0..200u8 {
        nested.extend([b'q', number, b'h', number, 0x86]);
    }
    assert!(!opens(&around(&[&nested[..], b"."].concat()), &path));
}

proptest! {
    #[test]
    fn several_damages_at_once(
        legacy in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let dir = temporary();
        let mut bytes = fs::read(file(if legacy { "legacy.bin" } else { "plain.bin" })).expect("there");
        for (index, value) in edits {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        opens(&bytes, &dir.path().join("a.bin"));
    }

    #[test]
    fn any_pickle(pickle in prop::collection::vec(
        prop::sample::select(b".(0N\x88\x89JKM\x8aGXU)\x85\x86\x87t]ae}suqrhjcRbQ\x80\x95\x93\x94\0\x01ab\n".to_vec()), 0..60,
    )) {
        let dir = temporary();
        opens(&around(&pickle), &dir.path().join("a.bin"));
    }
}
