//! What options of `fit` cost: runs with and without each, in turn, as ratios of their times.
//!
//! `cargo bench --bench overhead -- --model DIR --rounds 5`

use burn::tensor::{Device, Int, Tensor};
use clap::Parser;
use rekindle::Model;
use rekindle::backbone::{Bert, Pooling, TextInput};
use rekindle::cache::Cache;
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{Columns, DataError, Labels, TextExample, read_text};
use rekindle::head::Classifier;
use rekindle::objective::{Batch, Draws, LabelledRow, Objective, TextClassification};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{
    Control, CsvLog, Data, Energy, Event, Fit, Observer, ObserverError, Plots, ProgressLine, SaveEvery, TensorBoard,
    Throughput, fit,
};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Times options of `fit`.
#[derive(Parser)]
struct Args {
    /// Folder of a BERT checkpoint.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-bert"))]
    model: PathBuf,
    /// Folder with train.jsonl.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/intents"))]
    data: PathBuf,
    /// Pairs of runs of each case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Optimizer steps of a run in which everything trains; runs of frozen backbones have four times as many.
    #[arg(long, default_value_t = 200)]
    steps: usize,
    /// Only cases whose name has this in it.
    #[arg(long)]
    only: Option<String>,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// An option, and what trains while it is on.
struct Case {
    name: &'static str,
    freeze: Freeze,
    steps: usize,
    observed: bool,
    /// Whether texts are tokenised when their batch is made.
    tokenises: bool,
    set: fn(Fit, &Path) -> Fit,
}

fn cases(steps: usize) -> [Case; 9] {
    let case = |name, freeze, set| Case { name, freeze, steps, observed: false, tokenises: false, set };
    let ahead = |config, _: &Path| Fit { prefetch: 2, ..config };
    [
        case("2 batches ahead", Freeze::Nothing, ahead),
        Case { tokenises: true, ..case("2 batches ahead, tokenised on the way", Freeze::Nothing, ahead) },
        Case { tokenises: true, steps: 4 * steps, ..case("the same, the head trains", Freeze::Backbone, ahead) },
        Case { observed: true, ..case("all observers", Freeze::Nothing, |config, _| config) },
        case("history", Freeze::Nothing, in_folder),
        case("checkpoint every 100 steps, everything trains", Freeze::Nothing, saving),
        Case { steps: 4 * steps, ..case("checkpoint every 100 steps, the head trains", Freeze::Backbone, saving) },
        case("cache in memory, first epoch", Freeze::Bottom(4), |config, _| Fit { cache: Cache::memory(), ..config }),
        case("cache in a folder, first epoch", Freeze::Bottom(4), |config, folder| Fit {
            cache: Cache::folder(folder.join("cache")),
            ..config
        }),
    ]
}

fn in_folder(config: Fit, folder: &Path) -> Fit {
    Fit { folder: Some(folder.join("run")), ..config }
}

fn saving(config: Fit, folder: &Path) -> Fit {
    Fit { save_every: Some(SaveEvery::Steps(100)), ..in_folder(config, folder) }
}

/// Takes the time from the first step to the end of a run, its last checkpoint included.
#[derive(Default)]
struct Clock {
    start: Option<Instant>,
    seconds: f64,
}

impl Observer for Clock {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Start { .. } => self.start = Some(Instant::now()),
            Event::End { .. } => self.seconds = self.start.map_or(0.0, |start| start.elapsed().as_secs_f64()),
            _ => {}
        }
        Ok(Control::Continue)
    }
}

/// A text that is tokenised anew for each batch.
#[derive(Clone)]
struct Raw {
    text: TextExample,
    length: usize,
}

/// What tokenises while it makes a batch.
struct OnTheWay<'a>(&'a TextClassification);

impl Objective for OnTheWay<'_> {
    type Example = Raw;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&Raw],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        let texts: Vec<TextExample> = examples.iter().map(|example| example.text.clone()).collect();
        let rows = self.0.encode(&texts)?.0;
        self.0.batch(&rows.iter().collect::<Vec<_>>(), draws, device)
    }

    fn length(&self, example: &Raw) -> usize {
        example.length
    }
}

