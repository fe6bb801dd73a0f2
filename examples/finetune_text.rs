//! Fine-tunes a text classifier: the main job.
//!
//! Without arguments it takes the small BERT and the intents under `assets/`, trains three ways on the same few labels
//! (from scratch, on a frozen pretrained backbone, on an unfrozen one), compares them, saves the best and asks it.
//!
//! ```text
//! cargo run --release --example finetune_text
//! cargo run --release --example finetune_text -- --model DIR --data DIR --freeze backbone --epochs 30 --lr 1e-2
//! ```

use burn::module::Module;
use burn::tensor::Device;
use clap::Parser;
use comfy_table::{Table, presets};
use rekindle::backbone::{Bert, BertConfig, Pooling};
use rekindle::checkpoint::{Checkpoint, save_classifier};
use rekindle::data::{Columns, Labels, TextExample, read_text, sample_per_class};
use rekindle::head::Classifier;
use rekindle::metric::Summary;
use rekindle::model::Model;
use rekindle::objective::{LabelledRow, TextClassification};
use rekindle::optim::{Schedule, Warmup};
use rekindle::params::{Freeze, Inventory, Progress, Rates, Selector, TrainPlan};
use rekindle::predict::Predictor;
use rekindle::random::permutation;
use rekindle::train::{
    Data, Fit, Monitor, Observer, ProgressLine, Report, SaveEvery, StopOnSignal, StopReason, evaluate, fit,
};
use serde_json::json;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Fine-tunes a text classifier.
#[derive(Parser, Debug)]
struct Args {
    /// Folder of a BERT checkpoint in Hugging Face's layout.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-bert"))]
    model: PathBuf,
    /// Folder with train, validation and test .jsonl files of `text` and `label`.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/intents"))]
    data: PathBuf,
    /// What stays fixed: nothing, backbone, bottom:N, gradual:EPOCHS or except:SELECTOR[;SELECTOR].
    /// Without it, three ways are compared.
    #[arg(long, value_parser = parse_freeze)]
    freeze: Option<Freeze>,
    /// Passes over the training texts.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Peak learning rate [default: 1e-2 for a frozen backbone, else 5e-4].
    #[arg(long)]
    lr: Option<f64>,
    /// Layer-wise decay of the learning rate.
    #[arg(long)]
    layer_decay: Option<f64>,
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Micro-batches of an optimizer step.
    #[arg(long, default_value_t = 1)]
    accumulation: usize,
    /// Longest text in tokens.
    #[arg(long, default_value_t = 128)]
    max_length: usize,
    /// Draws batches without regard to length; slower, for there is more padding.
    #[arg(long)]
    no_bucket: bool,
    /// cls, mean or pooler.
    #[arg(long, default_value_t = Pooling::Mean)]
    pooling: Pooling,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds of the three-way comparison.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Training texts a label [default: all; 8 for the comparison].
    #[arg(long)]
    per_label: Option<usize>,
    /// Uses so many texts of each file, drawn by the seed.
    #[arg(long)]
    limit: Option<usize>,
    /// flex, ndarray, wgpu or cuda.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Saves a checkpoint after every so many steps in `run` under `--out` (with `--freeze`).
    #[arg(long, requires = "freeze")]
    checkpoint_every: Option<usize>,
    /// Goes on with the run in `--out`, from its newest checkpoint.
    #[arg(long, requires = "freeze")]
    resume: bool,
    /// Where the model goes.
    #[arg(long, default_value = "runs/finetune_text")]
    out: PathBuf,
    /// Writes a report.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Prints the plan and stops.
    #[arg(long)]
    dry_run: bool,
}

fn parse_freeze(text: &str) -> Result<Freeze, String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is not a number"));
    match text.split_once(':') {
        None if text == "nothing" => Ok(Freeze::Nothing),
        None if text == "backbone" => Ok(Freeze::Backbone),
        Some(("bottom", count)) => Ok(Freeze::Bottom(number(count)?)),
        Some(("gradual", epochs)) => Ok(Freeze::Gradual { epochs: number(epochs)? }),
        Some(("except", selectors)) => {
            let selectors = selectors.split(';').map(str::parse::<Selector>).collect::<Result<_, _>>();
            Ok(Freeze::Except(selectors.map_err(|error| error.to_string())?))
        }
        _ => {
            Err(format!("no policy is called `{text}`; use nothing, backbone, bottom:N, gradual:N or except:SELECTOR"))
        }
    }
}

/// The texts of a run, tokenised.
struct Texts {
    train: Vec<TextExample>,
    validation: Vec<LabelledRow>,
    test: Vec<LabelledRow>,
}

/// What one way of training came to.
struct Outcome {
    model: Model<Bert, Classifier>,
    freeze: Freeze,
    report: Report,
    test: Summary,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let device = rekindle::device(&args.device)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let config: BertConfig = checkpoint.config::<Bert>()?;
    let (task, texts) = read(args, &checkpoint, &config)?;
    let pretrained = checkpoint.backbone::<Bert>(args.pooling, &device)?;
    println!("{}: {}", args.model.display(), pretrained.report);

