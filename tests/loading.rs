//! What loading costs: no more memory than a model and a little.
//!
//! The large ones: `cargo test --release --test loading -- --ignored --nocapture two_gigabytes`
#![allow(clippy::unwrap_used)]

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rekindle::Model;
use rekindle::backbone::{Bert, BertConfig, Pooling};
use rekindle::burn::tensor::Device;
use rekindle::checkpoint::{Checkpoint, FromPretrained};
use rekindle::head::Classifier;
use rekindle::params::Inventory;
use serde_json::{Map, json};

/// Names the folder to the process that loads it.
const FOLDER: &str = "REKINDLE_LOADED_FOLDER";

/// Before the bytes that this process held at most.
const PEAK: &str = "peak bytes: ";

/// The most that loading may hold, as a share of the weights.
const MOST: f64 = 1.3;

#[derive(Clone, Copy)]
enum Numbers {
    F32,
    Bf16,
}

fn bert(layers: usize, vocab_size: usize) -> BertConfig {
    let config = json!({
        "vocab_size": vocab_size, "hidden_size": 1024, "num_hidden_layers": layers, "num_attention_heads": 16,
        "intermediate_size": 4096, "max_position_embeddings": 512, "type_vocab_size": 2,
    });
    serde_json::from_value(config).unwrap()
}

/// Keys and shapes of a network as its file has them.
fn tensors(config: &BertConfig) -> Vec<(String, Vec<usize>)> {
    // Its weights are not drawn, since nobody asks for them.
    let model = Bert::new(config, Pooling::Mean, 0, &Device::flex());
    let model = Model::new(model, Classifier::new(config.hidden_size, 2, 0, &Device::flex()));
    let inventory = Inventory::of(&model).unwrap();
    let map = Bert::key_map(config);
    let stored = inventory.entries.into_iter().filter(|entry| entry.is_float && entry.path.starts_with("backbone."));
    let named = stored.map(|mut entry| {
        if entry.is_linear {
            entry.shape.reverse();
        }
        (map.to_file(&entry.path).unwrap(), entry.shape)
    });
    named.collect()
}

/// Writes a random checkpoint in shards of about `shard` bytes; the bytes of its weights in float32.
fn write(dir: &Path, config: &BertConfig, shard: usize, numbers: Numbers) -> usize {
    fs::write(dir.join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    let (mut shards, mut size) = (vec![vec![]], 0);
    let mut values = 0;
    for (key, shape) in tensors(config) {
        let count: usize = shape.iter().product();
        values += count;
        if size > 0 && size + 4 * count > shard {
            shards.push(vec![]);
            size = 0;
        }
        size += 4 * count;
        shards.last_mut().unwrap().push((key, shape));
    }
    let mut weight_map = Map::new();
    for (number, tensors) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        write_shard(&dir.join(&name), tensors, numbers);
        weight_map.extend(tensors.iter().map(|(key, _)| (key.clone(), name.clone().into())));
    }
    assert!(shards.len() > 1);
    fs::write(dir.join("model.safetensors.index.json"), json!({ "weight_map": weight_map }).to_string()).unwrap();
    4 * values
}

