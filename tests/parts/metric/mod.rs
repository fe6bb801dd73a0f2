//! Figures against scikit-learn's and scipy's, to 1e-9; what must hold for any input; what is refused.

mod edge_cases;
mod faults;
mod invariants;
mod reference;
mod words;

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics").join(name).with_extension("json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// A list or a table of 0 and 1 as booleans.
fn yes(values: &Value) -> Vec<bool> {
    read::<Vec<u8>>(values).into_iter().map(|value| value == 1).collect()
}

fn yes_rows(rows: &Value) -> Vec<Vec<bool>> {
    rows.as_array().unwrap().iter().map(yes).collect()
}

#[track_caller]
fn near(found: f64, expected: &Value, name: &str) {
    within(found, expected, name, 1e-9);
}

#[track_caller]
fn within(found: f64, expected: &Value, name: &str, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{name}: {found} is not {expected}");
}
