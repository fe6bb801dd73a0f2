//! Schedules against Transformers' tables, to 1e-12 of the value.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use rekindle::optim::{Schedule, Warmup};
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    name: String,
    base_lr: f64,
    warmup: usize,
    total: usize,
    lr: Vec<f64>,
}

#[test]
fn factors_are_those_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schedules.json");
    let tables: Vec<Table> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(tables.len(), 12);
    for table in tables {
        let warmup = Warmup::Steps(table.warmup);
        let schedule = match table.name.as_str() {
            "constant_with_warmup" => Schedule::Constant { warmup },
            "linear" => Schedule::Linear { warmup },
            "cosine" => Schedule::Cosine { warmup },
            other => unreachable!("{other}"),
        };
        for (step, expected) in table.lr.iter().enumerate() {
            let found = table.base_lr * schedule.factor(step, table.total);
            // The zero of a cosine is a rounding error of the sum before it.
            let tolerance = 1e-12 * expected.abs() + 1e-16 * table.base_lr;
            assert!((found - expected).abs() <= tolerance, "{} step {step}: {found} is not {expected}", table.name);
        }
    }
}
