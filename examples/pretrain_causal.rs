//! Pretrains a small GPT-2 or LLaMA on plain text to say what comes next, and saves a checkpoint folder that Transformers
//! and `AutoText` load. The text may be larger than memory: its tokens are written to a file, of which blocks are read.
//!
//! ```text
//! cargo run --release --example pretrain_causal -- --text train.txt --validation validation.txt --by blank-line
//! ```

use ahead::{Ahead, Result};
use clap::{Parser, ValueEnum};
use flags::Flags;
use rekindle::Model;
use rekindle::backbone::{AutoText, AutoTextConfig, Pooling};
use rekindle::checkpoint::{Checkpoint, FromPretrained, check_model_folder, save_pretrained};
use rekindle::data::{DocumentEnd, TextTokenizer, TokenBlock, TokenFile, read_lines, train_wordpiece};
use rekindle::metric::perplexity;
use rekindle::objective::{Blocks, CausalLanguage};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Data, Fit, StopReason, evaluate, fit};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[path = "common/ahead.rs"]
#[allow(dead_code)] // Texts are not drawn here.
mod ahead;
#[path = "common/flags.rs"]
mod flags;

/// Pretrains a small decoder on a text file.
#[derive(Parser, Debug)]
struct Args {
    /// Text file.
    #[arg(long)]
    text: PathBuf,
    /// Text file to measure on; without it the end of the text is set aside.
    #[arg(long)]
    validation: Option<PathBuf>,
    /// Share of the text to set aside.
    #[arg(long, default_value_t = 0.1, conflicts_with = "validation")]
    validation_share: f64,
    /// Where a document ends.
    #[arg(long, value_enum, default_value_t = By::Line)]
    by: By,
    /// Each document sees itself alone; without it a block is read as one text.
    #[arg(long)]
    by_document: bool,
    /// The token that follows each document, if the tokenizer does not add one itself, such as <|endoftext|>.
    #[arg(long)]
    end: Option<String>,
    /// Folder with a tokenizer; without it one is trained on the text, which then is read into memory.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Entries of a trained tokenizer.
    #[arg(long, default_value_t = 2000)]
    vocab_size: usize,
    /// Which network is trained.
    #[arg(long, value_enum, default_value_t = Architecture::Gpt2)]
    architecture: Architecture,
    /// Width of the network.
    #[arg(long, default_value_t = 128)]
    hidden_size: usize,
    /// How many layers it has.
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Attention heads of each layer.
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Share of values that dropout leaves out.
    #[arg(long, default_value_t = 0.0)]
    dropout: f64,
    /// Tokens of a block.
    #[arg(long, default_value_t = 64)]
    block: usize,
    /// Passes over the training text.
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Rows of a micro-batch, at most.
    #[arg(long, default_value_t = 12)]
    batch_size: usize,
    /// Where the checkpoint goes.
    #[arg(long, default_value = "runs/pretrain_causal")]
    out: PathBuf,
    /// Where the tokens go, as train.tokens and validation.tokens.
    #[arg(long, default_value = "runs")]
    tokens: PathBuf,
    /// Writes a report.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum By {
    Line,
    BlankLine,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Architecture {
    Gpt2,
    Llama,
}

impl Architecture {
    fn class(self) -> &'static str {
        match self {
            Self::Gpt2 => "GPT2LMHeadModel",
            Self::Llama => "LlamaForCausalLM",
        }
    }
}

