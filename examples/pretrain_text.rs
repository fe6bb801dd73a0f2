//! Pretrains a small BERT on plain text by masked language modelling, and saves a checkpoint folder that
//! `finetune_text --model` and Transformers load.
//!
//! Without arguments it reads `assets/intents/unlabelled.txt`. `assets/tiny-bert` was made (with seed 1, the default) by
//!
//! ```text
//! cargo run --release --example pretrain_text -- --epochs 20 --batch-size 32 --max-length 128 \
//!     --mlm-probability 0.3 --whole-word --warmup-ratio 0.05 --out assets/tiny-bert
//! ```

use clap::Parser;
use flags::Flags;
use rekindle::backbone::{Bert, BertConfig, Pooling};
use rekindle::checkpoint::{Checkpoint, check_model_folder, save_pretrained};
use rekindle::data::{TextTokenizer, TokenRow, read_lines, train_wordpiece};
use rekindle::head::MaskedLm;
use rekindle::metric::perplexity;
use rekindle::model::Model;
use rekindle::nn::Activation;
use rekindle::objective::{MaskedLanguage, Masking};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Data, Fit, LrFinder, StopReason, batch_size_for, first_plan, fit, forecast};
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

#[path = "common/flags.rs"]
mod flags;

/// Pretrains a small BERT on a text file, one text a line.
#[derive(Parser, Debug)]
struct Args {
    /// Text file, one text a line.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/intents/unlabelled.txt"))]
    text: PathBuf,
    /// Goes on from this checkpoint folder, with its tokenizer and sizes, instead of starting fresh.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Folder with a tokenizer; without it one is trained on the text.
    #[arg(long, conflicts_with = "model")]
    tokenizer: Option<PathBuf>,
    /// Entries of a trained tokenizer.
    #[arg(long, default_value_t = 2000)]
    vocab_size: usize,
    /// Width of the network.
    #[arg(long, default_value_t = 128)]
    hidden_size: usize,
    /// How many layers it has.
    #[arg(long, default_value_t = 2)]
    layers: usize,
    /// Attention heads of each layer.
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Width inside the feed-forward parts.
    #[arg(long, default_value_t = 512)]
    intermediate_size: usize,
    /// Share of values that dropout leaves out.
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// Deviation of fresh weights; narrow networks learn sooner from more than BERT's.
    #[arg(long, default_value_t = 0.02)]
    initializer_range: f64,
    /// Share of tokens to predict.
    #[arg(long, default_value_t = 0.15)]
    mlm_probability: f64,
    /// Masks all pieces of a word together.
    #[arg(long)]
    whole_word: bool,
    /// Passes over the training text.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    /// Rows of a micro-batch, at most.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Longest text in tokens.
    #[arg(long, default_value_t = 64)]
    max_length: usize,
    /// Share of the lines to measure on.
    #[arg(long, default_value_t = 0.05)]
    validation_share: f64,
    /// Uses the first so many lines.
    #[arg(long)]
    limit: Option<usize>,
    /// What stays fixed, with `--model`: as in `finetune_text`.
    #[arg(long, default_value_t = Freeze::Nothing)]
    freeze: Freeze,
    /// Where the checkpoint goes.
    #[arg(long, default_value = "runs/pretrain_text")]
    out: PathBuf,
    /// Writes a report.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    rekindle::compute_on_this_thread();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    check_model_folder(&args.out)?;
    let device = rekindle::device(&args.flags.device)?;
    let mut lines = read_lines(&args.text)?;
    lines.truncate(args.limit.unwrap_or(usize::MAX));
    let checkpoint = args.model.as_ref().map(Checkpoint::open).transpose()?;

    let tokenizer = match (&checkpoint, &args.tokenizer) {
        (Some(checkpoint), _) => checkpoint.tokenizer()?,
        (None, Some(folder)) => TextTokenizer::from_folder(folder)?,
        (None, None) => train_wordpiece(&lines, args.vocab_size)?,
    };
    let config = match &checkpoint {
        Some(checkpoint) => checkpoint.config::<Bert>()?,
        None => fresh_config(args, &tokenizer)?,
    };
    let head = MaskedLm::with(
        config.hidden_size,
        config.vocab_size,
        config.hidden_act,
        config.layer_norm_eps,
        args.flags.seed,
        &device,
    );
    let mut model = Model::new(Bert::new(&config, Pooling::Mean, args.flags.seed, &device), head);
    if let Some(checkpoint) = &checkpoint {
        let loaded = checkpoint.model(&model)?;
        println!("{}", loaded.report);
        model = loaded.module;
    }

