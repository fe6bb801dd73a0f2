//! Fine-tunes a model that finds answers in texts.
//!
//! ```text
//! cargo run --release --example finetune_qa -- --model DIR --data squad --epochs 3 --lr 2e-4
//! ```

use ahead::Result;
use clap::Parser;
use recipe::{Recipe, Start};
use rekindle::Model;
use rekindle::backbone::{AutoText, Pooling};
use rekindle::checkpoint::{FromPretrained, save_reader};
use rekindle::data::{DataError, QuestionExample, Windows, read_squad};
use rekindle::metric::AnswerScores;
use rekindle::objective::QuestionAnswering;
use rekindle::predict::Answerer;
use rekindle::train::Data;
use serde_json::json;
use std::process::ExitCode;

#[path = "common/ahead.rs"]
mod ahead;
#[path = "common/flags.rs"]
mod flags;
#[path = "common/recipe.rs"]
mod recipe;

/// Fine-tunes a model that finds answers on the files train, validation and test .json in SQuAD's format.
#[derive(Parser, Debug)]
struct Args {
    /// Tokens of a row: question, window of the context and special tokens.
    #[arg(long, default_value_t = 384)]
    max_length: usize,
    /// Tokens that two windows of a context share [default: 128, or a third of a row where that is less].
    #[arg(long)]
    doc_stride: Option<usize>,
    /// A question is cut to this many tokens [default: 64, or a third of a row where that is less].
    #[arg(long)]
    max_question: Option<usize>,
    /// Longest answer in tokens.
    #[arg(long, default_value_t = 30)]
    max_answer: usize,
    /// No answer where that scores better than the best answer by more than this (SQuAD 2.0); without it there is always
    /// an answer.
    #[arg(long, value_name = "MARGIN")]
    no_answer: Option<f64>,
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
    let read = |name: &str| -> std::result::Result<Vec<QuestionExample>, DataError> {
        Ok(recipe.draw(read_squad(recipe.data.join(format!("{name}.json")))?))
    };
    let (train, validation, test) = (read("train")?, read("validation")?, read("test")?);
    let max_length = args.max_length.min(AutoText::max_length(config));
    let windows = Windows {
        max_length,
        stride: args.doc_stride.unwrap_or(128.min(max_length / 3)),
        max_question: args.max_question.unwrap_or(64.min(max_length / 3)),
    };
    let task = QuestionAnswering::new(checkpoint.tokenizer()?, windows)?;
    let (rows, held_out) = (task.encode(&train)?, task.encode(&validation)?);
    println!(
        "{} training, {} validation and {} test questions; training: {} windows, {} contexts were split, {} answers are in \
         no window, {} questions were cut",
        train.len(),
        validation.len(),
        test.len(),
        rows.rows.len(),
        rows.split,
        rows.answers_lost,
        rows.questions_cut
    );

    let body = recipe.body(&start, Pooling::Cls)?;
    let mut model = Model::new(body, AutoText::span_head(config, recipe.flags.seed, device));
    let data = Data { train: &rows.rows, validation: &held_out.rows };
    let Some(report) = recipe.train(&mut model, &task, data)? else { return Ok(()) };
    save_reader(&recipe.out, &model, config, &task, &recipe.freeze)?;
    println!("\nsaved in {}", recipe.out.display());

    let answerer = Answerer::<AutoText>::load(&recipe.out, device)?;
    let answerer = answerer.with_max_answer(args.max_answer);
    let answerer = match args.no_answer {
        Some(margin) => answerer.with_no_answer(margin),
        None => answerer,
    };
    let questions: Vec<_> = test.iter().map(|example| (&example.question, &example.context)).collect();
    let answered = answerer.answer(&questions)?;
    let found: Vec<&str> = answered.iter().map(|answered| answered.text()).collect();
    let accepted: Vec<Vec<&str>> =
        test.iter().map(|example| example.answers.iter().map(|answer| answer.text.as_str()).collect()).collect();
    let scores = AnswerScores::new(&found, &accepted)?;
    println!("test: F1 {:.4}, exact match {:.4} over {} questions", scores.f1(), scores.exact_match(), test.len());
    for ((example, answered), (exact, _)) in test.iter().zip(&answered).zip(scores.rows()).take(3) {
        let probability = answered.answer.as_ref().map_or(0.0, |answer| answer.probability);
        let mark = if exact == 1.0 { "right" } else { "wrong" };
        println!("{:>5.1} %  {mark}  {:?}  {}", 100.0 * probability, answered.text(), example.question);
    }
    let test = json!({ "f1": scores.f1(), "exact_match": scores.exact_match() });
    recipe.write(&json!({ "freeze": recipe.freeze, "seed": recipe.flags.seed, "test": test, "report": report }))
}
