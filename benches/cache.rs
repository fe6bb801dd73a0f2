//! Times `fit` with and without a cache of what frozen stages make, on one data set, one run after the other.
//!
//! `cargo bench --bench cache -- --model DIR --data DIR --freeze backbone --epochs 30`

use clap::Parser;
use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::cache::{Cache, CacheDtype};
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{Columns, Labels, read_text};
use rekindle::head::Classifier;
use rekindle::objective::{LabelledRow, TextClassification};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Data, Fit, Report, fit};
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

/// Times `fit` with and without a cache.
#[derive(Parser)]
struct Args {
    /// Folder of a BERT checkpoint.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-bert"))]
    model: PathBuf,
    /// Folder with train.jsonl and validation.jsonl.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/intents"))]
    data: PathBuf,
    /// `backbone`, or how many of the lowest stages are frozen.
    #[arg(long, default_value = "backbone")]
    freeze: String,
    #[arg(long, default_value_t = 4)]
    epochs: usize,
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Uses so many training texts, and half as many others.
    #[arg(long, default_value_t = usize::MAX)]
    limit: usize,
    /// cls, mean or pooler.
    #[arg(long, default_value_t = Pooling::Mean)]
    pooling: Pooling,
    /// Draws batches without regard to length, as PyTorch's sampler does.
    #[arg(long)]
    no_bucket: bool,
    /// Leaves out the run without a cache.
    #[arg(long)]
    only_cached: bool,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    rekindle::compute_on_this_thread();
    let args = Args::parse();
    let freeze = match args.freeze.as_str() {
        "backbone" => Freeze::Backbone,
        count => Freeze::Bottom(count.parse()?),
    };
    let checkpoint = Checkpoint::open(&args.model)?;
    let device = rekindle::device("flex")?;
    let body = checkpoint.backbone::<Bert>(args.pooling, &device)?.module;
    let hidden = checkpoint.config::<Bert>()?.hidden_size;
    let file = |name: &str| read_text(args.data.join(name), &Columns::default());
    let (train, validation) = (file("train.jsonl")?, file("validation.jsonl")?);
    let labels = Labels::from_examples(&train)?;
    let task = TextClassification::new(checkpoint.tokenizer()?, labels, 128)?;
    let cut = |rows: Vec<LabelledRow>, limit| rows.into_iter().take(limit).collect::<Vec<_>>();
    let train = cut(task.encode(&train)?.0, args.limit);
    let validation = cut(task.encode(&validation)?.0, args.limit / 2);
    println!("{} training and {} validation texts, {freeze:?}, {} epochs", train.len(), validation.len(), args.epochs);

    let folder = tempfile::tempdir()?;
    let run = |cache: &Cache, seed| -> Result<(f64, Report), Box<dyn Error>> {
        let mut model = Model::new(body.clone(), Classifier::new(hidden, task.labels().len(), 1, &device));
        let Args { epochs, batch_size, no_bucket, .. } = args;
        let (rates, cache) = (Rates::new(1e-3), cache.clone());
        let config = Fit { epochs, batch_size, seed, bucket: !no_bucket, rates, cache, ..Fit::default() };
        let data = Data { train: &train, validation: &validation };
        let start = Instant::now();
        let report = fit(&mut model, &task, data, &freeze, &config, &mut [])?;
        Ok((start.elapsed().as_secs_f64(), report))
    };
    let in_folder = Cache::folder(folder.path());
    let narrow = in_folder.clone().with_dtype(CacheDtype::Bf16);
    let cases = [
        ("no cache", Cache::None, 1),
        ("memory", Cache::memory(), 1),
        ("folder, first run", in_folder.clone(), 1),
        ("folder, second run with another seed", in_folder.clone(), 2),
        ("folder, all read from files", in_folder.with_memory(0), 1),
        ("folder, bf16, first run", narrow.clone(), 1),
        ("folder, bf16, all read from files", narrow.with_memory(0), 1),
    ];
    let mut without = None;
    for (name, cache, seed) in cases.into_iter().skip(usize::from(args.only_cached)) {
        let (seconds, report) = run(&cache, seed)?;
        let faster = *without.get_or_insert(seconds) / seconds;
        let a_step = 1e3 * seconds / report.steps as f64;
        let kept = &report.cache;
        println!(
            "{name}: {seconds:.2} s ({faster:.1} x), {a_step:.2} ms a step; {} found, {} computed; {:.1} MB in files; last loss {:.6}",
            kept.hits,
            kept.misses,
            kept.disk_bytes as f64 / 1e6,
            report.losses.last().copied().unwrap_or_default()
        );
    }
    Ok(())
}
