//! How near the memory that is foretold comes to what a run takes, on a real network and real texts.
//!
//! `REKINDLE_MINILM=.. REKINDLE_SHARED=.. cargo test --release --test behaviour memory -- --ignored --nocapture`

use std::path::PathBuf;

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::Checkpoint;
use rekindle::data::{Columns, Labels, read_text};
use rekindle::head::Classifier;
use rekindle::objective::{LabelledRow, TextClassification};
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, fit};

use super::support::{device, fit_config};

struct Case {
    name: &'static str,
    freeze: Freeze,
    batch_size: usize,
    /// Training texts, several of which are put together so that rows reach `tokens`.
    texts: usize,
    tokens: Option<usize>,
    epochs: usize,
}

#[test]
#[ignore = "minutes, and needs MiniLM and banking77"]
fn the_peak_is_within_a_quarter_of_what_was_foretold() {
    let shared = std::env::var_os("REKINDLE_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    let data = shared.join("data/banking77");
    let (Some(folder), true) = (std::env::var_os("REKINDLE_MINILM"), data.is_dir()) else {
        return println!(
            "skipped: needs REKINDLE_MINILM (the checkpoint) and {} (set REKINDLE_SHARED)",
            data.display()
        );
    };
    let only = std::env::var("CASE").ok();
    let cases = [
        Case { name: "a", freeze: Freeze::Backbone, batch_size: 32, texts: 8980, tokens: None, epochs: 2 },
        Case { name: "b", freeze: Freeze::Nothing, batch_size: 32, texts: 1600, tokens: None, epochs: 1 },
        Case { name: "c", freeze: Freeze::Bottom(4), batch_size: 16, texts: 1600, tokens: None, epochs: 1 },
        Case { name: "d", freeze: Freeze::Nothing, batch_size: 8, texts: 160, tokens: Some(128), epochs: 1 },
    ];
    for case in cases.into_iter().filter(|case| only.as_ref().is_none_or(|only| only == case.name)) {
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let read = |name: &str| read_text(data.join(name), &Columns::default()).unwrap();
        let mut train = read("train.jsonl");
        let labels = Labels::from_examples(&train).unwrap();
        let longer: String = train.iter().take(40).map(|example| format!(" {}", example.text)).collect();
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
            epochs: case.epochs,
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