fn write_shard(path: &Path, tensors: &[(String, Vec<usize>)], numbers: Numbers) {
    let (width, dtype) = match numbers {
        Numbers::F32 => (4, "F32"),
        Numbers::Bf16 => (2, "BF16"),
    };
    let mut header = Map::new();
    let mut offset = 0;
    for (key, shape) in tensors {
        let end = offset + width * shape.iter().product::<usize>();
        header.insert(key.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    // Small and finite in either width: the exponent is fixed.
    let mut state = 1_u32;
    for _ in 0..offset / 4 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = match numbers {
            Numbers::F32 => state & 0x807f_ffff | 0x3c00_0000,
            Numbers::Bf16 => state & 0x807f_807f | 0x3c00_3c00,
        };
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

/// Writes the same as one file of PyTorch's old form, whose storages are views of nothing else.
fn write_torch(dir: &Path, config: &BertConfig) -> usize {
    fs::write(dir.join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    let tensors = tensors(config);
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let int = |number: usize| [b"J", &(number as u32).to_le_bytes()[..]].concat();
    let mut head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}".to_vec();
    head.extend([&text("little_endian"), &b"\x88s.\x80\x02}("[..]].concat());
    let mut names = b"\x80\x02](".to_vec();
    for (number, (key, shape)) in tensors.iter().enumerate() {
        let name = number.to_string();
        let count: usize = shape.iter().product();
        let sizes: Vec<u8> = shape.iter().flat_map(|size| int(*size)).collect();
        let strides = (0..shape.len()).map(|axis| int(shape[axis + 1..].iter().product()));
        let strides: Vec<u8> = strides.flatten().collect();
        let storage =
            [&text("storage"), &b"ctorch\nFloatStorage\n"[..], &text(&name), &text("cpu"), &int(count)].concat();
        let call = [&b"ctorch._utils\n_rebuild_tensor_v2\n(("[..], &storage, b"tQK\0(", &sizes, b"t(", &strides];
        head.extend([&text(key), &call.concat(), &b"t\x89NtR"[..]].concat());
        names.extend(text(&name));
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(dir.join("pytorch_model.bin")).unwrap());
    file.write_all(&[&head[..], b"u.", &names, b"e."].concat()).unwrap();
    let mut values = 0;
    for (_, shape) in &tensors {
        let count: usize = shape.iter().product();
        file.write_all(&(count as u64).to_le_bytes()).unwrap();
        for place in 0..count {
            file.write_all(&((place % 251) as f32 * 1e-3).to_le_bytes()).unwrap();
        }
        values += count;
    }
    file.flush().unwrap();
    4 * values
}

/// The most memory that `work` holds at once beyond what was held before, in bytes; 0 where the system does not tell.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let restarted = cfg!(target_os = "linux") && fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = memory("VmRSS:");
    let result = work();
    (result, if restarted { memory("VmHWM:") - before } else { 0 })
}

fn memory(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0 kB");
    1024 * line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap()
}

fn loads_within_the_bound(config: &BertConfig, shard: usize, numbers: Numbers) {
    let dir = tempfile::tempdir().unwrap();
    let size = write(dir.path(), config, shard, numbers);
    loads_within(dir.path(), size);
}

/// Loads in a process of its own, since an allocator keeps what an earlier load gave back.
fn loads_within(dir: &Path, size: usize) {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "one_load", "--nocapture"]).env(FOLDER, dir);
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let peak: usize = text.lines().find_map(|line| line.strip_prefix(PEAK)).unwrap().parse().unwrap();
    let share = peak as f64 / size as f64;
    println!("{} MB of weights: {share:.2} x", size / 1_000_000);
    assert!(share < MOST, "{share}");
    assert!(peak == 0 || share > 0.95, "the weights themselves are held: {share}");
}

#[test]
#[ignore = "the other tests start it"]
fn one_load() {
    let dir = PathBuf::from(env::var_os(FOLDER).expect("the other tests start this one"));
    let (loaded, peak) = peak_of(|| {
        let checkpoint = Checkpoint::open(&dir).unwrap();
        checkpoint.backbone::<Bert>(Pooling::Mean, &Device::flex()).unwrap()
    });
    assert!(loaded.report.reinitialised.is_empty() && loaded.report.unused.is_empty());
    println!("\n{PEAK}{peak}");
}

#[test]
fn a_sharded_checkpoint_is_never_in_memory_twice() {
    loads_within_the_bound(&bert(3, 2000), 40 << 20, Numbers::F32);
    // The table of tokens alone is most of the model.
    loads_within_the_bound(&bert(1, 30_000), 60 << 20, Numbers::F32);
    loads_within_the_bound(&bert(3, 2000), 40 << 20, Numbers::Bf16);
}

#[test]
fn a_file_of_pytorch_is_never_in_memory_twice() {
    for config in [bert(3, 2000), bert(1, 30_000)] {
        let dir = tempfile::tempdir().unwrap();
        loads_within(dir.path(), write_torch(dir.path(), &config));
    }
}

#[test]
#[ignore = "writes 2 GB"]
fn two_gigabytes_in_a_file_of_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    loads_within(dir.path(), write_torch(dir.path(), &bert(36, 50_000)));
}

#[test]
#[ignore = "writes 2 GB"]
fn two_gigabytes_in_shards() {
    loads_within_the_bound(&bert(36, 50_000), 300 << 20, Numbers::F32);
}
