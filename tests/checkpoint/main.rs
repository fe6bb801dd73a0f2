//! Checkpoint files: what is read from sound ones, what is said of damaged ones, and what a writer leaves behind.

mod damage;
mod fixtures;
mod folder;
mod gguf;
mod gguf_models;
mod gguf_parts;
mod gguf_writer;
mod hub;
mod read;
mod torch;
mod write;

use std::collections::HashMap;
use std::path::PathBuf;

use rekindle::checkpoint::Dtype;
use safetensors::tensor::TensorView;

/// A tensor as the reference implementation takes it: key, number type, shape, bytes.
type Raw<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

/// A file by the reference implementation.
fn reference_file(tensors: &[Raw<'_>]) -> Vec<u8> {
    let views = tensors.iter().map(|(key, dtype, shape, bytes)| {
        (*key, TensorView::new(*dtype, shape.clone(), bytes).expect("a sound tensor"))
    });
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(metadata)).expect("a sound file")
}

/// A file from a header's text, for what the reference implementation would not write.
fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The shared fixtures; absent, the tests that need them say so and skip.
fn fixtures() -> Option<PathBuf> {
    let shared = std::env::var_os("REKINDLE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let fixtures = shared.join("fixtures");
    if fixtures.is_dir() {
        return Some(fixtures);
    }
    println!("skipped: no fixtures at {}; set REKINDLE_SHARED", fixtures.display());
    None
}