/// What runs are made of.
struct Work {
    task: TextClassification,
    rows: Vec<LabelledRow>,
    raw: Vec<Raw>,
    body: Bert,
    hidden: usize,
    device: Device,
}

impl Work {
    fn load(args: &Args) -> Result<Self, Box<dyn Error>> {
        let device = rekindle::device("flex")?;
        let checkpoint = Checkpoint::open(&args.model)?;
        let examples = read_text(args.data.join("train.jsonl"), &Columns::default())?;
        let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_examples(&examples)?, 128)?;
        let rows = task.encode(&examples)?.0;
        let raw = examples.into_iter().zip(&rows).map(|(text, row)| Raw { text, length: row.row.len() }).collect();
        let body = checkpoint.backbone::<Bert>(Pooling::Pooler, &device)?.module;
        Ok(Self { task, rows, raw, body, hidden: checkpoint.config::<Bert>()?.hidden_size, device })
    }

    /// Seconds that a run takes, with the option of `case` or without.
    fn run(&self, case: &Case, on: bool) -> Result<f64, Box<dyn Error>> {
        match case.tokenises {
            true => self.run_with(&OnTheWay(&self.task), &self.raw, case, on),
            false => self.run_with(&self.task, &self.rows, case, on),
        }
    }

    fn run_with<O>(&self, task: &O, rows: &[O::Example], case: &Case, on: bool) -> Result<f64, Box<dyn Error>>
    where
        O: Objective<Input = TextInput, Targets = Tensor<1, Int>>,
    {
        let folder = tempfile::tempdir()?;
        let head = Classifier::new(self.hidden, self.task.labels().len(), 1, &self.device);
        let mut model = Model::new(self.body.clone(), head);
        // A cache has to compute every example; more of them than a run reads would be counted against it.
        let rows = &rows[..rows.len().min(32 * case.steps)];
        let (epochs, max_steps) = ((32 * case.steps).div_ceil(rows.len()), Some(case.steps));
        let off = Fit { epochs, max_steps, rates: Rates::new(1e-5), cache: Cache::None, prefetch: 0, ..Fit::default() };
        let config = if on { (case.set)(off, folder.path()) } else { off };
        let mut clock = Clock::default();
        let mut all: Vec<Box<dyn Observer>> = match on && case.observed {
            true => observers(folder.path()),
            false => vec![],
        };
        let mut told: Vec<&mut dyn Observer> = vec![];
        told.extend(all.iter_mut().map(|observer| observer.as_mut() as &mut dyn Observer));
        told.push(&mut clock);
        let data = Data { train: rows, validation: &[] };
        fit(&mut model, task, data, &case.freeze, &config, &mut told)?;
        Ok(clock.seconds)
    }
}

fn observers(folder: &Path) -> Vec<Box<dyn Observer>> {
    vec![
        Box::new(ProgressLine::new()),
        Box::new(Throughput::new()),
        Box::new(TensorBoard::new(folder.join("board"))),
        Box::new(CsvLog::new(folder.join("csv"))),
        Box::new(Plots::new(folder.join("plots"))),
        Box::new(Energy::new()),
    ]
}

fn main() -> Result<(), Box<dyn Error>> {
    rekindle::compute_on_this_thread();
    let args = Args::parse();
    let work = Work::load(&args)?;
    println!("{:<48} {:>12} {:>24}", "option", "ms a step", "ratio (min to max)");
    for case in cases(args.steps) {
        if args.only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            continue;
        }
        work.run(&case, true)?;
        let (mut ratios, mut without) = (vec![], vec![]);
        for _ in 0..args.rounds {
            let off = work.run(&case, false)?;
            ratios.push(work.run(&case, true)? / off);
            without.push(1e3 * off / case.steps as f64);
        }
        ratios.sort_by(f64::total_cmp);
        without.sort_by(f64::total_cmp);
        let middle = args.rounds / 2;
        let (ratio, least, most) = (ratios[middle], ratios[0], ratios[args.rounds - 1]);
        println!("{:<48} {:>12.2} {ratio:>8.3} ({least:.3} to {most:.3})", case.name, without[middle]);
    }
    Ok(())
}