fn main() -> ExitCode {
    rekindle::compute_on_this_thread();
    ahead::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    check_model_folder(&args.out)?;
    std::fs::create_dir_all(&args.tokens)?;
    let device = rekindle::device(&args.flags.device)?;
    let tokenizer = match &args.tokenizer {
        Some(folder) => TextTokenizer::from_folder(folder)?,
        None => train_wordpiece(&read_lines(&args.text)?, args.vocab_size)?,
    };
    let train = Arc::new(tokens(args, &tokenizer, "train", &args.text)?);
    let validation = args.validation.as_deref().map(|text| tokens(args, &tokenizer, "validation", text)).transpose()?;
    let objective = |file: &Arc<TokenFile>| {
        let blocks = Blocks::new(CausalLanguage::new(&tokenizer), file.clone());
        if args.by_document { blocks.by_document() } else { blocks }
    };
    let (blocks, held_out) = match &validation {
        Some(_) => (train.blocks(args.block), vec![]),
        None => hold_out(train.blocks(args.block), args.validation_share)?,
    };
    println!(
        "{} tokens of {} in {} documents, {} blocks to train on",
        train.len(),
        train.vocab_size(),
        train.documents(),
        blocks.len()
    );

    let config = fresh_config(args, &tokenizer)?;
    let body = AutoText::build(&config, Pooling::Mean, args.flags.seed, &device);
    let mut model = Model::new(body, AutoText::causal_lm(&config, args.flags.seed, &device)?);
    let recipe = Fit { epochs: args.epochs, batch_size: args.batch_size, rates: Rates::new(args.lr), ..Fit::default() };
    let mut recipe = args.flags.apply(recipe, &args.out);
    let task = objective(&train);
    let data = Data { train: &blocks[..], validation: &held_out };
    let ahead = Ahead { flags: &args.flags, task: &task, freeze: &Freeze::Nothing };
    ahead.print_plan(&model, data, &recipe)?;
    if ahead.look(&model, data, &[], &recipe)? {
        return Ok(());
    }
    ahead.choose_batch_size(&model, data, &mut recipe)?;
    let mut watchers = args.flags.watchers(&args.out)?;
    let report = fit(&mut model, &task, data, &Freeze::Nothing, &recipe, &mut watchers.list())?;
    watchers.print();
    if report.stop == StopReason::Observer && args.flags.keeps() {
        println!("stopped after step {}; --resume goes on", report.steps);
        return Ok(());
    }

    let (measured, held_out) = match validation.map(Arc::new) {
        Some(file) => (objective(&file), file.blocks(args.block)),
        None => (task, held_out),
    };
    let figures = evaluate(&model, &measured, &held_out, args.batch_size, args.flags.seed)?.summary();
    let (loss, accuracy) = (figures.loss, figures.accuracy.unwrap_or(0.0));
    println!("held-out tokens: perplexity {:.2}, loss {loss:.4}, accuracy {accuracy:.3}", perplexity(loss));
    save_pretrained(&args.out, &model, &config, args.architecture.class(), &tokenizer)?;
    let saved = Checkpoint::open(&args.out)?;
    println!("saved in {}: {}", args.out.display(), saved.model(&model)?.report);
    if let Some(path) = &args.json {
        ahead::write_json(path, &json!({ "seed": args.flags.seed, "validation": figures, "report": report }))?;
    }
    Ok(())
}

/// The tokens of a text, in a file of their own.
fn tokens(args: &Args, tokenizer: &TextTokenizer, name: &str, text: &Path) -> Result<TokenFile> {
    let by = match args.by {
        By::Line => DocumentEnd::Line,
        By::BlankLine => DocumentEnd::BlankLine,
    };
    let id = |end: &String| tokenizer.token_id(end).ok_or(format!("the tokenizer has no token `{end}`"));
    let end = args.end.as_ref().map(id).transpose()?;
    Ok(TokenFile::create(args.tokens.join(format!("{name}.tokens")), text, tokenizer, by, end)?)
}

/// Sets the last blocks aside.
fn hold_out(mut blocks: Vec<TokenBlock>, share: f64) -> Result<(Vec<TokenBlock>, Vec<TokenBlock>)> {
    if !(share > 0.0 && share <= 0.5) {
        return Err(format!("--validation-share is {share}; give more than 0 and at most 0.5").into());
    }
    let kept = (blocks.len() as f64 * (1.0 - share)) as usize;
    let held_out = blocks.split_off(kept.max(1).min(blocks.len()));
    Ok((blocks, held_out))
}

fn fresh_config(args: &Args, tokenizer: &TextTokenizer) -> Result<AutoTextConfig> {
    let Args { hidden_size, layers, heads, block, dropout, .. } = *args;
    let (begin, end) = (tokenizer.cls_id(), tokenizer.sep_id());
    let config = match args.architecture {
        Architecture::Gpt2 => json!({
            "model_type": "gpt2", "n_embd": hidden_size, "n_layer": layers, "n_head": heads, "n_positions": block,
            "resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout,
        }),
        // As wide inside as makes a gated layer as large as a plain one of four times the width.
        Architecture::Llama => json!({
            "model_type": "llama", "hidden_size": hidden_size, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": (hidden_size * 8 / 3).next_multiple_of(16),
            "max_position_embeddings": block, "attention_dropout": dropout, "tie_word_embeddings": true,
        }),
    };
    let mut config = config;
    let vocabulary = json!({
        "vocab_size": tokenizer.vocab_size(), "pad_token_id": tokenizer.pad_id(), "bos_token_id": begin,
        "eos_token_id": end,
    });
    if let (Some(config), Some(vocabulary)) = (config.as_object_mut(), vocabulary.as_object()) {
        config.extend(vocabulary.clone());
    }
    let config: AutoTextConfig = serde_json::from_value(config)?;
    AutoText::check_config(&config)?;
    Ok(config)
}
