//! Fine-tunes a text classifier: the main job.
//!
//! Without arguments it takes the small BERT and the intents under `assets/`, trains three ways on the same few labels
//! (from scratch, on a frozen pretrained backbone, on an unfrozen one), compares them, saves the best and asks it.
//!
//! ```text
//! cargo run --release --example finetune_text
//! cargo run --release --example finetune_text -- --model DIR --data DIR --freeze backbone --epochs 30 --lr 1e-2
//! ```

use ahead::{Ahead, draw, make_folder, make_folder_of};
use burn::module::Module;
use burn::tensor::Device;
use clap::Parser;
use comfy_table::{Table, presets};
use flags::Flags;
use rekindle::backbone::{AutoText, AutoTextConfig, Pooling};
use rekindle::checkpoint::{
    Checkpoint, FromPretrained, check_model_folder, check_pooling, save_classifier, write_file,
};
use rekindle::data::{Columns, Labels, TextExample, read_text, sample_per_class};
use rekindle::head::Classifier;
use rekindle::loss::{ClassLoss, Focal, balanced_weights};
use rekindle::metric::{Normalise, Scores, Summary};
use rekindle::model::Model;
use rekindle::objective::{LabelledRow, TextClassification};
use rekindle::params::{Freeze, Rates};
use rekindle::predict::Predictor;
use rekindle::train::{
    Data, Evaluate, Fit, Monitor, Observer, ProgressLine, Regularisation, Report, StopReason, evaluate_cached, fit,
};
use serde_json::json;
use splits::{in_split, split_file};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

#[path = "common/ahead.rs"]
mod ahead;
#[path = "common/flags.rs"]
mod flags;
#[path = "common/splits.rs"]
mod splits;

