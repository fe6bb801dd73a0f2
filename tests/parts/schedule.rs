//! Schedules against Transformers' tables, to 1e-12 of the value.

use std::collections::BTreeSet;
use std::path::Path;

use rekindle::optim::{Ramp, Schedule, ScheduleError, Warmup, WarmupStableDecay};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Tables {
    transformers: Vec<Table>,
    torch: Vec<Other>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    base_lr: f64,
    num_warmup_steps: usize,
    num_training_steps: usize,
    kwargs: Map<String, Value>,
    error: Option<String>,
    lr: Vec<f64>,
}

#[derive(Deserialize)]
struct Other {
    name: String,
}

fn tables() -> Tables {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schedules.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

impl Table {
    fn number(&self, key: &str) -> Option<f64> {
        self.kwargs.get(key).map(|value| value.as_f64().unwrap())
    }

    fn ramp(&self, key: &str, usual: Ramp) -> Ramp {
        match self.kwargs.get(key).map(|value| value.as_str().unwrap()) {
            None => usual,
            Some("linear") => Ramp::Linear,
            Some("cosine") => Ramp::Cosine,
            Some("1-sqrt") => Ramp::OneMinusSqrt,
            Some(other) => unreachable!("{other}"),
        }
    }

    /// The schedule with the table's arguments, Transformers' defaults where it names none.
    fn schedule(&self) -> Schedule {
        let known = [
            "num_cycles",
            "min_lr",
            "min_lr_rate",
            "min_lr_ratio",
            "warmup_lr_rate",
            "power",
            "lr_end",
            "timescale",
            "num_decay_steps",
            "num_stable_steps",
            "warmup_type",
            "decay_type",
        ];
        assert!(self.kwargs.keys().all(|key| known.contains(&key.as_str())), "{:?}", self.kwargs);
        let warmup = Warmup::Steps(self.num_warmup_steps);
        let steps = |key| self.number(key).map(|number| number as usize);
        let cycles = self.number("num_cycles").unwrap_or(0.5);
        let min_lr = self.number("min_lr").map(|lr| lr / self.base_lr);
        let min_lr_rate = self.number("min_lr_rate").or(min_lr).unwrap_or(0.0);
        match self.name.as_str() {
            "constant" => Schedule::Constant { warmup: Warmup::default() },
            "constant_with_warmup" => Schedule::Constant { warmup },
            "linear" => Schedule::Linear { warmup },
            "cosine" if cycles == 0.5 => Schedule::Cosine { warmup },
            "cosine" | "cosine_with_min_lr" => Schedule::CosineWithMinLr { warmup, min_lr_rate, cycles },
            "cosine_warmup_with_min_lr" => {
                let warmup_lr_rate = self.number("warmup_lr_rate");
                Schedule::CosineWarmupWithMinLr { warmup, min_lr_rate, cycles, warmup_lr_rate }
            }
            "cosine_with_restarts" => Schedule::CosineWithRestarts { warmup, cycles: steps("num_cycles").unwrap_or(1) },
            "polynomial" => Schedule::Polynomial {
                warmup,
                power: self.number("power").unwrap_or(1.0),
                end_lr_rate: self.number("lr_end").unwrap_or(1e-7) / self.base_lr,
            },
            "inverse_sqrt" => Schedule::InverseSqrt { warmup, timescale: steps("timescale") },
            "warmup_stable_decay" => Schedule::WarmupStableDecay(WarmupStableDecay {
                warmup,
                decay: Warmup::Steps(steps("num_decay_steps").unwrap()),
                stable: steps("num_stable_steps"),
                warmup_shape: self.ramp("warmup_type", Ramp::Linear),
                decay_shape: self.ramp("decay_type", Ramp::Cosine),
                min_lr_rate: self.number("min_lr_ratio").unwrap_or(0.0),
                cycles,
            }),
            other => unreachable!("{other}"),
        }
    }
}

#[test]
fn factors_are_those_of_transformers() {
    let tables = tables().transformers;
    assert_eq!(tables.len(), 67);
    for table in tables {
        let schedule = table.schedule();
        let checked = schedule.check_for(table.num_training_steps);
        assert_eq!(checked.is_err(), table.error.is_some(), "{} {:?}: {checked:?}", table.name, table.kwargs);
        for (step, expected) in table.lr.iter().enumerate() {
            let found = table.base_lr * schedule.factor(step, table.num_training_steps);
            // The zero of a cosine is a rounding error of the sum before it.
            let tolerance = 1e-12 * expected.abs() + 1e-16 * table.base_lr;
            let what = format!("{} {:?} step {step}", table.name, table.kwargs);
            assert!((found - expected).abs() <= tolerance, "{what}: {found} is not {expected}");
        }
    }
}

#[test]
fn tables_of_pytorch_s_own_schedulers_are_not_covered() {
    // `get_scheduler` offers none of them.
    let names: BTreeSet<String> = tables().torch.into_iter().map(|table| table.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, NOT_COVERED);
}

const NOT_COVERED: &[&str] = &["CosineAnnealingLR", "ExponentialLR", "MultiStepLR", "OneCycleLR", "StepLR"];

#[test]
fn a_fall_longer_than_the_run_begins_in_its_middle() {
    let schedule = |decay, stable| {
        let warmup = Warmup::Steps(2);
        let decay_shape = Ramp::Linear;
        Schedule::WarmupStableDecay(WarmupStableDecay { warmup, decay, stable, decay_shape, ..Default::default() })
    };
    // `get_wsd_schedule(optimizer, 2, 20, 10, decay_type="linear")`
    let factors = |schedule: Schedule| [0, 1, 2, 5, 9, 10].map(|step| (100.0 * schedule.factor(step, 10)).round());
    assert_eq!(factors(schedule(Warmup::Steps(20), None)), [0.0, 50.0, 40.0, 25.0, 5.0, 0.0]);
    // With `num_stable_steps=3` and a fall of 4.
    assert_eq!(factors(schedule(Warmup::Ratio(0.4), Some(3))), [0.0, 50.0, 100.0, 100.0, 0.0, 0.0]);
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let warmup = Warmup::default();
    for ratio in [-0.1, 1.5, f64::NAN] {
        let cosine = Schedule::Cosine { warmup: Warmup::Ratio(ratio) };
        let stable = WarmupStableDecay { decay: Warmup::Ratio(ratio), ..Default::default() };
        for schedule in [cosine, Schedule::WarmupStableDecay(stable)] {
            assert!(matches!(schedule.check(), Err(ScheduleError::BadRatio { .. })), "{schedule:?}");
        }
    }
    assert!(Schedule::Cosine { warmup: Warmup::Ratio(1.0) }.check().is_ok());
    let min = |min_lr_rate, cycles| Schedule::CosineWithMinLr { warmup, min_lr_rate, cycles };
    let polynomial = |power, end_lr_rate| Schedule::Polynomial { warmup, power, end_lr_rate };
    let first = |rate| {
        let warmup_lr_rate = Some(rate);
        Schedule::CosineWarmupWithMinLr { warmup, min_lr_rate: 0.1, cycles: 0.5, warmup_lr_rate }
    };
    for (name, schedule) in [
        ("cycles", Schedule::CosineWithRestarts { warmup, cycles: 0 }),
        ("cycles", min(0.1, 0.0)),
        ("cycles", min(0.1, f64::NAN)),
        ("min_lr_rate", min(-0.1, 0.5)),
        ("min_lr_rate", min(1.1, 0.5)),
        ("warmup_lr_rate", first(f64::INFINITY)),
        ("end_lr_rate", polynomial(1.0, 1.0)),
        ("end_lr_rate", polynomial(1.0, f64::NAN)),
        ("power", polynomial(0.0, 0.1)),
        ("timescale", Schedule::InverseSqrt { warmup, timescale: Some(0) }),
        ("min_lr_rate", Schedule::WarmupStableDecay(WarmupStableDecay { min_lr_rate: 2.0, ..Default::default() })),
    ] {
        let error = schedule.check().unwrap_err();
        assert!(matches!(error, ScheduleError::BadOption { option, .. } if option == name), "{error}");
    }
}
