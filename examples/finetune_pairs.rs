//! Fine-tunes a classifier of pairs of texts, such as natural language inference.
//!
//! ```text
//! cargo run --release --example finetune_pairs -- --model DIR --data snli --first premise --second hypothesis
//! ```

use ahead::Result;
use clap::Parser;
use recipe::{Recipe, Start};
use rekindle::Model;
use rekindle::backbone::{AutoText, Pooling};
use rekindle::checkpoint::{FromPretrained, check_pooling, save_classifier};
use rekindle::data::{DataError, Labels, PairColumns, PairExample, read_pairs};
use rekindle::objective::TextClassification;
use rekindle::predict::Predictor;
use rekindle::train::{Data, evaluate};
use serde_json::json;
use splits::{in_split, split_file};
use std::process::ExitCode;

#[path = "common/ahead.rs"]
mod ahead;
#[path = "common/flags.rs"]
mod flags;
#[path = "common/recipe.rs"]
mod recipe;
#[path = "common/splits.rs"]
mod splits;

/// Fine-tunes a classifier of pairs on the files train, validation and test, each .jsonl, .json, .csv or .tsv.
#[derive(Parser, Debug)]
struct Args {
    /// The key of the first text.
    #[arg(long, default_value = "premise")]
    first: String,
    /// The key of the second text.
    #[arg(long, default_value = "hypothesis")]
    second: String,
    /// The key of the label.
    #[arg(long, default_value = "label")]
    label: String,
    /// Longest pair in tokens.
    #[arg(long, default_value_t = 128)]
    max_length: usize,
    /// cls, mean or pooler.
    #[arg(long, default_value_t = Pooling::Mean)]
    pooling: Pooling,
    #[command(flatten)]
    recipe: Recipe,
}

fn main() -> ExitCode {
    rekindle::compute_on_this_thread();
    ahead::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let recipe = &args.recipe;
    let start = recipe.start()?;
    let Start { device, checkpoint, config } = &start;
    check_pooling::<AutoText>(config, args.pooling)?;
    let columns = PairColumns::new(&args.first, &args.second, Some(&args.label));
    let read = |name: &str| -> std::result::Result<Vec<PairExample>, DataError> {
        read_pairs(split_file(&recipe.data, name, &["jsonl", "json", "csv", "tsv"]), &columns)
    };
    let (train, validation, test) = (read("train")?, read("validation")?, read("test")?);
    let labels = Labels::from_examples(&train)?;
    let [train, validation, test] = [train, validation, test].map(|examples| recipe.draw(examples));
    let max_length = args.max_length.min(AutoText::max_length(config));
    let task = TextClassification::new(checkpoint.tokenizer()?, labels, max_length)?;
    let (rows, cut) = in_split("training", task.encode_pairs(&train))?;
    let validation = in_split("validation", task.encode_pairs(&validation))?.0;
    let held_out = in_split("test", task.encode_pairs(&test))?.0;
    println!(
        "{} training, {} validation and {} test pairs of {} labels; {cut} training pairs cut to {max_length} tokens",
        rows.len(),
        validation.len(),
        held_out.len(),
        task.labels().len()
    );

    let body = recipe.body(&start, args.pooling)?;
    let head = AutoText::classifier(config, task.labels().len(), recipe.flags.seed, device);
    let mut model = Model::new(body, head);
    let data = Data { train: &rows, validation: &validation };
    let Some(report) = recipe.train(&mut model, &task, data)? else { return Ok(()) };
    let figures = evaluate(&model, &task, &held_out, recipe.batch_size, recipe.flags.seed)?.summary();
    let (accuracy, f1) = (figures.accuracy.unwrap_or(0.0), figures.macro_f1.unwrap_or(0.0));
    println!("test: accuracy {accuracy:.4}, macro-F1 {f1:.4}");
    save_classifier(&recipe.out, &model, config, &task, &recipe.freeze)?;
    println!("\nsaved in {}", recipe.out.display());

    let predictor = Predictor::load(&recipe.out, device)?;
    let pairs: Vec<_> = test.iter().take(3).map(|pair| (&pair.first, &pair.second)).collect();
    for ((first, second), prediction) in pairs.iter().zip(predictor.predict_pairs(&pairs)?) {
        println!("{:>5.1} %  {:<16} {first} | {second}", 100.0 * prediction.probability, prediction.label);
    }
    recipe.write(&json!({ "freeze": recipe.freeze, "seed": recipe.flags.seed, "test": figures, "report": report }))
}
