//! Model folders: which file is taken, and shards that disagree with their index.

use std::fs;
use std::path::Path;

use rekindle::checkpoint::{CheckpointError, Tensors, save_tensors};

use super::temporary;

const INDEX: &str = "model.safetensors.index.json";

fn save(dir: &Path, name: &str, keys: &[(&str, f32)]) {
    let tensors = keys.iter().map(|(key, value)| (key.to_string(), vec![1], vec![*value]));
    save_tensors(dir.join(name), tensors, &[("shard", name)]).expect("saved");
}

fn index(dir: &Path, map: &[(&str, &str)]) {
    let pairs: Vec<_> = map.iter().map(|(key, shard)| format!("\"{key}\": \"{shard}\"")).collect();
    let text = format!("{{\"metadata\": {{\"total_size\": 8}}, \"weight_map\": {{{}}}}}", pairs.join(", "));
    fs::write(dir.join(INDEX), text).expect("written");
}

fn two_shards(dir: &Path) {
    save(dir, "1.safetensors", &[("a", 1.0), ("c", 3.0)]);
    save(dir, "2.safetensors", &[("b", 2.0)]);
    index(dir, &[("c", "1.safetensors"), ("b", "2.safetensors"), ("a", "1.safetensors")]);
}

#[test]
fn shards_are_read_as_one() {
    let dir = temporary();
    two_shards(dir.path());
    let tensors = Tensors::open_folder(dir.path()).expect("sound");
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!([tensors.f32("a"), tensors.f32("b"), tensors.f32("c")].map(|v| v.expect("there")[0]), [1.0, 2.0, 3.0]);
    assert!(tensors.path_of("b").expect("there").ends_with("2.safetensors"));
    assert_eq!(tensors.metadata()["shard"], "1.safetensors");
}

#[test]
fn the_single_file_goes_before_the_index() {
    let dir = temporary();
    two_shards(dir.path());
    save(dir.path(), "model.safetensors", &[("whole", 0.0)]);
    assert_eq!(Tensors::open_folder(dir.path()).expect("sound").keys().collect::<Vec<_>>(), ["whole"]);
}

#[test]
fn an_index_that_names_too_much_is_an_error() {
    let dir = temporary();
    two_shards(dir.path());
    index(
        dir.path(),
        &[("c", "1.safetensors"), ("b", "2.safetensors"), ("a", "1.safetensors"), ("d", "2.safetensors")],
    );
    let error = Tensors::open_folder(dir.path()).expect_err("d is nowhere");
    assert!(
        matches!(&error, CheckpointError::MissingKey { keys, path } if keys == &["d"] && path.ends_with("2.safetensors")),
        "{error}"
    );
}

#[test]
fn an_index_that_names_too_little_is_an_error() {
    let dir = temporary();
    two_shards(dir.path());
    index(dir.path(), &[("b", "2.safetensors"), ("a", "1.safetensors")]);
    let error = Tensors::open_folder(dir.path()).expect_err("c is not in the map");
    assert!(matches!(&error, CheckpointError::UnknownKey { keys, .. } if keys == &["c"]), "{error}");
}

#[test]
fn an_index_that_swaps_shards_is_an_error() {
    let dir = temporary();
    two_shards(dir.path());
    index(dir.path(), &[("c", "1.safetensors"), ("a", "2.safetensors"), ("b", "1.safetensors")]);
    assert!(matches!(Tensors::open_folder(dir.path()), Err(CheckpointError::MissingKey { .. })));
}

#[test]
fn a_key_in_two_shards_is_an_error() {
    let dir = temporary();
    two_shards(dir.path());
    save(dir.path(), "2.safetensors", &[("a", 9.0), ("b", 2.0)]);
    let error = Tensors::open_folder(dir.path()).expect_err("a is in both");
    let CheckpointError::DuplicateKey { key, first, second } = &error else { panic!("{error}") };
    assert!(key == "a" && first.contains("1.safetensors") && second.contains("2.safetensors"), "{error}");
}

#[test]
fn a_key_twice_in_the_index_is_an_error() {
    let dir = temporary();
    two_shards(dir.path());
    index(dir.path(), &[("a", "1.safetensors"), ("a", "2.safetensors")]);
    assert!(matches!(Tensors::open_folder(dir.path()), Err(CheckpointError::DuplicateKey { key, .. }) if key == "a"));
}

#[test]
fn a_missing_shard_is_named() {
    let dir = temporary();
    two_shards(dir.path());
    fs::remove_file(dir.path().join("2.safetensors")).expect("removed");
    let error = Tensors::open_folder(dir.path()).expect_err("a shard is gone");
    assert!(matches!(&error, CheckpointError::ShardMissing { shard, total: 2, .. } if shard == "2.safetensors"));
}

#[test]
fn a_shard_outside_the_folder_is_refused() {
    let dir = temporary();
    let inner = dir.path().join("model");
    fs::create_dir(&inner).expect("made");
    save(dir.path(), "secret.safetensors", &[("a", 1.0)]);
    let absolute = dir.path().join("secret.safetensors");
    for shard in ["../secret.safetensors", absolute.to_str().expect("text")] {
        index(&inner, &[("a", shard)]);
        assert!(matches!(Tensors::open_folder(&inner), Err(CheckpointError::ShardOutside { .. })), "{shard}");
    }
}

#[cfg(unix)]
#[test]
fn a_shard_may_be_a_link_as_in_a_download_cache() {
    let dir = temporary();
    let inner = dir.path().join("snapshot");
    fs::create_dir(&inner).expect("made");
    save(dir.path(), "blob", &[("a", 1.0)]);
    std::os::unix::fs::symlink("../blob", inner.join("1.safetensors")).expect("linked");
    index(&inner, &[("a", "1.safetensors")]);
    assert_eq!(Tensors::open_folder(&inner).expect("sound").f32("a").expect("there"), [1.0]);
}

#[test]
fn a_broken_index_is_placed_by_line() {
    let dir = temporary();
    for (text, expected) in
        [("{\n\"weight_map\": {\"a\": }}", 2), ("{\n\"weight_map\": 3}", 2), ("{\n\n\"metadata\": {}}", 3), ("[]", 1)]
    {
        fs::write(dir.path().join(INDEX), text).expect("written");
        let error = Tensors::open_folder(dir.path()).expect_err("broken");
        assert!(matches!(&error, CheckpointError::BadJson { line, .. } if *line == expected), "{error}");
    }
}

#[test]
fn a_folder_without_weights_says_what_it_looked_for() {
    let dir = temporary();
    let error = Tensors::open_folder(dir.path()).expect_err("empty");
    assert!(error.to_string().contains("model.safetensors, model.safetensors.index.json"), "{error}");
    fs::write(dir.path().join("pytorch_model.bin"), b"no weights").expect("written");
    assert!(matches!(Tensors::open_folder(dir.path()), Err(CheckpointError::Damaged { .. })));
    assert!(matches!(Tensors::open_folder(dir.path().join("nowhere")), Err(CheckpointError::Io { .. })));
}