    let run = Job { args, config: &config, task: &task, texts: &texts };
    run.print_plan(&pretrained.module)?;
    if args.dry_run {
        return Ok(());
    }
    let (best, mut report) = match &args.freeze {
        Some(freeze) => run.one_way(pretrained.module, freeze)?,
        None => run.three_ways(pretrained.module)?,
    };
    if best.report.stop == StopReason::Observer && run.keeps() {
        println!("stopped after step {}; --resume goes on", best.report.steps);
        return Ok(());
    }
    save_classifier(&args.out, &best.model, &config, &task, &best.freeze)?;
    println!("\nsaved in {}", args.out.display());
    ask(&args.out, args, &texts)?;
    report["seconds"] = json!(start.elapsed().as_secs_f64());
    if let Some(path) = &args.json {
        rekindle::checkpoint::write_file(path, |file| serde_json::to_writer_pretty(file, &report).map_err(Into::into))?;
    }
    Ok(())
}

/// At most `limit` rows drawn by the seed, in the order of the file.
fn draw(rows: Vec<TextExample>, limit: Option<usize>, seed: u64) -> Vec<TextExample> {
    let mut chosen = permutation(rows.len(), &[seed]);
    chosen.truncate(limit.unwrap_or(usize::MAX));
    chosen.sort_unstable();
    chosen.into_iter().map(|index| rows[index].clone()).collect()
}

/// Reads the three files and says what was cut.
fn read(
    args: &Args,
    checkpoint: &Checkpoint,
    config: &BertConfig,
) -> Result<(TextClassification, Texts), Box<dyn Error>> {
    let file = |name: &str| -> Result<Vec<TextExample>, rekindle::data::DataError> {
        read_text(args.data.join(format!("{name}.jsonl")), &Columns::default())
    };
    let (train, validation, test) = (file("train")?, file("validation")?, file("test")?);
    let labels = Labels::from_examples(&train)?;
    let [train, validation, test] = [train, validation, test].map(|rows| draw(rows, args.limit, args.seed));
    let max_length = args.max_length.min(config.max_position_embeddings);
    let task = TextClassification::new(checkpoint.tokenizer()?, labels, max_length)?;
    let (_, cut) = task.encode(&train)?;
    println!(
        "{} training, {} validation and {} test texts of {} labels; {cut} training texts cut to {max_length} tokens",
        train.len(),
        validation.len(),
        test.len(),
        task.labels().len()
    );
    let (validation, test) = (task.encode(&validation)?.0, task.encode(&test)?.0);
    Ok((task, Texts { train, validation, test }))
}

struct Job<'a> {
    args: &'a Args,
    config: &'a BertConfig,
    task: &'a TextClassification,
    texts: &'a Texts,
}

