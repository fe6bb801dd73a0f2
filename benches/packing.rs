//! Times an epoch of `fit` over the lines of a text: in rows of their own, drawn by length or not, and packed.
//!
//! `cargo bench --bench packing -- --text FILE --architecture llama --length 256`

use burn::tensor::{Int, Tensor};
use clap::Parser;
use rekindle::Model;
use rekindle::backbone::{AutoText, AutoTextConfig, Pooling, TextInput};
use rekindle::checkpoint::FromPretrained;
use rekindle::data::{BatchOrder, TokenRow, pack, read_lines, train_wordpiece};
use rekindle::objective::{CausalLanguage, Objective, Packed};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Data, Fit, Keep, fit};
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

/// Times an epoch over the lines of a text, packed and not.
#[derive(Parser)]
struct Args {
    /// Text file, one document a line.
    #[arg(long)]
    text: PathBuf,
    /// gpt2 or llama.
    #[arg(long, default_value = "gpt2")]
    architecture: String,
    #[arg(long, default_value_t = 128)]
    hidden_size: usize,
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Tokens of a packed row, and the most of a document.
    #[arg(long, default_value_t = 256)]
    length: usize,
    /// Documents of a batch; packed batches have about as many tokens.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Uses the first so many lines.
    #[arg(long, default_value_t = 4000)]
    limit: usize,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    rekindle::compute_on_this_thread();
    let args = Args::parse();
    let mut lines = read_lines(&args.text)?;
    lines.truncate(args.limit);
    let tokenizer = train_wordpiece(&lines, 2000)?;
    let documents = tokenizer.encode(&lines, args.length)?.rows;
    let tokens: usize = documents.iter().map(TokenRow::len).sum();
    let packed = pack(documents.clone(), args.length)?;
    let rows = (args.batch_size * tokens / documents.len() / args.length).max(1);
    println!("{} documents, {tokens} tokens, {} rows of {}", documents.len(), packed.len(), args.length);

    let config: AutoTextConfig = serde_json::from_value(json!({
        "model_type": args.architecture, "vocab_size": tokenizer.vocab_size(), "pad_token_id": 0,
        "n_embd": args.hidden_size, "n_layer": args.layers, "n_head": 4, "n_positions": args.length,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "hidden_size": args.hidden_size,
        "num_hidden_layers": args.layers, "num_attention_heads": 4, "intermediate_size": 4 * args.hidden_size,
        "max_position_embeddings": args.length, "bos_token_id": 2, "eos_token_id": 3,
    }))?;
    AutoText::check_config(&config)?;
    let task = CausalLanguage::new(&tokenizer);
    for (name, bucket) in [("any length", false), ("of similar length", true)] {
        time(name, &config, &task, &documents, args.batch_size, bucket)?;
    }
    time("packed", &config, &Packed::new(task), &packed, rows, false)
}

/// An epoch, after a few steps that warm up.
fn time<O>(
    name: &str,
    config: &AutoTextConfig,
    task: &O,
    examples: &[O::Example],
    batch_size: usize,
    bucket: bool,
) -> Result<(), Box<dyn Error>>
where
    O: Objective<Input = TextInput, Targets = Tensor<2, Int>>,
{
    let device = rekindle::device("flex")?;
    let recipe = Fit { epochs: 1, batch_size, bucket, rates: Rates::new(1e-4), keep: Keep::Last, ..Fit::default() };
    let lengths: Vec<usize> = examples.iter().map(|example| task.length(example)).collect();
    let batches =
        BatchOrder { batch_size, max_tokens: None, seed: recipe.seed, shuffle: true, bucket }.batches(&lengths, 0);
    let cells = batches.iter().map(|batch| batch.len() * batch.iter().map(|row| lengths[*row]).max().unwrap_or(0));
    let (cells, tokens) = (cells.sum::<usize>() as f64, lengths.iter().sum::<usize>() as f64);
    for warm in [true, false] {
        let head = AutoText::causal_lm(config, 1, &device)?;
        let mut model = Model::new(AutoText::build(config, Pooling::Mean, 1, &device), head);
        let recipe = Fit { max_steps: warm.then_some(5), ..recipe.clone() };
        let start = Instant::now();
        let report =
            fit(&mut model, task, Data { train: examples, validation: &[] }, &Freeze::Nothing, &recipe, &mut [])?;
        let seconds = start.elapsed().as_secs_f64();
        if !warm {
            println!(
                "{name}: {:.1} % padding, {} steps of {:.1} ms, {:.1} s, {:.0} tokens/s, last loss {:.3}",
                100.0 * (1.0 - tokens / cells),
                report.steps,
                1e3 * seconds / report.steps as f64,
                seconds,
                tokens / seconds,
                report.losses.last().copied().unwrap_or_default()
            );
        }
    }
    Ok(())
}
