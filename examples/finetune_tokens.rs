//! Fine-tunes a token classifier: named entities.
//!
//! ```text
//! cargo run --release --example finetune_tokens -- --model DIR --data wnut17 --epochs 3 --lr 2e-4
//! ```

use ahead::Result;
use clap::Parser;
use recipe::{Recipe, Start};
use rekindle::Model;
use rekindle::backbone::{AutoText, Pooling};
use rekindle::checkpoint::{FromPretrained, save_tagger};
use rekindle::data::{DataError, TaggedExample, read_conll, read_tagged};
use rekindle::metric::{EntityScheme, EntityScores, MetricError};
use rekindle::objective::TokenTagging;
use rekindle::predict::Tagger;
use rekindle::train::Data;
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

/// Fine-tunes a token classifier on the files train, validation and test: .jsonl, or .conll and .txt in columns.
#[derive(Parser, Debug)]
struct Args {
    /// The key of the words.
    #[arg(long, default_value = "tokens")]
    tokens: String,
    /// The key of their tags.
    #[arg(long, default_value = "ner_tags")]
    tags: String,
    /// Longest sentence in tokens.
    #[arg(long, default_value_t = 128)]
    max_length: usize,
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
    let read = |name: &str| -> std::result::Result<Vec<TaggedExample>, DataError> {
        let path = split_file(&recipe.data, name, &["jsonl", "json", "conll", "txt"]);
        match path.extension().is_some_and(|ending| ending == "conll" || ending == "txt") {
            true => read_conll(path),
            false => read_tagged(path, &args.tokens, &args.tags),
        }
    };
    let (train, validation, test) = (read("train")?, read("validation")?, read("test")?);
    let labels = TokenTagging::labels_of(&train)?;
    let [train, validation, test] = [train, validation, test].map(|examples| recipe.draw(examples));
    let max_length = args.max_length.min(AutoText::max_length(config));
    let task = TokenTagging::new(checkpoint.tokenizer()?, labels, max_length)?;
    let (rows, validation) =
        (in_split("training", task.encode(&train))?, in_split("validation", task.encode(&validation))?);
    println!(
        "{} training, {} validation and {} test sentences; {} tags; {} words of the training sentences were not read",
        train.len(),
        validation.len(),
        test.len(),
        task.labels().len(),
        rows.iter().map(|row| row.lost_words()).sum::<usize>()
    );

    let body = recipe.body(&start, Pooling::Cls)?;
    let head = AutoText::token_classifier(config, task.labels().len(), recipe.flags.seed, device);
    let mut model = Model::new(body, head);
    let data = Data { train: &rows, validation: &validation };
    let Some(report) = recipe.train(&mut model, &task, data)? else { return Ok(()) };
    save_tagger(&recipe.out, &model, config, &task, &recipe.freeze)?;
    println!("\nsaved in {}", recipe.out.display());

    let tagger = Tagger::<AutoText>::load(&recipe.out, device)?;
    let words: Vec<&[String]> = test.iter().map(|example| example.tokens.as_slice()).collect();
    let tagged = tagger.tag(&words)?;
    let found: Vec<Vec<&str>> = tagged.iter().map(|sentence| sentence.tags()).collect();
    let actual: Vec<Vec<&str>> = test.iter().map(|example| example.tags.iter().map(String::as_str).collect()).collect();
    let scores = match EntityScores::new(&found, &actual, EntityScheme::Conll) {
        Err(MetricError::BadTag { tag, .. }) => {
            let accuracy = same_tags(&found, &actual);
            println!("test: token accuracy {accuracy:.4}; no entities, for `{tag}` is not `O`, `B-TYPE` or `I-TYPE`");
            let test = json!({ "token_accuracy": accuracy });
            return recipe
                .write(&json!({ "freeze": recipe.freeze, "seed": recipe.flags.seed, "test": test, "report": report }));
        }
        scores => scores?,
    };
    let micro = scores.micro_average();
    println!(
        "test: entity F1 {:.4}, precision {:.4}, recall {:.4}, token accuracy {:.4}",
        micro.f1,
        micro.precision,
        micro.recall,
        scores.token_accuracy()
    );
    let with_entities = words.iter().zip(&tagged).filter(|(_, sentence)| sentence.tags().iter().any(|tag| *tag != "O"));
    for (words, sentence) in with_entities.take(3) {
        for found in sentence.entities(EntityScheme::Conll)? {
            let name = words[found.entity.start..found.entity.end].join(" ");
            println!("{:>5.1} %  {:<16} {name}  in: {}", 100.0 * found.score, found.entity.kind, words.join(" "));
        }
    }
    let test = json!({ "entity": micro, "token_accuracy": scores.token_accuracy() });
    recipe.write(&json!({ "freeze": recipe.freeze, "seed": recipe.flags.seed, "test": test, "report": report }))
}

/// The share of words with the right tag.
fn same_tags(found: &[Vec<&str>], actual: &[Vec<&str>]) -> f64 {
    let pairs = || found.iter().flatten().zip(actual.iter().flatten());
    pairs().filter(|(found, actual)| found == actual).count() as f64 / pairs().count().max(1) as f64
}
