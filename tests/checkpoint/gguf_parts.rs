//! GGUF models in several files, with several experts, and ones whose metadata makes no model: errors name the file's own keys.

use std::fs;
use std::path::{Path, PathBuf};

use rekindle::Model;
use rekindle::backbone::{AutoText, Mixtral, MixtralConfig, Pooling};
use rekindle::checkpoint::{Checkpoint, CheckpointError, FromPretrained, save_pretrained};
use serde_json::{Value, json};

use super::gguf_models::{HEADS, convert_one, largest, logits, original, sizes, write};
use super::gguf_writer::{Coding, Writer};
use super::temporary;

/// How a part lies.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    Number,
    Tensors,
}

fn part(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("tiny-{number:05}-of-00003.gguf"))
}

/// The checkpoint in three parts; the first one holds the metadata alone.
fn write_parts(folder: &Path, original: &Checkpoint, of_file: &Value, lie: Lie) {
    for number in 1..=3 {
        let mut writer = Writer::default();
        let said = if lie == Lie::Number { 0 } else { number - 1 };
        let count = original.tensors().len() + usize::from(lie == Lie::Tensors);
        for (key, value) in [("split.no", said), ("split.count", 3), ("split.tensors.count", count)] {
            writer.field(key, &value.into());
        }
        if number == 1 {
            writer.field("general.architecture", &"qwen2".into());
            let fields = of_file.as_object().expect("fields");
            fields.iter().for_each(|(field, value)| writer.field(&format!("qwen2.{field}"), value));
        }
        for (at, key) in original.tensors().keys().enumerate().filter(|_| number > 1) {
            if at % 2 == number - 2 {
                convert_one(&mut writer, "qwen2", original.tensors(), key, HEADS, Coding::F32);
            }
        }
        writer.write(&part(folder, number));
    }
}

#[test]
fn any_part_stands_for_all() {
    let (common, of_file) = sizes("qwen2", "qwen2");
    let (folder, elsewhere) = (temporary(), temporary());
    let folder = folder.path();
    let original = original(&elsewhere.path().join("original"), &common);
    write_parts(folder, &original, &of_file, Lie::None);
    for place in [folder.to_path_buf(), part(folder, 1), part(folder, 3)] {
        let read = Checkpoint::open(&place).expect("sound");
        assert_eq!(read.tensors().len(), original.tensors().len());
        let farthest = largest(logits(&read).iter().zip(logits(&original)).map(|(a, b)| a - b));
        assert!(farthest < 2e-5, "{}: {farthest}", place.display());
    }

    let fault = |place: &Path| Checkpoint::open(place).map(drop).expect_err("not whole").to_string();
    write_parts(folder, &original, &of_file, Lie::Number);
    assert!(fault(folder).contains("`split.no` is 0, but by its name 1"), "{}", fault(folder));
    write_parts(folder, &original, &of_file, Lie::Tensors);
    assert!(fault(folder).contains("`split.tensors.count`"), "{}", fault(folder));
    write_parts(folder, &original, &of_file, Lie::None);
    fs::rename(part(folder, 1), folder.join("renamed.gguf")).expect("renamed");
    assert!(fault(&folder.join("renamed.gguf")).contains("split.count"));
    fs::remove_file(folder.join("renamed.gguf")).expect("removed");
    let error = Checkpoint::open(folder).map(drop).expect_err("a part is missing");
    let CheckpointError::ShardMissing { shard, total: 3, .. } = error else { panic!("{error}") };
    assert_eq!(shard, "tiny-00001-of-00003.gguf");
}

