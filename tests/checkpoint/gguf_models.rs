//! Models in GGUF files: what llama.cpp's converter makes of a checkpoint is that checkpoint again.

use std::fs;
use std::path::Path;

use rekindle::Model;
use rekindle::backbone::{AutoText, AutoTextConfig, Mistral, Pooling, TextInput};
use rekindle::burn::module::{Module, ModuleMapper, Param};
use rekindle::burn::tensor::{Device, Int, Tensor};
use rekindle::checkpoint::{Checkpoint, CheckpointError, FromPretrained, Tensors, save_pretrained};
use serde_json::{Value, json};

use super::gguf_writer::{Coding, Writer};
use super::temporary;

/// The name that the converter gives a tensor.
fn name(architecture: &str, key: &str) -> String {
    let pairs: &[(&str, &str)] = match architecture {
        "gpt2" => &[
            ("transformer.wte", "token_embd"),
            ("transformer.wpe", "position_embd"),
            ("transformer.ln_f", "output_norm"),
            ("transformer.h", "blk"),
            ("ln_1", "attn_norm"),
            ("ln_2", "ffn_norm"),
            ("attn.c_attn", "attn_qkv"),
            ("attn.c_proj", "attn_output"),
            ("mlp.c_fc", "ffn_up"),
            ("mlp.c_proj", "ffn_down"),
        ],
        _ => &[
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("model.layers", "blk"),
            ("input_layernorm", "attn_norm"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
            (
                "post_attention_layernorm",
                if architecture.starts_with("gemma") { "post_attention_norm" } else { "ffn_norm" },
            ),
            ("self_attn.qkv_proj", "attn_qkv"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("block_sparse_moe.gate", "ffn_gate_inp"),
            ("mlp.gate_up_proj", "ffn_up"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ],
    };
    pairs.iter().fold(key.to_string(), |key, (from, to)| key.replace(from, to))
}

/// Rows of a head from halves to neighbouring pairs.
fn paired(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let (width, columns) = (rows / heads, values.len() / rows);
    let row = |(head, place, half): (usize, usize, usize)| {
        let from = head * width + half * (width / 2) + place;
        values[from * columns..(from + 1) * columns].to_vec()
    };
    let places = (0..heads).flat_map(|head| (0..width / 2).flat_map(move |place| [(head, place, 0), (head, place, 1)]));
    places.flat_map(row).collect()
}

/// What the converter makes of a checkpoint's tensors.
pub(super) fn convert(writer: &mut Writer, architecture: &str, tensors: &Tensors, heads: [usize; 2], coding: Coding) {
    tensors.keys().for_each(|key| convert_one(writer, architecture, tensors, key, heads, coding));
}

/// What it makes of one of them.
pub(super) fn convert_one(
    writer: &mut Writer,
    architecture: &str,
    tensors: &Tensors,
    key: &str,
    heads: [usize; 2],
    coding: Coding,
) {
    let (mut shape, mut values) = (tensors.shape(key).expect("there").to_vec(), tensors.f32(key).expect("floats"));
    if architecture == "llama" && (key.contains("q_proj") || key.contains("k_proj")) {
        values = paired(&values, shape[0], heads[usize::from(key.contains("k_proj"))]);
    }
    if architecture.starts_with("gemma") && key.ends_with("norm.weight") {
        values.iter_mut().for_each(|value| *value += 1.0);
    }
    if architecture == "gpt2" && key.contains(".c_") && key.ends_with("weight") {
        let [rows, columns] = shape[..] else { panic!("a matrix") };
        values = (0..columns)
            .flat_map(|column| (0..rows).map(move |row| row * columns + column))
            .map(|at| values[at])
            .collect();
        shape.reverse();
    }
    writer.tensor(&name(architecture, key), &shape, &values, coding);
}

/// Moves every value by a little of its own, so that no bias is 0 and no norm is 1.
struct Stir(usize);

impl ModuleMapper for Stir {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        let start = self.0 as i64 * 1009;
        param.map(|values| {
            let (shape, count) = (values.shape(), values.shape().num_elements() as i64);
            let places = Tensor::<1, Int>::arange(start..start + count, &values.device()).float();
            values + (places * 0.7).sin().reshape(shape) * 0.1
        })
    }
}

fn device() -> Device {
    rekindle::device("flex").expect("the default device")
}

pub(super) fn logits(checkpoint: &Checkpoint) -> Vec<f32> {
    let config: AutoTextConfig = checkpoint.config::<AutoText>().expect("supported");
    let fresh = Model::new(
        AutoText::build(&config, Pooling::Mean, 0, &device()),
        AutoText::causal_lm(&config, 0, &device()).expect("a decoder"),
    );
    let model = checkpoint.model(&fresh).expect("loaded").module;
    let ids = Tensor::<2, Int>::from_data([[5, 9, 4, 17, 29, 8, 30, 2], [7, 7, 12, 2, 11, 3, 19, 28]], &device());
    let input = TextInput { type_ids: ids.zeros_like(), mask: ids.clone().not_equal_elem(-1), ids, documents: None };
    model.forward(input).into_data().iter::<f32>().collect()
}

/// A checkpoint of these fields, saved as Transformers has it.
pub(super) fn original(folder: &Path, fields: &Value) -> Checkpoint {
    let config: AutoTextConfig = serde_json::from_value(fields.clone()).expect("a configuration");
    AutoText::check_config(&config).expect("supported");
    let model = Model::new(
        AutoText::build(&config, Pooling::Mean, 3, &device()),
        AutoText::causal_lm(&config, 3, &device()).expect("a decoder"),
    );
    save_pretrained(folder, &model.map(&mut Stir(0)), &config, "ForCausalLM", ()).expect("saved");
    Checkpoint::open(folder).expect("sound")
}

fn with(base: Value, more: Value) -> Value {
    let all = [base, more].into_iter().filter_map(|part| part.as_object().cloned()).flatten();
    Value::Object(all.collect())
}

pub(super) const HEADS: [usize; 2] = [4, 2];

/// Sizes in Transformers' names and in llama.cpp's.
pub(super) fn sizes(model_type: &str, architecture: &str) -> (Value, Value) {
    if architecture == "gpt2" {
        let ours = json!({ "model_type": "gpt2", "vocab_size": 31, "n_embd": 32, "n_layer": 2, "n_head": 4,
            "n_positions": 24, "n_inner": 64, "initializer_range": 0.2, "layer_norm_epsilon": 1e-4 });
        let theirs = json!({ "context_length": 24, "embedding_length": 32, "feed_forward_length": 64, "block_count": 2,
            "attention.head_count": 4, "attention.layer_norm_epsilon": 1e-4 });
        return (ours, theirs);
    }
    let ours = json!({ "model_type": model_type, "vocab_size": 31, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": HEADS[0], "num_key_value_heads": HEADS[1], "head_dim": 8,
        "max_position_embeddings": 48, "rms_norm_eps": 1e-4, "initializer_range": 0.2, "rope_theta": 500.0,
        "pad_token_id": null });
    let theirs = json!({ "context_length": 48, "embedding_length": 32, "feed_forward_length": 64, "block_count": 2,
        "attention.head_count": HEADS[0], "attention.head_count_kv": HEADS[1], "attention.key_length": 8,
        "attention.value_length": 8, "attention.layer_norm_rms_epsilon": 1e-4, "rope.freq_base": 500.0 });
    (ours, theirs)
}

/// A line a network: `model_type`, architecture, fields of Transformers, fields of the file.
fn networks() -> Vec<(&'static str, &'static str, Value, Value)> {
    let yarn =
        json!({ "rope_scaling": { "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12 } });
    let yarn_of_file = json!({ "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 12 });
    let linear = json!({ "rope_scaling": { "rope_type": "linear", "factor": 2.0 } });
    let linear_of_file = json!({ "rope.scaling.type": "linear", "rope.scaling.factor": 2.0 });
    vec![
        ("llama", "llama", json!({}), json!({ "rope.dimension_count": 8 })),
        ("llama", "llama", json!({ "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true }), json!({})),
        ("llama", "llama", linear.clone(), linear_of_file.clone()),
        ("mistral", "llama", json!({ "sliding_window": 3 }), json!({ "attention.sliding_window": 3 })),
        ("qwen2", "qwen2", yarn, yarn_of_file),
        ("qwen3", "qwen3", json!({ "tie_word_embeddings": true }), json!({})),
        (
            "gemma2",
            "gemma2",
            json!({ "sliding_window": 3, "query_pre_attn_scalar": 8.0, "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0 }),
            json!({ "attention.sliding_window": 3, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0 }),
        ),
        (
            "gemma2",
            "gemma2",
            json!({ "sliding_window": 3, "query_pre_attn_scalar": 16.0, "attn_logit_softcapping": null,
            "final_logit_softcapping": null, "layer_types": ["full_attention", "sliding_attention"] }),
            json!({ "attention.sliding_window": 3, "attention.scale": 0.25, "attention.sliding_window_pattern": [false, true] }),
        ),
        (
            "gemma3_text",
            "gemma3",
            with(
                linear,
                json!({ "sliding_window": 3, "query_pre_attn_scalar": 8.0,
            "rope_local_base_freq": 100.0, "sliding_window_pattern": 2 }),
            ),
            with(
                linear_of_file,
                json!({ "attention.sliding_window": 3, "rope.freq_base_swa": 100.0,
                "attention.sliding_window_pattern": 2 }),
            ),
        ),
        (
            "phi3",
            "phi3",
            json!({ "partial_rotary_factor": 0.5, "sliding_window": 5 }),
            json!({ "rope.dimension_count": 4, "attention.sliding_window": 5 }),
        ),
        ("gpt2", "gpt2", json!({}), json!({})),
    ]
}

pub(super) fn write(path: &Path, architecture: &str, fields: &[&Value], original: &Checkpoint, coding: Coding) {
    let mut writer = Writer::default();
    writer.field("general.architecture", &architecture.into());
    writer.field("tokenizer.ggml.eos_token_id", &2.into());
    for (field, value) in fields.iter().filter_map(|fields| fields.as_object()).flatten() {
        writer.field(&format!("{architecture}.{field}"), value);
    }
    convert(&mut writer, architecture, original.tensors(), HEADS, coding);
    writer.write(path);
}

pub(super) fn largest(values: impl IntoIterator<Item = f32>) -> f32 {
    values.into_iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

#[test]
fn a_converted_checkpoint_computes_the_same() {
    for (model_type, architecture, ours, theirs) in networks() {
        let (common, of_file) = sizes(model_type, architecture);
        let folder = temporary();
        let original = original(&folder.path().join("original"), &with(common, ours.clone()));
        let path = folder.path().join("model.gguf");
        write(&path, architecture, &[&of_file, &theirs], &original, Coding::F32);
        let expected = logits(&original);
        assert!(largest(expected.iter().copied()) > 0.1);
        for place in [&path, folder.path()] {
            let read = Checkpoint::open(place).expect("sound");
            assert_eq!(read.model_type(), Some(model_type));
            assert_eq!(read.field("eos_token_id"), Some(&2.into()));
            let found = logits(&read);
            let farthest = largest(found.iter().zip(&expected).map(|(a, b)| a - b));
            assert!(farthest < 2e-5, "{model_type} {ours}: {farthest}");
        }
    }
}

#[test]
fn blocks_keep_values_within_half_a_step() {
    for (model_type, architecture) in [("llama", "llama"), ("gpt2", "gpt2"), ("qwen3", "qwen3")] {
        let (common, of_file) = sizes(model_type, architecture);
        let folder = temporary();
        let original = original(&folder.path().join("original"), &common);
        let path = folder.path().join("model.gguf");
        write(&path, architecture, &[&of_file], &original, Coding::Q8);
        let read = Checkpoint::open(&path).expect("sound");
        for key in original.tensors().keys() {
            let (found, wanted) =
                (read.tensors().f32(key).expect("there"), original.tensors().f32(key).expect("there"));
            // A scale is rounded to 11 bits.
            let step = largest(wanted.iter().copied()) / 127.0 * 1.001;
            let farthest = largest(found.iter().zip(&wanted).map(|(a, b)| a - b));
            assert!(farthest <= 0.51 * step, "{key}: {farthest} of a step of {step}");
        }
        let (found, wanted) = (logits(&read), logits(&original));
        let farthest = largest(found.iter().zip(&wanted).map(|(a, b)| a - b));
        assert!(farthest > 0.0 && farthest < 0.1 * largest(wanted), "{architecture}: {farthest}");
    }
}

#[test]
fn frequencies_of_llama_3_become_its_numbers() {
    let scaling = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192 });
    let (common, of_file) = sizes("llama", "llama");
    let own = json!({ "rope_theta": 500_000.0, "rope_scaling": scaling });
    let folder = temporary();
    let original = original(&folder.path().join("original"), &with(common, own));
    let file = |factors: &[f32]| {
        let mut writer = Writer::default();
        writer.field("general.architecture", &"llama".into());
        let fields = with(of_file.clone(), json!({ "rope.freq_base": 500_000.0 }));
        for (field, value) in fields.as_object().expect("fields") {
            writer.field(&format!("llama.{field}"), value);
        }
        convert(&mut writer, "llama", original.tensors(), HEADS, Coding::F32);
        writer.tensor("rope_freqs.weight", &[factors.len()], factors, Coding::F32);
        let path = folder.path().join("model.gguf");
        writer.write(&path);
        Checkpoint::open(path)
    };
    // Wavelengths of 6.28, 167, 4443 and 118143 places: kept, kept, in between, stretched.
    let between = (8192.0 / (std::f32::consts::TAU * 500_000f32.powf(0.5)) - 1.0) / 3.0;
    let read = file(&[1.0, 1.0, 1.0 / ((1.0 - between) / 8.0 + between), 8.0]).expect("sound");
    let farthest = largest(logits(&read).iter().zip(logits(&original)).map(|(a, b)| a - b));
    assert!(farthest < 2e-5, "{farthest}");
    assert_eq!(read.field("rope_scaling").expect("scaled")["rope_type"], "llama3");

    let factors = [1.0, 2.0, 3.0, 8.0];
    let scaling = json!({ "rope_type": "longrope", "short_factor": factors, "long_factor": factors,
        "attention_factor": 1.0 });
    let own = json!({ "rope_theta": 500_000.0, "rope_scaling": scaling });
    let longrope = self::original(&folder.path().join("longrope"), &with(sizes("llama", "llama").0, own));
    let farthest = largest(logits(&file(&factors).expect("sound")).iter().zip(logits(&longrope)).map(|(a, b)| a - b));
    assert!(farthest < 2e-5, "factors of no such numbers: {farthest}");
    assert!(largest(logits(&longrope).iter().zip(logits(&original)).map(|(a, b)| a - b)) > 1e-3);
    assert!(file(&[1.0; 4]).expect("sound").field("rope_scaling").is_none(), "factors of 1 change nothing");
}

#[test]
fn what_is_not_read_is_named() {
    let (common, of_file) = sizes("llama", "llama");
    let folder = temporary();
    let original = original(&folder.path().join("original"), &common);
    let path = folder.path().join("model.gguf");
    let fault = |architecture: &str, more: Value| {
        write(&path, architecture, &[&of_file, &more], &original, Coding::F32);
        let opened = Checkpoint::open(&path).map(drop);
        opened.expect_err("not read").to_string()
    };
    for (field, value) in [
        ("expert_count", json!(8)), // Without a count of those that a token takes.
        ("rope.dimension_count", json!(4)),
        ("attention.value_length", json!(4)),
        ("attention.head_count", json!("four")),
        ("rope.scaling.type", json!("cubic")),
        ("rope.scaling.type", json!("yarn")),
    ] {
        let mut fields = of_file.clone();
        fields[field] = value.clone();
        write(&path, "llama", &[&fields], &original, Coding::F32);
        let error = Checkpoint::open(&path).map(drop).expect_err(field).to_string();
        assert!(error.contains("llama."), "{field}: {error}");
    }
    let error = fault("falcon", json!({}));
    assert!(error.contains("general.architecture") && error.contains("`falcon`") && error.contains("qwen3"), "{error}");
    let error = fault("phi3", json!({}));
    assert!(error.contains("blk.0.attn_q.weight"), "{error}");

    write(&path, "llama", &[&of_file], &original, Coding::F32);
    let read = Checkpoint::open(folder.path()).expect("sound");
    assert!(matches!(read.config::<Mistral>(), Err(CheckpointError::UnsupportedConfig { .. })));
    let error = read.tokenizer().expect_err("none").to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    // Two files that are not parts of one: which one is not said.
    fs::copy(&path, folder.path().join("other.GGUF")).expect("copied");
    let error = Checkpoint::open(folder.path()).expect_err("two files").to_string();
    assert!(error.contains("config.json"), "{error}");
}
