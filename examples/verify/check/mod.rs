//! Checks one folder; shared by the example and the tests.

mod case;
mod classes;
mod findings;
mod gradients;
mod inputs;
mod named;
mod outputs;
mod pairs;
mod readme;
mod run_file;
mod saved;
mod sentences;
mod task;
mod tokenizer;
mod training;

pub(crate) use findings::Findings;

use burn::tensor::Device;
use rekindle::checkpoint::{Checkpoint, Tensors};
use std::path::{Path, PathBuf};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A folder that holds something that is not checked here, and why.
#[derive(Debug)]
pub(crate) struct Unsupported(pub(crate) String);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// How to check.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) device: Device,
    pub(crate) limits: Limits,
    /// Leaves gradients and training runs out.
    pub(crate) outputs_only: bool,
    /// The checkpoint of folders with sentences.
    pub(crate) weights: Option<PathBuf>,
}

/// The largest differences that pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of an output, absolute; more where the README states a float32 spread of which `spreads` multiples are more.
    pub(crate) output: f64,
    /// Of a gradient, as a share of the largest one of its tensor.
    pub(crate) gradient_ratio: f64,
    /// Of any gradient: some are zero in exact arithmetic, so that their float32 values are rounding alone.
    pub(crate) gradient_floor: Option<f64>,
    /// Of what a training run gives, in multiples of the float32 spread that the README states.
    pub(crate) spreads: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { output: 2e-5, gradient_ratio: 1e-4, gradient_floor: None, spreads: 3.0 }
    }
}

/// Compares everything that a folder holds.
pub(crate) fn check_folder(folder: &Path, options: &Options) -> Result<Findings> {
    if folder.join("sentences.json").is_file() {
        return sentences::check(folder, options);
    }
    let is_adapter = |folder: &Path| folder.join("adapter_config.json").is_file();
    let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
    if is_adapter(folder) || inside.into_iter().any(|entry| is_adapter(&entry.path())) {
        return Err(Unsupported("an adapter of PEFT; adapters are not read".into()).into());
    }
    let is_gguf = |path: PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
    if folder.join("config.json").is_file() || inside.into_iter().any(|entry| is_gguf(entry.path())) {
        return check_model(folder, options);
    }
    if folder.join("tokenizer.json").is_file() && folder.join("single.json").is_file() {
        return tokenizer::check(folder);
    }
    let runs = run_file::run_files(folder)?;
    if runs.is_empty() {
        let message = "neither config.json, nor sentences.json, nor a safetensors file with `losses` or `steps.loss`";
        let message = format!("`{}` holds {message}; pass a folder of one of these forms", folder.display());
        return Err(Unsupported(message).into());
    }
    training::check(folder, &runs, options)
}

fn check_model(folder: &Path, options: &Options) -> Result<Findings> {
    let outputs = folder.join("expected.safetensors");
    if !outputs.is_file() {
        let folder = folder.display();
        return Err(
            Unsupported(format!("`{folder}` holds no expected.safetensors; outputs are compared with it")).into()
        );
    }
    let checkpoint = Checkpoint::open(folder)?;
    let (name, case) = classes::of(&checkpoint)?;
    let mut findings = Findings::new(folder, &name);
    let expected = Tensors::open_file(outputs)?;
    if expected.is_empty() {
        return Err(format!("`{}` holds no tensor", expected.path().display()).into());
    }
    let inputs = inputs::Inputs::open(&folder.join("inputs.safetensors"))?.of(&checkpoint);
    let ours = case.outputs(&checkpoint, &inputs, options)?;
    // Large values round by more than the usual limit.
    let spread = readme::number_after(&readme::read(folder), "differs from expected.safetensors by at most ");
    let limit = options.limits.output.max(options.limits.spreads * spread.unwrap_or(0.0));
    findings.extend(outputs::compare_all(&ours, &expected, limit)?);
    let legacy = folder.join("config_legacy.json");
    if legacy.is_file() {
        let ours = case.outputs(&Checkpoint::open_with_config(folder, legacy)?, &inputs, options)?;
        let rows = outputs::compare_all(&ours, &expected, limit)?;
        findings.extend(rows.into_iter().map(|row| row.named_after("older configuration")));
    }
    findings.extend(case.saved(&checkpoint, &inputs, options)?);
    let grads = folder.join("grads.safetensors");
    if grads.is_file() && !options.outputs_only {
        findings.extend(case.gradients(&checkpoint, &inputs, &grads, options)?);
    }
    Ok(findings)
}
