//! The memory of a run: how near what is foretold comes to what is held. A binary of its own, since tests beside it would
//! be measured too.
//!
//! On a real network and real texts:
//!
//! `REKINDLE_MINILM=.. REKINDLE_SHARED=.. cargo test --release --test memory -- --ignored --nocapture`
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Mutex;

use rekindle::backbone::{Bert, BertConfig, Pooling};
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{Columns, Labels, read_text};
use rekindle::head::Classifier;
use rekindle::objective::{LabelledRow, TextClassification};
use rekindle::params::{Freeze, Inventory};
use rekindle::train::{Data, Fit, TrainError, batch_size_for, fit, forecast};
use rekindle::{Error, Model};

#[allow(dead_code)]
#[path = "behaviour/support.rs"]
mod support;

use support::*;

/// One at a time, for the process is what is measured.
static ALONE: Mutex<()> = Mutex::new(());

fn options(batch_size: usize) -> Fit {
    Fit { batch_size, max_steps: None, epochs: 2, bucket: true, ..fit_config(1, 1e-3) }
}

#[test]
#[cfg(target_os = "linux")]
fn the_batch_size_follows_the_budget() {
    let _alone = ALONE.lock().unwrap();
    let (model, rows) = (wide(), rows(400));
    let data = Data { train: rows.as_slice(), validation: &[] };
    let config = Fit { accumulation: 2, ..options(96) };
    let choose = |budget| batch_size_for(&model, &task(), data, &Freeze::Nothing, &config, budget);
    let free = choose(None).unwrap();
    assert_eq!((free.batch_size, free.accumulation, free.wanted), (96, 2, 96));
    let Err(Error::Train(TrainError::DoesNotFit { batch_size: 1, peak: least, budget: 4096 })) = choose(Some(4096))
    else {
        panic!("one row cannot fit into a page")
    };
    // Between one row and all of them, every budget gets a divisor, and much more gets more.
    let mut sizes = vec![];
    for part in 1..=8 {
        let budget = least + (1 << 20) + (free.peak - least) * part / 8;
        let choice = choose(Some(budget)).unwrap();
        assert_eq!(choice.batch_size * choice.accumulation, 192);
        assert!(choice.peak <= budget && choice.batch_size <= 96);
        assert!(choice.to_string().contains("rows"), "{choice}");
        sizes.push(choice.batch_size);
    }
    assert!(sizes[7] > 2 * sizes[0], "{sizes:?}");
    let tight = choose(Some(least + (free.peak - least) / 3)).unwrap();
    assert!(tight.batch_size < 96 && tight.to_string().contains("to a step of 192"), "{tight}");
}

#[test]
fn more_rows_need_more_memory() {
    let _alone = ALONE.lock().unwrap();
    let rows = rows(400);
    let model = wide();
    let memory = |batch_size| {
        let data = Data { train: rows.as_slice(), validation: &[] };
        forecast(&model, &task(), data, &Freeze::Nothing, &options(batch_size)).unwrap().memory
    };
    let all = [4, 32, 128, 400].map(memory);
    let (small, large) = (&all[0], &all[3]);
    assert_eq!((small.weights, small.gradients, small.moments), (large.weights, large.gradients, large.moments));
    if cfg!(target_os = "linux") {
        assert!(all.is_sorted_by_key(|memory| (memory.activations, memory.peak)), "{all:?}");
        assert!(large.activations.unwrap() > 50 * small.activations.unwrap(), "{all:?}");
    }
    let inventory = Inventory::of(&model).unwrap();
    let values: usize = inventory.entries.iter().filter(|entry| entry.is_float).map(|entry| entry.size()).sum();
    assert_eq!((small.weights, small.moments), (4 * values, 8 * values));
}

/// Wide enough for what it keeps to stand out from the process.
fn wide() -> Model<Bert, Classifier> {
    let config = BertConfig { hidden_size: 128, intermediate_size: 512, ..config(4, 0.1) };
    Model::new(Bert::new(&config, Pooling::Mean, 7, &device()), Classifier::new(128, 4, 7, &device()))
}