    let max_length = args.max_length.min(config.max_position_embeddings);
    let encodings = tokenizer.encode(&lines, max_length)?;
    if !(0.0..=0.5).contains(&args.validation_share) {
        return Err(format!("--validation-share is {}; give 0 to 0.5", args.validation_share).into());
    }
    let (train, validation) = hold_out(encodings.rows, args.validation_share);
    println!(
        "{} lines to train on, {} to measure on, {} cut to {max_length} tokens, {} tokens in the vocabulary",
        train.len(),
        validation.len(),
        encodings.truncated,
        tokenizer.vocab_size()
    );
    let objective =
        MaskedLanguage::new(&tokenizer, Masking { probability: args.mlm_probability, whole_word: args.whole_word })?;
    let recipe = Fit { epochs: args.epochs, batch_size: args.batch_size, rates: Rates::new(args.lr), ..Fit::default() };
    let mut recipe = args.flags.apply(recipe, &args.out);
    let data = || Data { train: &train[..], validation: &validation };
    println!("{}", first_plan(&model, &objective, &data(), &args.freeze, &recipe)?);
    if args.flags.dry_run {
        println!("{}", forecast(&model, &objective, data(), &args.freeze, &recipe)?);
    }
    if let Some(path) = &args.flags.lr_finder {
        let curve = LrFinder::default().search(&model, &objective, &train, &args.freeze, &recipe)?;
        curve.chart().save(path)?;
        println!("{curve}\ndrawn in {}", path.display());
    }
    if args.flags.dry_run || args.flags.lr_finder.is_some() {
        return Ok(());
    }
    if let Some(bytes) = args.flags.auto_batch_size {
        let budget = Some(bytes).filter(|bytes| *bytes > 0);
        let choice = batch_size_for(&model, &objective, data(), &args.freeze, &recipe, budget)?;
        (recipe.batch_size, recipe.accumulation) = (choice.batch_size, choice.accumulation);
        println!("{choice}");
    }

    let mut watchers = args.flags.watchers(&args.out)?;
    let report = fit(&mut model, &objective, data(), &args.freeze, &recipe, &mut watchers.list())?;
    watchers.print();
    if report.stop == StopReason::Observer && args.flags.keeps() {
        println!("stopped after step {}; --resume goes on", report.steps);
        return Ok(());
    }
    if let Some(best) = report.best {
        let (loss, accuracy) = (best.summary.loss, best.summary.accuracy.unwrap_or(0.0));
        println!("held-out masked tokens: perplexity {:.1}, accuracy {accuracy:.3}", perplexity(loss));
    }
    save_pretrained(&args.out, &model, &config, "BertForMaskedLM", &tokenizer)?;
    println!("saved in {}", args.out.display());
    if let Some(path) = &args.json {
        let report = json!({ "seed": args.flags.seed, "config": config, "report": report });
        rekindle::checkpoint::write_file(path, |file| serde_json::to_writer_pretty(file, &report).map_err(Into::into))?;
    }
    Ok(())
}

fn fresh_config(args: &Args, tokenizer: &TextTokenizer) -> Result<BertConfig, Box<dyn Error>> {
    let config = BertConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: args.hidden_size,
        num_hidden_layers: args.layers,
        num_attention_heads: args.heads,
        intermediate_size: args.intermediate_size,
        hidden_act: Activation::Gelu,
        hidden_dropout_prob: args.dropout,
        attention_probs_dropout_prob: args.dropout,
        initializer_range: args.initializer_range,
        max_position_embeddings: args.max_length.max(128),
        pad_token_id: tokenizer.pad_id().map(|id| id as usize),
        ..BertConfig::default()
    };
    config.check()?;
    Ok(config)
}

/// Sets every n-th line aside.
fn hold_out(rows: Vec<TokenRow>, share: f64) -> (Vec<TokenRow>, Vec<TokenRow>) {
    let every = if share > 0.0 { (1.0 / share).round().max(2.0) as usize } else { usize::MAX };
    let (validation, train): (Vec<_>, Vec<_>) =
        rows.into_iter().enumerate().partition(|(index, _)| index % every == every - 1);
    let rows = |part: Vec<(usize, TokenRow)>| part.into_iter().map(|(_, row)| row).collect();
    (rows(train), rows(validation))
}
