//! Compares this crate with numbers that Transformers computed: for anyone who ports a checkpoint.
//!
//! A folder holds a model (`config.json`, weights), a batch (`inputs.safetensors`), what Transformers made of it
//! (`expected.safetensors`, perhaps `grads.safetensors`), and a README. A folder of training runs holds one file a run:
//! its `losses` and the trained parameters after the last step; its README names the base model and the settings.
//!
//! ```text
//! cargo run --release --example verify -- tests/fixtures/bert tests/fixtures/bert_seqcls_train
//! ```

mod check;

use check::{Findings, Limits, Options, check_folder};
use clap::Parser;
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compares outputs, gradients and training runs with those of Transformers.
#[derive(Parser, Debug)]
struct Args {
    /// Folders to check.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// flex, ndarray, wgpu or cuda.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Writes every comparison to a file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Compares outputs and losses only.
    #[arg(long)]
    outputs_only: bool,
    /// Checkpoint of the folders that have sentences instead of weights [default: $REKINDLE_MINILM].
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Largest difference of an output.
    #[arg(long, default_value_t = Limits::default().output)]
    output_limit: f64,
    /// Largest difference of a gradient, as a share of the largest gradient of its tensor.
    #[arg(long, default_value_t = Limits::default().gradient_ratio)]
    gradient_ratio: f64,
    /// Difference that every gradient may have [default: 3 times what the README states, else 1e-6 of the largest
    /// gradient of the model].
    #[arg(long)]
    gradient_floor: Option<f64>,
    /// Largest difference in a training run, in multiples of the float32 spread that its README states.
    #[arg(long, default_value_t = Limits::default().spreads)]
    spreads: f64,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let options = Options {
        device: rekindle::device(&args.device)?,
        limits: Limits {
            output: args.output_limit,
            gradient_ratio: args.gradient_ratio,
            gradient_floor: args.gradient_floor,
            spreads: args.spreads,
        },
        outputs_only: args.outputs_only,
        weights: args.weights.clone().or_else(|| std::env::var_os("REKINDLE_MINILM").map(Into::into)),
    };
    let results: Vec<_> = args.folders.iter().map(|folder| (folder, check_folder(folder, &options))).collect();
    for (folder, result) in &results {
        match result {
            Ok(findings) => println!("{findings}\n"),
            Err(error) => println!("{}: FAILED\n  {error}\n", folder.display()),
        }
    }
    let good = |result: &Result<Findings, _>| result.as_ref().is_ok_and(Findings::passed);
    let passed = results.iter().filter(|(_, result)| good(result)).count();
    println!("{passed} of {} folders agree on {}", results.len(), args.device);
    if let Some(path) = &args.json {
        let folders = results.iter().map(|(folder, result)| match result {
            Ok(findings) => json!({ "folder": folder, "passed": findings.passed(), "findings": findings }),
            Err(error) => json!({ "folder": folder, "passed": false, "error": error.to_string() }),
        });
        let report = json!({ "device": args.device, "folders": folders.collect::<Vec<_>>() });
        rekindle::checkpoint::write_file(path, |file| serde_json::to_writer_pretty(file, &report).map_err(Into::into))?;
    }
    Ok(if passed == results.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
