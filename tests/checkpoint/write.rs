//! Writers leave the old thing or the new one, and nothing else.

use std::fs;
use std::io;
use std::path::Path;

use proptest::prelude::*;
use rekindle::checkpoint::{CheckpointError, Tensors, save_tensors, write_file, write_folder};

use super::temporary;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole() {
    let dir = temporary();
    let path = dir.path().join("a.txt");
    for text in ["first", "second, longer"] {
        write_file(&path, |file| file.write_all(text.as_bytes())).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    }
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let dir = temporary();
    let path = dir.path().join("a.txt");
    write_file(&path, |file| file.write_all(b"old")).expect("written");
    let error = write_file(&path, |file| {
        file.write_all(&vec![0; 3 << 20])?;
        Err(io::Error::other("the disk is full"))
    });
    assert!(error.expect_err("failed").to_string().contains("the disk is full"));
    assert_eq!(fs::read(&path).expect("there"), b"old");
    assert_eq!(names(dir.path()), ["a.txt"]);
    assert!(write_file(dir.path().join("no/such/a.txt"), |_| Ok(())).is_err());
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = temporary();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).expect("there").permissions().mode();
    fs::write(dir.path().join("plain"), b"").expect("written");
    fs::create_dir(dir.path().join("plain folder")).expect("made");
    write_file(dir.path().join("ours"), |_| Ok(())).expect("written");
    write_folder::<CheckpointError>(dir.path().join("our folder"), |_| Ok(())).expect("written");
    assert_eq!(mode("ours"), mode("plain"));
    assert_eq!(mode("our folder"), mode("plain folder"));
}

fn fill(dir: &Path, names: &[&str]) -> Result<(), CheckpointError> {
    write_folder(dir, |new| {
        fs::create_dir(new.join("sub")).expect("made");
        names.iter().try_for_each(|name| write_file(new.join("sub").join(name), |file| file.write_all(name.as_bytes())))
    })
}

#[test]
fn a_folder_is_replaced_whole() {
    let dir = temporary();
    let target = dir.path().join("runs/model");
    fill(&target, &["a", "b"]).expect("written");
    fill(&target, &["b", "c"]).expect("written");
    assert_eq!(names(&target.join("sub")), ["b", "c"]);
    assert_eq!(names(&dir.path().join("runs")), ["model"]);
}

#[test]
fn a_failed_folder_leaves_the_old_one() {
    let dir = temporary();
    let target = dir.path().join("model");
    fill(&target, &["a"]).expect("written");
    let failed = write_folder(&target, |new| {
        write_file(new.join("half"), |file| file.write_all(b"half"))?;
        write_file(new.join("no/such"), |_| Ok(()))
    });
    assert!(failed.is_err());
    assert_eq!(names(&target), ["sub"]);
    assert_eq!(names(dir.path()), ["model"]);
}

#[test]
fn a_file_in_the_place_of_the_folder_is_kept() {
    let dir = temporary();
    let target = dir.path().join("model");
    fs::write(&target, b"mine").expect("written");
    assert!(fill(&target, &["a"]).is_err());
    assert_eq!(fs::read(&target).expect("there"), b"mine");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_stays_a_link() {
    let dir = temporary();
    fill(&dir.path().join("real"), &["a"]).expect("written");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("real", &link).expect("linked");
    fill(&link, &["b"]).expect("written");
    assert!(link.is_symlink());
    assert_eq!(names(&dir.path().join("real/sub")), ["b"]);
}

#[test]
fn saved_tensors_are_deterministic_and_the_reference_reads_them() {
    let dir = temporary();
    let tensors =
        || [("b.weight", vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]), ("a", vec![], vec![5.0]), ("z", vec![0], vec![])];
    let named = |(key, shape, values): (&str, Vec<usize>, Vec<f32>)| (key.to_string(), shape, values);
    let metadata = [("zeta", "1"), ("alpha", "2"), ("mid", "3")];
    save_tensors(dir.path().join("1"), tensors().into_iter().map(named), &metadata).expect("saved");
    let reordered = [metadata[2], metadata[0], metadata[1]];
    save_tensors(dir.path().join("2"), tensors().into_iter().rev().map(named), &reordered).expect("saved");
    let bytes = fs::read(dir.path().join("1")).expect("there");
    assert_eq!(bytes, fs::read(dir.path().join("2")).expect("there"));
    let (header, read) = safetensors::SafeTensors::read_metadata(&bytes).expect("sound");
    assert_eq!(header % 8, 0);
    assert_eq!(read.metadata().as_ref().expect("metadata")["format"], "pt");
    assert_eq!(read.offset_keys(), ["a", "b.weight", "z"]);
    let tensors = Tensors::open_file(dir.path().join("1")).expect("sound");
    assert_eq!(tensors.f32("b.weight").expect("there"), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn tensors_that_cannot_be_saved_are_named() {
    let dir = temporary();
    let path = dir.path().join("a.safetensors");
    let save = |tensors: &[(&str, usize, usize)]| {
        let tensors = tensors.iter().map(|(key, size, count)| (key.to_string(), vec![*size], vec![0.0; *count]));
        save_tensors(&path, tensors, &[])
    };
    assert!(matches!(save(&[("x", 3, 2)]), Err(CheckpointError::WrongLength { values: 2, .. })));
    assert!(matches!(save(&[("x", 1, 1), ("x", 1, 1)]), Err(CheckpointError::DuplicateKey { .. })));
    assert!(matches!(save(&[("__metadata__", 1, 1)]), Err(CheckpointError::DuplicateKey { .. })));
    assert!(!path.exists());
}

proptest! {
    // Each case syncs a file to the disk, which is slow.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_saved_is_read_back_to_the_bit(
        tensors in prop::collection::btree_map(".{1,12}", prop::collection::vec(any::<u32>(), 0..6), 0..6),
    ) {
        let dir = temporary();
        let path = dir.path().join("a.safetensors");
        let floats = |bits: &[u32]| bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        let given = tensors.iter().map(|(key, bits)| (key.clone(), vec![1, bits.len()], floats(bits)));
        save_tensors(&path, given, &[]).expect("saved");
        let read = Tensors::open_file(&path).expect("sound");
        prop_assert_eq!(read.len(), tensors.len());
        for (key, bits) in &tensors {
            let back: Vec<_> = read.f32(key).expect("there").iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(&back, bits);
        }
    }
}