/// Fine-tunes a text classifier.
#[derive(Parser, Debug)]
struct Args {
    /// Folder of a text checkpoint (BERT, RoBERTa, LLaMA, ..) in Hugging Face's layout.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-bert"))]
    model: PathBuf,
    /// Folder with the files train, validation and test, each .jsonl, .json, .csv or .tsv.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/intents"))]
    data: PathBuf,
    /// The key of the text.
    #[arg(long, default_value = "text")]
    text: String,
    /// The key of the label.
    #[arg(long, default_value = "label")]
    label: String,
    /// What stays fixed: nothing, backbone, bottom:N, gradual[:EPOCHS], gradual-plateau:VALIDATIONS, lp-ft[:EPOCHS],
    /// chain-thaw:EPOCHS, bitfit, norm, every:N, surgical:STAGES, except:SELECTOR[;SELECTOR], or several in turn, such as
    /// "backbone@2 > nothing".
    /// Without it, three ways are compared.
    #[arg(long)]
    freeze: Option<Freeze>,
    /// Passes over the training texts.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Peak learning rate [default: 1e-2 for a frozen backbone, else 5e-4].
    #[arg(long)]
    lr: Option<f64>,
    /// Rows of a micro-batch, at most.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Longest text in tokens.
    #[arg(long, default_value_t = 128)]
    max_length: usize,
    /// cls, mean, pooler or lasttoken [default: mean for BERT, else what Transformers has for the architecture].
    #[arg(long)]
    pooling: Option<Pooling>,
    /// Share of each label that is spread over all of them.
    #[arg(long, default_value_t = 0.0)]
    label_smoothing: f64,
    /// Weighs classes so that each counts the same.
    #[arg(long)]
    balance_classes: bool,
    /// Focal loss with this gamma: texts that are already right count less.
    #[arg(long, value_name = "GAMMA")]
    focal: Option<f64>,
    /// R-Drop with this strength: each batch runs twice, and both answers should agree.
    #[arg(long, value_name = "ALPHA")]
    r_drop: Option<f64>,
    /// Seeds of the three-way comparison.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Training texts a label [default: all; 8 for the comparison].
    #[arg(long)]
    per_label: Option<usize>,
    /// Uses so many texts of each file, drawn by the seed.
    #[arg(long)]
    limit: Option<usize>,
    /// Where the model goes.
    #[arg(long, default_value = "runs/finetune_text")]
    out: PathBuf,
    /// Writes a table of the test scores by label and a picture of what is taken for what into this folder.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Writes a report.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// The texts of a run, tokenised.
struct Texts {
    train: Vec<TextExample>,
    validation: Vec<LabelledRow>,
    test: Vec<LabelledRow>,
}

/// What one way of training came to.
struct Outcome {
    model: Model<AutoText, Classifier>,
    freeze: Freeze,
    report: Report,
    scores: Scores,
    test: Summary,
}

fn main() -> ExitCode {
    rekindle::compute_on_this_thread();
    ahead::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let one_run = args.flags.keeps() || !args.flags.observer.is_empty() || args.flags.auto_batch_size.is_some();
    if one_run && args.freeze.is_none() {
        return Err("the comparison of three ways is not one run: give --freeze with --checkpoint-every, --resume, \
            --observer and --auto-batch-size"
            .into());
    }
    check_model_folder(&args.out)?;
    make_folder_of(args.json.as_deref())?;
    args.report.as_deref().map_or(Ok(()), make_folder)?;
    let device = rekindle::device(&args.flags.device)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let config: AutoTextConfig = checkpoint.config::<AutoText>()?;
    check_pooling::<AutoText>(&config, pooling(args, &config))?;
    let (task, texts) = read(args, &checkpoint, &config)?;
    let pretrained = checkpoint.backbone::<AutoText>(pooling(args, &config), &device)?;
    println!("{}: {}", args.model.display(), pretrained.report);

    let job = Job { args, config: &config, task: &task, texts: &texts };
    if args.flags.lr_finder.is_some() || args.flags.dry_run {
        return job.look_ahead(pretrained.module);
    }
    job.print_plan(&pretrained.module)?;
    let (best, mut report) = match &args.freeze {
        Some(freeze) => job.one_way(pretrained.module, freeze)?,
        None => job.three_ways(pretrained.module)?,
    };
    if best.report.stop == StopReason::Observer && args.flags.keeps() {
        println!("stopped after step {}; --resume goes on", best.report.steps);
        return Ok(());
    }
    if let Some(folder) = &args.report {
        write_report(folder, &best.scores, task.labels().names())?;
    }
    save_classifier(&args.out, &best.model, &config, &task, &best.freeze)?;
    println!("\nsaved in {}", args.out.display());
    ask(&args.out, args, &texts)?;
    report["seconds"] = json!(start.elapsed().as_secs_f64());
    if let Some(path) = &args.json {
        ahead::write_json(path, &report)?;
    }
    Ok(())
}

/// Transformers loads classifiers of other architectures with one pooling only.
fn pooling(args: &Args, config: &AutoTextConfig) -> Pooling {
    args.pooling.unwrap_or(match config {
        AutoTextConfig::Bert(_) => Pooling::Mean,
        other => AutoText::classification_pooling(other),
    })
}

/// Reads the three files and says what was cut.
fn read(
    args: &Args,
    checkpoint: &Checkpoint,
    config: &AutoTextConfig,
) -> Result<(TextClassification, Texts), Box<dyn Error>> {
    let file = |name: &str| -> Result<Vec<TextExample>, rekindle::data::DataError> {
        let columns = Columns::new(&args.text, Some(&args.label));
        read_text(split_file(&args.data, name, &["jsonl", "json", "csv", "tsv"]), &columns)
    };
    let (train, validation, test) = (file("train")?, file("validation")?, file("test")?);
    let labels = Labels::from_examples(&train)?;
    let [train, validation, test] = [train, validation, test].map(|rows| draw(rows, args.limit, args.flags.seed));
    let max_length = args.max_length.min(AutoText::max_length(config));
    let task = TextClassification::new(checkpoint.tokenizer()?, labels, max_length)?;
    let (_, cut) = in_split("training", task.encode(&train))?;
    println!(
        "{} training, {} validation and {} test texts of {} labels; {cut} training texts cut to {max_length} tokens",
        train.len(),
        validation.len(),
        test.len(),
        task.labels().len()
    );
    let (validation, test) =
        (in_split("validation", task.encode(&validation))?.0, in_split("test", task.encode(&test))?.0);
    Ok((task, Texts { train, validation, test }))
}

struct Job<'a> {
    args: &'a Args,
    config: &'a AutoTextConfig,
    task: &'a TextClassification,
    texts: &'a Texts,
}