#[test]
fn metadata_that_makes_no_model_is_named_by_its_key() {
    for (model_type, architecture) in [("llama", "llama"), ("gpt2", "gpt2")] {
        let (common, of_file) = sizes(model_type, architecture);
        let folder = temporary();
        let original = original(&folder.path().join("original"), &common);
        let path = folder.path().join("model.gguf");
        let fault = |fields: &Value| {
            write(&path, architecture, &[fields], &original, Coding::F32);
            let read = Checkpoint::open(&path).and_then(|read| read.config::<AutoText>().map(drop));
            read.expect_err("no model").to_string()
        };
        for key in of_file.as_object().expect("fields").keys() {
            let others = ["head_count_kv", "key_length", "value_length", "freq_base"];
            let is_optional = others.iter().any(|part| key.contains(part));
            let is_optional = is_optional || architecture == "gpt2" && key == "feed_forward_length";
            let mut without = of_file.clone();
            without.as_object_mut().expect("fields").remove(key);
            if !is_optional {
                let error = fault(&without);
                assert!(error.contains(&format!("`{architecture}.{key}` is missing")), "{key}: {error}");
            }
            let mut zero = of_file.clone();
            zero[key] = json!(0);
            let error = fault(&zero);
            let named = if key.contains("value_length") { "attention.value_length" } else { key };
            assert!(error.contains(&format!("`{architecture}.{named}` is 0")), "{key}: {error}");
        }
    }
}

#[test]
fn the_experts_of_a_file_are_mixtrals() {
    let config = MixtralConfig {
        vocab_size: 31,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: HEADS[0],
        num_key_value_heads: Some(HEADS[1]),
        num_local_experts: 3,
        rms_norm_eps: 1e-4,
        ..MixtralConfig::default()
    };
    let device = rekindle::device("flex").expect("the default device");
    let head = Mixtral::routed_lm(&config, 4, &device);
    let model = Model::new(Mixtral::build(&config, Pooling::Mean, 3, &device), head);
    let folder = temporary();
    let saved = folder.path().join("original");
    save_pretrained(&saved, &model, &config, "MixtralForCausalLM", ()).expect("saved");
    let original = Checkpoint::open(&saved).expect("sound");
    let tensors = original.tensors();
    let write = |experts: usize, together: bool| {
        let mut writer = Writer::default();
        writer.field("general.architecture", &"llama".into());
        let more = json!({ "expert_count": experts, "expert_used_count": 2 });
        for fields in [&sizes("llama", "llama").1, &more] {
            let fields = fields.as_object().expect("fields");
            fields.iter().for_each(|(field, value)| writer.field(&format!("llama.{field}"), value));
        }
        for key in tensors.keys().filter(|key| !key.contains("experts")) {
            convert_one(&mut writer, "llama", tensors, key, HEADS, Coding::F32);
        }
        for layer in 0..2 {
            for (part, name) in [("w1", "ffn_gate"), ("w2", "ffn_down"), ("w3", "ffn_up")] {
                let key = |expert| format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight");
                let values = |expert| tensors.f32(&key(expert)).expect("there");
                let shape = tensors.shape(&key(0)).expect("there").to_vec();
                if together {
                    let all: Vec<f32> = (0..3).flat_map(values).collect();
                    let name = format!("blk.{layer}.{name}_exps.weight");
                    writer.tensor(&name, &[&[3], &shape[..]].concat(), &all, Coding::F32);
                } else {
                    for expert in 0..3 {
                        let name = format!("blk.{layer}.{name}.{expert}.weight");
                        writer.tensor(&name, &shape, &values(expert), Coding::F32);
                    }
                }
            }
        }
        let path = folder.path().join("model.gguf");
        writer.write(&path);
        Checkpoint::open(&path)
    };
    for together in [true, false] {
        let read = write(3, together).expect("sound");
        let found = read.config::<Mixtral>().expect("supported");
        assert_eq!((found.num_local_experts, found.num_experts_per_tok), (3, 2));
        assert_eq!(read.architectures(), ["MixtralForCausalLM"]);
        assert!(read.tensors().keys().eq(tensors.keys()));
        for key in tensors.keys() {
            assert_eq!(read.tensors().shape(key).expect("there"), tensors.shape(key).expect("there"), "{key}");
            assert_eq!(read.tensors().f32(key).expect("there"), tensors.f32(key).expect("there"), "{key}");
        }
    }
    let error = write(4, true).map(drop).expect_err("three").to_string();
    assert!(error.contains("`llama.expert_count` is 4, but `blk."), "{error}");
}
