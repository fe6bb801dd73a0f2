//! Files that Transformers saved: every key maps to a path and back.

use std::collections::BTreeMap;
use std::path::Path;

use rekindle::Model;
use rekindle::backbone::{Bart, Pooling, T5, Whisper, bert_key_map};
use rekindle::checkpoint::{Checkpoint, FromPretrained, KeyMap, Tensors, save_pretrained, save_tensors};
use rekindle::data::TextTokenizer;
use rekindle::head::TaskHead;

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

/// A fixture's tensors, and those of the same model saved again, by key.
fn saved_again<B: FromPretrained, H: TaskHead<B::Features>>(
    folder: &Path,
    head: impl Fn(&B::Config) -> H,
) -> [BTreeMap<String, Vec<f32>>; 2] {
    let device = rekindle::device("flex").expect("a device of this build");
    let checkpoint = Checkpoint::open(folder).expect("sound");
    let config = checkpoint.config::<B>().expect("supported");
    let fresh = Model::new(B::build(&config, Pooling::Mean, 0, &device), head(&config));
    let loaded = checkpoint.model(&fresh).expect("loads");
    assert!(loaded.report.is_complete(), "{}", loaded.report);
    let dir = temporary();
    let tokenizer = TextTokenizer::from_file("tests/fixtures/wordpiece_tokenizer.json").expect("a tokenizer");
    save_pretrained(dir.path().join("saved"), &loaded.module, &config, "Any", &tokenizer).expect("saved");
    let read = |tensors: &Tensors| tensors.keys().map(|key| (key.into(), tensors.f32(key).expect("floats"))).collect();
    let saved = Checkpoint::open(dir.path().join("saved")).expect("sound");
    [read(checkpoint.tensors()), read(saved.tensors())]
}

#[test]
fn encoder_decoders_are_saved_under_the_keys_they_came_with() {
    let Some(fixtures) = fixtures() else { return };
    let device = rekindle::device("flex").expect("a device of this build");
    let bart = |config: &_| Bart::language_head(config, 0, &device);
    let [before, after] = saved_again::<Bart, _>(&fixtures.join("bart"), bart);
    assert_eq!(before, after);
    let [before, mut after] = saved_again::<Bart, _>(&fixtures.join("marian"), bart);
    after.retain(|key, _| !key.ends_with("embed_positions.weight"));
    assert_eq!(before, after, "but for the fixed positions, which Transformers leaves out and reads");
    let [before, after] =
        saved_again::<T5, _>(&fixtures.join("t5"), |config| T5::language_head(config, false, 0, &device));
    assert_eq!(before, after);
    let [before, after] =
        saved_again::<Whisper, _>(&fixtures.join("whisper"), |config| Whisper::language_head(config, 0, &device));
    assert_eq!(before, after);
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