impl Job<'_> {
    /// Trains once, with all labels unless told otherwise.
    fn one_way(&self, body: AutoText, freeze: &Freeze) -> Result<(Outcome, serde_json::Value), Box<dyn Error>> {
        let lr = self.lr(freeze, 5e-4);
        let train = match self.args.per_label {
            Some(count) => sample_per_class(&self.texts.train, count, self.args.flags.seed)?,
            None => self.texts.train.clone(),
        };
        let mut recipe = self.recipe(freeze, 5e-4, None);
        let mut watchers = self.args.flags.watchers(&self.args.out)?;
        if self.args.flags.auto_batch_size.is_some() {
            let (rows, _) = self.task.encode(&train)?;
            let model = self.model(body.clone(), &rows, recipe.seed)?;
            let data = Data { train: &rows, validation: &self.texts.validation };
            self.ahead(freeze).choose_batch_size(&model, data, &mut recipe)?;
        }
        let outcome = self.train(body, &train, freeze, recipe, &mut watchers.list())?;
        watchers.print();
        let Outcome { report, test, .. } = &outcome;
        println!("test: accuracy {:.4}, macro-F1 {:.4}", test.accuracy.unwrap_or(0.0), test.macro_f1.unwrap_or(0.0));
        let json = json!({ "freeze": freeze, "lr": lr, "seed": self.args.flags.seed, "test": test, "report": report });
        Ok((outcome, json))
    }

    /// From scratch, frozen and unfrozen, on the same few labels, over several seeds.
    fn three_ways(&self, body: AutoText) -> Result<(Outcome, serde_json::Value), Box<dyn Error>> {
        let count = self.args.per_label.unwrap_or(8);
        let fresh = |seed| AutoText::build(self.config, pooling(self.args, self.config), seed, &body_device(&body));
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
            for seed in (0..self.args.seeds).map(|next| self.args.flags.seed.wrapping_add(next)) {
                let train = sample_per_class(&self.texts.train, count, seed)?;
                let body = if pretrained { body.clone() } else { fresh(seed) };
                let (recipe, mut bar) = (self.recipe(&freeze, 1e-3, Some(seed)), ProgressLine::bar_only());
                let outcome = self.train(body, &train, &freeze, recipe, &mut [&mut bar])?;
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

    /// What the flags ask to know before a run: what it would take, and a learning rate.
    fn look_ahead(&self, body: AutoText) -> Result<(), Box<dyn Error>> {
        self.print_plan(&body)?;
        let freeze = self.freeze();
        let (train, _) = self.task.encode(&self.texts.train)?;
        let (model, config) = (self.model(body, &train, self.args.flags.seed)?, self.recipe(&freeze, 5e-4, None));
        let data = Data { train: &train, validation: &self.texts.validation };
        self.ahead(&freeze).look(&model, data, &self.texts.test, &config)?;
        Ok(())
    }

    fn ahead<'a>(&'a self, freeze: &'a Freeze) -> Ahead<'a, TextClassification> {
        Ahead { flags: &self.args.flags, task: self.task, freeze }
    }

    fn freeze(&self) -> Freeze {
        self.args.freeze.clone().unwrap_or(Freeze::Backbone)
    }

    fn model(
        &self,
        body: AutoText,
        train: &[LabelledRow],
        seed: u64,
    ) -> Result<Model<AutoText, Classifier>, Box<dyn Error>> {
        let classes = self.task.labels().len();
        let weights = || balanced_weights(train.iter().filter_map(|row| row.label), classes);
        let loss = ClassLoss {
            label_smoothing: self.args.label_smoothing,
            class_weights: self.args.balance_classes.then(weights).transpose()?,
            focal: self.args.focal.map(|gamma| Focal { gamma, alpha: None }),
            ..ClassLoss::default()
        };
        let head = AutoText::classifier(self.config, classes, seed, &body_device(&body));
        Ok(Model::new(body, head.with_loss(loss)?))
    }

    /// The plan of the run, or of the frozen one of three.
    fn print_plan(&self, body: &AutoText) -> Result<(), Box<dyn Error>> {
        let (freeze, seed) = (self.freeze(), self.args.flags.seed);
        let (train, _) = self.task.encode(&self.texts.train)?;
        let recipe = self.recipe(&freeze, 5e-4, None);
        let data = Data { train: &train, validation: &self.texts.validation };
        self.ahead(&freeze).print_plan(&self.model(body.clone(), &train, seed)?, data, &recipe)
    }

    /// How one way is trained; `seed` is another one than the flags' in the comparison.
    fn recipe(&self, freeze: &Freeze, for_bodies: f64, seed: Option<u64>) -> Fit {
        let args = self.args;
        let recipe = Fit {
            epochs: args.epochs,
            batch_size: args.batch_size,
            rates: Rates::new(self.lr(freeze, for_bodies)),
            regularisation: Regularisation { r_drop: args.r_drop, ..Regularisation::default() },
            monitor: Monitor::Accuracy,
            ..Fit::default()
        };
        let recipe = args.flags.apply(recipe, &args.out);
        match seed {
            None => recipe,
            Some(seed) => Fit { seed, folder: None, save_every: None, resume: false, ..recipe },
        }
    }

    /// A head alone learns well at a rate that would spoil a body.
    fn lr(&self, freeze: &Freeze, for_bodies: f64) -> f64 {
        self.args.lr.unwrap_or(if *freeze == Freeze::Backbone { 1e-2 } else { for_bodies })
    }

    fn train(
        &self,
        body: AutoText,
        train: &[TextExample],
        freeze: &Freeze,
        recipe: Fit,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Outcome, Box<dyn Error>> {
        let (rows, _) = self.task.encode(train)?;
        let mut model = self.model(body, &rows, recipe.seed)?;
        let data = || Data { train: &rows[..], validation: &self.texts.validation };
        let report = fit(&mut model, self.task, data(), freeze, &recipe, observers)?;
        let Fit { batch_size, max_tokens, seed, cache, .. } = &recipe;
        let how =
            Evaluate { batch_size: *batch_size, max_tokens: *max_tokens, seed: *seed, cache, plain: &report.plain };
        let (scores, _) = evaluate_cached(&model, self.task, &self.texts.test, &how)?;
        let test = scores.summary();
        Ok(Outcome { model, freeze: freeze.clone(), report, scores, test })
    }
}

/// The scores of every label, and a picture of what is taken for what.
fn write_report(folder: &Path, scores: &Scores, names: &[String]) -> Result<(), Box<dyn Error>> {
    let report = scores.classification_report(names)?;
    write_file(folder.join("report.txt"), |file| write!(file, "{report}"))?;
    let counts = scores.class_counts(names.len())?;
    counts.heatmap(names, Normalise::Actual)?.save(folder.join("confusion.svg"))?;
    println!("scores by label in {}", folder.display());
    Ok(())
}

fn body_device(body: &AutoText) -> Device {
    body.devices().into_iter().next().unwrap_or_default()
}

/// Labels a few sentences with the model that was saved.
fn ask(folder: &Path, args: &Args, texts: &Texts) -> Result<(), Box<dyn Error>> {
    let predictor = Predictor::load(folder, &rekindle::device(&args.flags.device)?)?;
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
