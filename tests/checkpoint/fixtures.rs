//! Files that Transformers saved: every key maps to a path and back.

use rekindle::backbone::bert_key_map;
use rekindle::checkpoint::{KeyMap, Tensors, save_tensors};

use super::{fixtures, temporary};

fn maps_both_ways(map: &KeyMap, key: &str, head: &str) -> String {
    let paths = map.to_paths(key);
    let fits = |path: &&String| path.starts_with("backbone.") || path.starts_with(head);
    let path = paths.iter().find(fits).unwrap_or_else(|| panic!("`{key}` has only the paths {paths:?}"));
    assert_eq!(map.to_file(path).as_deref(), Some(key));
    path.clone()
}

#[test]
fn every_key_of_the_bert_fixtures_maps_both_ways() {
    let Some(fixtures) = fixtures() else { return };
    let map = bert_key_map();
    for (name, head, count) in [
        ("bert", "none", 39),
        ("bert_seqcls", "head.linear.", 41),
        ("bert_tokcls", "head.linear.", 39),
        ("bert_mlm", "head.", 42),
        ("bert_pretraining", "head.", 46),
    ] {
        let tensors = Tensors::open_folder(fixtures.join(name)).expect("sound");
        let keys = map.normalise(tensors.keys()).expect("no collision");
        let mut paths: Vec<_> = keys.keys().map(|key| maps_both_ways(&map, key, head)).collect();
        paths.sort();
        paths.dedup();
        assert_eq!((paths.len(), keys.len()), (count, count), "{name}");
        assert!(keys.values().all(|key| tensors.finite_f32(key).is_ok()), "{name}");
    }
}

#[test]
fn the_pretraining_head_is_found_under_its_own_paths() {
    let Some(fixtures) = fixtures() else { return };
    let tensors = Tensors::open_folder(fixtures.join("bert_pretraining")).expect("sound");
    let map = bert_key_map();
    for key in tensors.keys().filter(|key| key.starts_with("cls.predictions")) {
        maps_both_ways(&map, key, "head.masked_lm.");
    }
}

#[test]
fn a_bare_body_and_old_names_come_to_the_same_keys() {
    let Some(fixtures) = fixtures() else { return };
    let map = bert_key_map();
    let tensors = Tensors::open_folder(fixtures.join("bert")).expect("sound");
    let bare = map.normalise(tensors.keys()).expect("no collision");
    let old: Vec<_> = tensors
        .keys()
        .map(|key| {
            format!("bert.{key}")
                .replace("LayerNorm.weight", "LayerNorm.gamma")
                .replace("LayerNorm.bias", "LayerNorm.beta")
        })
        .collect();
    let renewed = map.normalise(old.iter().map(String::as_str)).expect("no collision");
    assert!(bare.keys().eq(renewed.keys()));
}

#[test]
fn every_readable_fixture_opens_and_is_saved_again_equal() {
    let Some(fixtures) = fixtures() else { return };
    let dir = temporary();
    let path = dir.path().join("model.safetensors");
    let mut opened = 0;
    for folder in std::fs::read_dir(fixtures).expect("a folder").flatten() {
        let Ok(tensors) = Tensors::open_folder(folder.path()) else { continue };
        let floats = |t: &Tensors| -> Vec<_> {
            let all = t.keys().filter_map(|key| Some((key.to_string(), t.shape(key).ok()?.to_vec(), t.f32(key).ok()?)));
            all.collect()
        };
        let first = floats(&tensors);
        save_tensors(&path, first.clone(), &[]).expect("saved");
        assert_eq!(floats(&Tensors::open_file(&path).expect("sound")), first, "{:?}", folder.path());
        opened += 1;
    }
    println!("{opened} fixtures opened");
    assert!(opened > 0);
}
