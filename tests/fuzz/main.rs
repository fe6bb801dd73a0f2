//! Readers of files under mutated input: whatever the bytes, an answer or an error.
//!
//! A short round belongs to the tests. A long one, so many seconds of a core for each reader:
//! `REKINDLE_FUZZ_SECONDS=180 cargo test --release --test fuzz -- --ignored --nocapture`. With libFuzzer: see `fuzz/README.md`.
#![allow(clippy::unwrap_used)]

mod mutate;
mod readers;
mod trained;

use cpu_time::ThreadTime;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread::available_parallelism;
use std::time::Duration;

use mutate::mutated;
use readers::{READERS, Reader};

/// No input of these sizes takes a core as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads the `number`-th mutation. A panic says how to repeat it.
fn check(reader: &Reader, seeds: &[Vec<u8>], number: u64) {
    let bytes = mutated(seeds, number);
    let begin = ThreadTime::now();
    let survived = catch_unwind(AssertUnwindSafe(|| (reader.read)(&bytes))).is_ok();
    if !survived {
        let path = std::env::temp_dir().join(format!("rekindle-{}-{number}", reader.name));
        std::fs::write(&path, &bytes).unwrap();
        panic!("`{}` panics on mutation {number}, written to {}", reader.name, path.display());
    }
    assert!(begin.elapsed() < PATIENCE, "`{}` takes {:?} on mutation {number}", reader.name, begin.elapsed());
}

fn all() -> impl Iterator<Item = Reader> {
    READERS.into_iter().chain(trained::READERS)
}

#[test]
fn no_reader_panics() {
    for reader in all() {
        let seeds = (reader.seeds)();
        seeds.iter().for_each(|seed| (reader.read)(seed));
        let rounds = if reader.name == "run" || reader.name == "cache" { 20 } else { 400 };
        (0..rounds).for_each(|number| check(&reader, &seeds, number));
    }
}

#[test]
#[ignore = "runs for as long as it is told"]
fn no_reader_panics_for_long() {
    let seconds = std::env::var("REKINDLE_FUZZ_SECONDS").map_or(180, |text| text.parse().unwrap());
    let (left, threads) = (Mutex::new(all()), available_parallelism().unwrap().get());
    // Threads of their own: one of rayon's may turn to another reader while it waits.
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(|| {
                std::iter::from_fn(&next).for_each(|reader| check_for(&reader, Duration::from_secs(seconds)))
            });
        });
    });
}

/// Mutates until so much of a core's time is gone.
fn check_for(reader: &Reader, time: Duration) {
    let (seeds, begin) = ((reader.seeds)(), ThreadTime::now());
    let mut number = 1 << 32;
    while begin.elapsed() < time {
        check(reader, &seeds, number);
        number += 1;
    }
    println!("{}: {} inputs", reader.name, number - (1 << 32));
}
