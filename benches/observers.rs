//! What every observer costs a step: the time within its calls over a run, beside the time of the run's steps.
//!
//! `cargo bench --bench observers --features tui`. The network is the small one of `assets/tiny-bert`, whose steps are
//! much shorter than those of any network in use: shares are an upper bound.

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{Columns, Labels, read_text};
use rekindle::head::Classifier;
use rekindle::objective::TextClassification;
use rekindle::params::Freeze;
use rekindle::train::{
    Control, CsvLog, Data, Energy, Event, Fit, Observer, ObserverError, Plots, ProgressLine, TensorBoard, Throughput,
    fit,
};
use std::time::{Duration, Instant};

/// Adds up the time that an observer takes during steps and validations, and after them.
struct Timed {
    observer: Box<dyn Observer>,
    name: String,
    running: Duration,
    ending: Duration,
}

impl Observer for Timed {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        let start = Instant::now();
        let answer = self.observer.on(event);
        match event {
            Event::End { .. } => self.ending += start.elapsed(),
            _ => self.running += start.elapsed(),
        }
        answer
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = rekindle::device("flex")?;
    let checkpoint = Checkpoint::open("assets/tiny-bert")?;
    let examples = read_text("assets/intents/train.jsonl", &Columns::default())?;
    let task = TextClassification::new(checkpoint.tokenizer()?, Labels::from_examples(&examples)?, 64)?;
    let rows = task.encode(&examples)?.0;
    let body = checkpoint.backbone::<Bert>(Pooling::Mean, &device)?.module;
    let hidden = checkpoint.config::<Bert>()?.hidden_size;
    let mut model = Model::new(body, Classifier::new(hidden, task.labels().len(), 1, &device));

    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mut all: Vec<Box<dyn Observer>> = vec![
        Box::new(ProgressLine::new()),
        Box::new(Throughput::new()),
        Box::new(TensorBoard::new(path("board"))),
        Box::new(CsvLog::new(path("csv"))),
        Box::new(Plots::new(path("plots"))),
        Box::new(Energy::new()),
    ];
    #[cfg(feature = "tui")]
    all.push(Box::new(rekindle::train::Dashboard::new()));
    let timed = |observer: Box<dyn Observer>| {
        let name = observer.name().to_string();
        Timed { observer, name, running: Duration::ZERO, ending: Duration::ZERO }
    };
    let mut all: Vec<Timed> = all.drain(..).map(timed).collect();
    let mut throughput = Throughput::new();
    let mut observers: Vec<&mut dyn Observer> = all.iter_mut().map(|timed| timed as &mut dyn Observer).collect();
    observers.push(&mut throughput);

    let config = Fit { max_steps: Some(300), batch_size: 16, eval_every: Some(100), ..Fit::default() };
    let data = Data { train: &rows, validation: &rows[..64] };
    let report = fit(&mut model, &task, data, &Freeze::Nothing, &config, &mut observers)?;
    let step = throughput.total().seconds / report.steps as f64;
    println!("{} steps of {:.2} ms", report.steps, 1e3 * step);
    println!("{:<14} {:>12} {:>12} {:>12}", "observer", "us a step", "share", "end, ms");
    for timed in &all {
        let each = timed.running.as_secs_f64() / report.steps as f64;
        let (share, end) = (100.0 * each / step, 1e3 * timed.ending.as_secs_f64());
        println!("{:<14} {:>12.1} {share:>10.2} % {end:>12.2}", timed.name, 1e6 * each);
    }
    Ok(())
}
