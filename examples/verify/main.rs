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

use check::{Findings, Limits, Options, Unsupported, check_folder};
use clap::Parser;
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compares outputs, gradients and training runs with those of Transformers.
#[derive(Parser, Debug)]
struct Args {
    /// Folders to check.
    #[arg(required_unless_present = "all")]
    folders: Vec<PathBuf>,
    /// Checks every folder in this one.
    #[arg(long)]
    all: Option<PathBuf>,
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
    let mut folders = args.folders.clone();
    if let Some(all) = &args.all {
        let mut inside: Vec<_> = std::fs::read_dir(all)?.flatten().map(|entry| entry.path()).collect();
        inside.sort();
        folders.extend(inside.into_iter().filter(|path| path.is_dir()));
    }
    let results: Vec<_> = folders.iter().map(|folder| (folder, Verdict::of(check_folder(folder, &options)))).collect();
    for (folder, verdict) in &results {
        match verdict {
            Verdict::Compared(findings) => println!("{findings}\n"),
            Verdict::Unsupported(reason) => println!("{}: unsupported\n  {reason}\n", folder.display()),
            Verdict::Unreadable(error) => println!("{}: FAILED\n  {error}\n", folder.display()),
        }
    }
    println!("{:<28} {:<12} what", "folder", "result");
    for (folder, verdict) in &results {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        println!("{name:<28} {:<12} {}", verdict.name(), verdict.summary());
    }
    let count = |name: &str| results.iter().filter(|(_, verdict)| verdict.name() == name).count();
    let (passed, failed, unsupported) = (count("passed"), count("FAILED"), count("unsupported"));
    println!("{passed} passed, {failed} failed, {unsupported} unsupported on {}", args.device);
    if let Some(path) = &args.json {
        let folders = results.iter().map(|(folder, verdict)| {
            let mut row = json!({ "folder": folder, "result": verdict.name(), "passed": verdict.name() == "passed" });
            match verdict {
                Verdict::Compared(findings) => row["findings"] = json!(findings),
                Verdict::Unsupported(text) | Verdict::Unreadable(text) => row["error"] = json!(text),
            }
            row
        });
        let report = json!({ "device": args.device, "folders": folders.collect::<Vec<_>>() });
        rekindle::checkpoint::write_file(path, |file| serde_json::to_writer_pretty(file, &report).map_err(Into::into))?;
    }
    // Folders that were named must be of a kind that is known; of a whole collection, not each is a model.
    let failed = failed > 0 || args.all.is_none() && unsupported > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What came of a folder.
enum Verdict {
    Compared(Findings),
    Unsupported(String),
    Unreadable(String),
}

impl Verdict {
    fn of(result: Result<Findings, Box<dyn Error>>) -> Self {
        match result {
            Ok(findings) => Self::Compared(findings),
            Err(error) if error.is::<Unsupported>() => Self::Unsupported(error.to_string()),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Compared(findings) if findings.passed() => "passed",
            Self::Unsupported(_) => "unsupported",
            _ => "FAILED",
        }
    }

    /// One line.
    fn summary(&self) -> String {
        match self {
            Self::Compared(findings) => findings.summary(),
            Self::Unsupported(text) | Self::Unreadable(text) => text.lines().next().unwrap_or_default().into(),
        }
    }
}