impl Job<'_> {
    /// Trains once, with all labels unless told otherwise.
    fn one_way(&self, body: Bert, freeze: &Freeze) -> Result<(Outcome, serde_json::Value), Box<dyn Error>> {
        let lr = self.lr(freeze, 5e-4);
        let train = match self.args.per_label {
            Some(count) => sample_per_class(&self.texts.train, count, self.args.seed)?,
            None => self.texts.train.clone(),
        };
        let outcome = self.train(body, &train, freeze, lr, self.args.seed, true)?;
        let Outcome { report, test, .. } = &outcome;
        println!("test: accuracy {:.4}, macro-F1 {:.4}", test.accuracy.unwrap_or(0.0), test.macro_f1.unwrap_or(0.0));
        let json = json!({ "freeze": freeze, "lr": lr, "seed": self.args.seed, "test": test, "report": report });
        Ok((outcome, json))
    }

    /// From scratch, frozen and unfrozen, on the same few labels, over several seeds.
    fn three_ways(&self, body: Bert) -> Result<(Outcome, serde_json::Value), Box<dyn Error>> {
        let count = self.args.per_label.unwrap_or(8);
        let fresh = |seed| Bert::new(self.config, self.args.pooling, seed, &body_device(&body));
        let ways = [
            ("from scratch", false, Freeze::Nothing),
            ("pretrained, frozen backbone", true, Freeze::Backbone),
            ("pretrained, unfrozen", true, Freeze::Nothing),
        ];
        println!("\n{count} training texts a label, {} seeds", self.args.seeds);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["", "trainable", "test accuracy (mean)", "each seed", "seconds"]);
        let (mut best, mut rows) = (None::<Outcome>, vec![]);
        for (name, pretrained, freeze) in ways {
            let lr = self.lr(&freeze, 1e-3);
            let (mut accuracies, mut seconds, mut trainable) = (vec![], 0.0, 0);
            for seed in self.args.seed..self.args.seed + self.args.seeds {
                let train = sample_per_class(&self.texts.train, count, seed)?;
                let body = if pretrained { body.clone() } else { fresh(seed) };
                let outcome = self.train(body, &train, &freeze, lr, seed, false)?;
                accuracies.push(outcome.test.accuracy.unwrap_or(0.0));
                seconds += outcome.report.seconds;
                trainable = outcome.report.trainable_values;
                let merit = |outcome: &Outcome| outcome.report.best.and_then(|best| best.summary.accuracy);
                if best.as_ref().is_none_or(|best| merit(&outcome) > merit(best)) {
                    best = Some(outcome);
                }
            }
            let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
            let each = accuracies.iter().map(|accuracy| format!("{accuracy:.3}")).collect::<Vec<_>>().join(" ");
            println!("{name}: {mean:.3}");
            table.add_row([name.into(), trainable.to_string(), format!("{mean:.3}"), each, format!("{seconds:.1}")]);
            rows.push(json!({ "way": name, "freeze": freeze, "lr": lr, "mean": mean, "accuracies": accuracies, "seconds": seconds }));
        }
        println!("\n{}", table.trim_fmt());
        let best = best.ok_or("no seed was run; give --seeds 1 or more")?;
        Ok((best, json!({ "per_label": count, "ways": rows })))
    }

    fn model(&self, body: Bert, seed: u64) -> Model<Bert, Classifier> {
        let device = body_device(&body);
        let head = Classifier::new(self.config.hidden_size, self.task.labels().len(), seed, &device);
        Model::new(body, head.with_dropout(self.config.head_dropout()))
    }

    /// The plan of the run, or of the frozen one of three.
    fn print_plan(&self, body: &Bert) -> Result<(), Box<dyn Error>> {
        let freeze = self.args.freeze.clone().unwrap_or(Freeze::Backbone);
        let inventory = Inventory::of(&self.model(body.clone(), self.args.seed))?;
        let plan = TrainPlan::new(&inventory, &freeze, &self.rates(self.lr(&freeze, 5e-4)), Progress::default())?;
        println!("\nplan for {freeze:?}\n{plan}");
        Ok(())
    }

    /// A head alone learns well at a rate that would spoil a body.
    fn lr(&self, freeze: &Freeze, for_bodies: f64) -> f64 {
        self.args.lr.unwrap_or(if *freeze == Freeze::Backbone { 1e-2 } else { for_bodies })
    }

    /// Whether the run is kept, to go on with.
    fn keeps(&self) -> bool {
        self.args.resume || self.args.checkpoint_every.is_some()
    }

    fn rates(&self, lr: f64) -> Rates {
        Rates { layer_decay: self.args.layer_decay, ..Rates::new(lr) }
    }

    fn train(
        &self,
        body: Bert,
        train: &[TextExample],
        freeze: &Freeze,
        lr: f64,
        seed: u64,
        show: bool,
    ) -> Result<Outcome, Box<dyn Error>> {
        let mut model = self.model(body, seed);
        let (rows, _) = self.task.encode(train)?;
        let keeps = self.keeps();
        let config = Fit {
            epochs: self.args.epochs,
            batch_size: self.args.batch_size,
            accumulation: self.args.accumulation,
            rates: self.rates(lr),
            schedule: Schedule::Linear { warmup: Warmup::Ratio(0.1) },
            seed,
            bucket: !self.args.no_bucket,
            monitor: Monitor::Accuracy,
            folder: keeps.then(|| self.args.out.join("run")),
            save_every: keeps.then(|| self.args.checkpoint_every.map_or(SaveEvery::Minutes(5.0), SaveEvery::Steps)),
            resume: self.args.resume,
            ..Fit::default()
        };
        let data = Data { train: &rows, validation: &self.texts.validation };
        let mut progress = if show { ProgressLine::new() } else { ProgressLine::bar_only() };
        let mut stop = show.then(StopOnSignal::new).transpose()?;
        let mut observers: Vec<&mut dyn Observer> = vec![&mut progress];
        observers.extend(stop.as_mut().map(|stop| stop as &mut dyn Observer));
        let report = fit(&mut model, self.task, data, freeze, &config, &mut observers)?;
        let test = evaluate(&model, self.task, &self.texts.test, self.args.batch_size, seed)?.summary();
        Ok(Outcome { model, freeze: freeze.clone(), report, test })
    }
}

fn body_device(body: &Bert) -> Device {
    body.devices().into_iter().next().unwrap_or_default()
}

/// Labels a few sentences with the model that was saved.
fn ask(folder: &Path, args: &Args, texts: &Texts) -> Result<(), Box<dyn Error>> {
    let predictor: Predictor = Predictor::load(folder, &rekindle::device(&args.device)?)?;
    let own = ["my internet has been dead since this morning", "how do i keep my old number?", "i want a real person"];
    let from_data = texts.train.iter().step_by(texts.train.len().div_ceil(3)).map(|example| example.text.as_str());
    let sentences: Vec<&str> = match args.data.ends_with("assets/intents") {
        true => own.to_vec(),
        false => from_data.collect(),
    };
    for (sentence, prediction) in sentences.iter().zip(predictor.predict(&sentences)?) {
        println!("{:>5.1} %  {:<24} {sentence}", 100.0 * prediction.probability, prediction.label);
    }
    Ok(())
}
