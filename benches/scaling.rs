//! Whether a token costs the same however many examples there are: the same steps on sets of several sizes, with what is
//! done once a run and once an epoch counted over the tokens of an epoch.
//!
//! `cargo bench --bench scaling -- --model DIR --data DIR`

use clap::Parser;
use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::cache::Cache;
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{BatchOrder, Columns, Labels, TextExample, read_text};
use rekindle::head::Classifier;
use rekindle::objective::{LabelledRow, Objective, TextClassification};
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Control, Data, Event, Fit, Observer, ObserverError, SaveEvery, copies_between, first_plan, fit};
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

/// Trains a few steps on sets of several sizes.
#[derive(Parser)]
struct Args {
    /// Folder of a BERT checkpoint.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-bert"))]
    model: PathBuf,
    /// Folder with train.jsonl, whose texts are repeated with a number behind each.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/intents"))]
    data: PathBuf,
    /// Examples, size by size.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    sizes: Vec<usize>,
    #[arg(long, default_value_t = 60)]
    steps: usize,
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    /// Padded tokens of a batch, at most.
    #[arg(long)]
    max_tokens: Option<usize>,
    /// Runs of each size, one size after the other; the middle one counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Saves a checkpoint after every so many steps.
    #[arg(long)]
    checkpoint_every: Option<usize>,
    /// Looks ahead before the run.
    #[arg(long)]
    forecast: bool,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Steps that are not counted, for what is made once.
const WARM: usize = 5;

/// Takes the time before the first step, and that of the steps after the first few with all that is between them.
struct Clock {
    begun: Instant,
    before: f64,
    from: Option<Instant>,
    seconds: f64,
    tokens: usize,
}

impl Observer for Clock {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        let Event::Step(info) = event else { return Ok(Control::Continue) };
        match info.step {
            1 => self.before = self.begun.elapsed().as_secs_f64() - info.seconds.total,
            WARM => self.from = Some(Instant::now()),
            step if step > WARM => {
                self.tokens += info.tokens;
                self.seconds = self.from.map_or(0.0, |from| from.elapsed().as_secs_f64());
            }
            _ => {}
        }
        Ok(Control::Continue)
    }
}

/// Seconds of one run.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// Of a token in the steps.
    token: f64,
    /// Before the first step.
    before: f64,
    peak: usize,
}

struct Work<'a> {
    args: &'a Args,
    checkpoint: Checkpoint,
    task: TextClassification,
    texts: Vec<TextExample>,
}

impl Work<'_> {
    /// The texts over and over, each with a number of its own, all numbers equally long.
    fn rows(&self, size: usize) -> Result<Vec<LabelledRow>, Box<dyn Error>> {
        let numbered = |(index, example): (usize, &TextExample)| TextExample {
            text: format!("{} {}", example.text, 100_000 + (index * 37_199) % 899_981),
            label: example.label.clone(),
        };
        let texts: Vec<_> = self.texts.iter().cycle().take(size).enumerate().map(numbered).collect();
        Ok(self.task.encode(&texts)?.0)
    }

    fn config(&self, folder: &std::path::Path) -> Fit {
        let Args { steps, batch_size, max_tokens, checkpoint_every, forecast, .. } = *self.args;
        Fit {
            max_steps: Some(steps),
            batch_size,
            max_tokens,
            rates: Rates::new(1e-5),
            cache: Cache::None,
            folder: checkpoint_every.map(|_| folder.into()),
            save_every: checkpoint_every.map(SaveEvery::Steps),
            forecast,
            ..Fit::default()
        }
    }

    fn model(&self) -> Result<Model<Bert, Classifier>, Box<dyn Error>> {
        let device = rekindle::device("flex")?;
        let body = self.checkpoint.backbone::<Bert>(Pooling::Mean, &device)?.module;
        let hidden = self.checkpoint.config::<Bert>()?.hidden_size;
        Ok(Model::new(body, Classifier::new(hidden, self.task.labels().len(), 1, &device)))
    }

    fn run(&self, rows: &[LabelledRow]) -> Result<Figures, Box<dyn Error>> {
        let (mut model, folder) = (self.model()?, tempfile::tempdir()?);
        let config = self.config(folder.path());
        let mut clock = Clock { begun: Instant::now(), before: 0.0, from: None, seconds: 0.0, tokens: 0 };
        let data = Data { train: rows, validation: &[] };
        let report = fit(&mut model, &self.task, data, &Freeze::Nothing, &config, &mut [&mut clock])?;
        let token = clock.seconds / clock.tokens as f64;
        Ok(Figures { token, before: clock.before, peak: report.peak_bytes.unwrap_or(0) })
    }

    /// Seconds of the parts that look at every example, by name.
    fn parts(&self, rows: &[LabelledRow]) -> Result<Vec<(&'static str, f64)>, Box<dyn Error>> {
        let (model, folder) = (self.model()?, tempfile::tempdir()?);
        let config = self.config(folder.path());
        let lengths: Vec<usize> = rows.iter().map(|row| self.task.length(row)).collect();
        let Fit { batch_size, max_tokens, seed, bucket, .. } = config;
        let order = BatchOrder { batch_size, max_tokens, seed, shuffle: true, bucket };
        let data = Data { train: rows, validation: &[] };
        let mix = || rows.iter().fold(0, |sum, row| sum ^ self.task.fingerprint(row));
        Ok(vec![
            ("fingerprints", timed(mix)),
            ("copies", timed(|| copies_between(&self.task, rows, &[]))),
            ("order", timed(|| order.batches(&lengths, 1))),
            ("plan", timed(|| first_plan(&model, &self.task, &data, &Freeze::Nothing, &config))),
        ])
    }
}

/// Seconds that it takes.
fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    rekindle::compute_on_this_thread();
    let args = Args::parse();
    let texts = read_text(args.data.join("train.jsonl"), &Columns::default())?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_examples(&texts)?, 128)?;
    let work = Work { args: &args, checkpoint, task, texts };
    let sets = args.sizes.iter().map(|size| work.rows(*size)).collect::<Result<Vec<_>, _>>()?;
    work.run(&sets[0])?;
    let mut figures: Vec<Vec<Figures>> = vec![vec![]; sets.len()];
    for _ in 0..args.rounds {
        for (rows, figures) in sets.iter().zip(&mut figures) {
            figures.push(work.run(rows)?);
        }
    }
    println!("us a token: of the steps; of set-up over the tokens of one epoch; both, beside the first size");
    let mut first = None;
    for (rows, figures) in sets.iter().zip(figures) {
        let tokens = rows.iter().map(|row| row.row.len()).sum::<usize>() as f64;
        let of = |part: fn(&Figures) -> f64| middle(figures.iter().map(part).collect());
        let (token, before) = (of(|f| f.token), of(|f| f.before));
        let parts = work.parts(rows)?;
        let both = token + before / tokens;
        let ratio = both / *first.get_or_insert(both);
        let peak = figures.iter().map(|figures| figures.peak).max().unwrap_or(0);
        print!("{:>8} examples: {:.2} + {:.3} us, {ratio:.3} x;", rows.len(), 1e6 * token, 1e6 * before / tokens);
        print!(" set-up {:.1} ms:", 1e3 * before);
        parts.iter().for_each(|(name, seconds)| print!(" {name} {:.2}", 1e3 * seconds));
        println!("; peak {:.0} MB", peak as f64 / 1e6);
    }
    Ok(())
}