#[derive(Clone)]
struct Case {
    name: &'static str,
    freeze: Freeze,
    batch_size: usize,
    /// Training texts, several of which are put together so that rows reach `tokens`.
    texts: usize,
    tokens: Option<usize>,
    gradient_checkpointing: bool,
}

#[test]
#[ignore = "minutes, and needs MiniLM and banking77"]
fn the_peak_is_within_a_quarter_of_what_was_foretold() {
    let _alone = ALONE.lock().unwrap();
    let shared = std::env::var_os("REKINDLE_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    let data = shared.join("data/banking77");
    let (Some(folder), true) = (std::env::var_os("REKINDLE_MINILM"), data.is_dir()) else {
        return println!(
            "skipped: needs REKINDLE_MINILM (the checkpoint) and {} (set REKINDLE_SHARED)",
            data.display()
        );
    };
    let only = std::env::var("CASE").ok();
    let case = |name, freeze, batch_size, texts| Case {
        name,
        freeze,
        batch_size,
        texts,
        tokens: None,
        gradient_checkpointing: false,
    };
    let long = Case { tokens: Some(128), ..case("d", Freeze::Nothing, 8, 160) };
    let longer = Case { tokens: Some(512), ..case("e", Freeze::Nothing, 8, 48) };
    let cases = [
        case("a", Freeze::Backbone, 32, 8980),
        case("b", Freeze::Nothing, 32, 1600),
        case("c", Freeze::Bottom(4), 16, 1600),
        Case { name: "f", gradient_checkpointing: true, ..longer.clone() },
        Case { name: "g", gradient_checkpointing: true, ..case("g", Freeze::Bottom(4), 32, 1600) },
        long,
        longer,
    ];
    for case in cases.into_iter().filter(|case| only.as_ref().is_none_or(|only| only == case.name)) {
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let read = |name: &str| read_text(data.join(name), &Columns::default()).unwrap();
        let mut train = read("train.jsonl");
        let labels = Labels::from_examples(&train).unwrap();
        let longer: String = train.iter().take(60).map(|example| format!(" {}", example.text)).collect();
        train.truncate(case.texts);
        if case.tokens.is_some() {
            train.iter_mut().for_each(|example| example.text += &longer);
        }
        let task =
            TextClassification::new(checkpoint.tokenizer().unwrap(), labels, case.tokens.unwrap_or(128)).unwrap();
        let train: Vec<LabelledRow> = task.encode(&train).unwrap().0;
        let mut validation = read("validation.jsonl");
        validation.truncate(200);
        let validation = task.encode(&validation).unwrap().0;
        let backbone = checkpoint.backbone::<Bert>(Pooling::Mean, &device()).unwrap().module;
        let mut model = Model::new(backbone, Classifier::new(384, 77, 1, &device()));
        let config = Fit {
            max_steps: None,
            epochs: 2,
            gradient_checkpointing: case.gradient_checkpointing,
            batch_size: case.batch_size,
            bucket: true,
            forecast: true,
            ..fit_config(1, 5e-5)
        };
        let mut progress = rekindle::train::ProgressLine::new();
        let data = Data { train: &train, validation: &validation };
        let report = fit(&mut model, &task, data, &case.freeze, &config, &mut [&mut progress]).unwrap();
        let (peak, foretold) = (report.peak_bytes.unwrap() as f64, report.forecast_bytes.unwrap() as f64);
        let off = 100.0 * (foretold / peak - 1.0);
        println!(
            "{}: {:?}, batch {}: {:.0} MB held, {:.0} MB foretold ({off:+.1} %), {:.1} s",
            case.name,
            case.freeze,
            case.batch_size,
            peak / 1e6,
            foretold / 1e6,
            report.seconds
        );
        assert!(off.abs() < 25.0, "{off}");
    }
}
