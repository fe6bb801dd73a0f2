//! Batches made ahead by another thread: the same bits, the same errors at the same steps, and no thread left behind.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Int, Tensor};
use rekindle::Error;
use rekindle::backbone::{Pooling, TextInput};
use rekindle::data::DataError;
use rekindle::objective::{Batch, Draws, LabelledRow, Objective, TextClassification};
use rekindle::params::Freeze;
use rekindle::train::{Control, Data, Event, Fit, Observer, ObserverError, Report, StopReason, TrainError, fit};

use super::resume::{self, Watch, same};
use super::support::*;

/// What goes wrong with a row.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Error,
    Panic,
}

/// Fails when it sees a row for the n-th time; notes which threads ask it, and how often.
struct Faulty {
    task: TextClassification,
    fault: Fault,
    row: usize,
    times: AtomicUsize,
    asked: AtomicUsize,
    threads: Mutex<BTreeSet<Option<String>>>,
}

impl Faulty {
    fn new(fault: Fault, row: usize, times: usize) -> Self {
        let (times, asked) = (AtomicUsize::new(times), AtomicUsize::new(0));
        Self { task: task(), fault, row, times, asked, threads: Mutex::default() }
    }

    fn threads(&self) -> BTreeSet<Option<String>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Objective for Faulty {
    type Example = LabelledRow;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&LabelledRow],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let name = std::thread::current().name().map(str::to_owned);
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        let is_there = (0..examples.len()).any(|row| draws.example(row) == self.row);
        if is_there && self.times.fetch_sub(1, Ordering::SeqCst) == 1 {
            match self.fault {
                Fault::None => {}
                Fault::Error => return Err(DataError::NoLabel { index: self.row }),
                Fault::Panic => panic!("row {} cannot be read", self.row),
            }
        }
        self.task.batch(examples, draws, device)
    }

    fn length(&self, example: &LabelledRow) -> usize {
        self.task.length(example)
    }
}

const THREAD: &str = "rekindle batches";

#[test]
fn the_bits_are_those_of_batches_made_on_the_spot() {
    let rows = token_rows(50);
    let data = Data { train: &rows[..42], validation: &rows[42..] };
    for max_tokens in [None, Some(40)] {
        let run = |prefetch| {
            let mut model = masked_lm(2, Pooling::Mean);
            let config = Fit { prefetch, max_tokens, bucket: true, accumulation: 2, ..fit_config(11, 3e-3) };
            let report = fit(&mut model, &masking(), data, &Freeze::Bottom(1), &config, &mut []).unwrap();
            (bits(&model), report)
        };
        let (expected, report) = run(0);
        for prefetch in [1, 2, 100] {
            let (found, other) = run(prefetch);
            assert!(found == expected, "{prefetch}");
            same(&other, &report);
        }
    }
}

#[test]
fn dropout_keeps_its_stream_and_a_run_may_go_on_with_another_number() {
    let whole_folder = temporary();
    let mut whole = classifier(2, 0.1);
    let on_the_spot = Fit { prefetch: 0, ..resume::config(whole_folder.path()) };
    let expected = resume::run(&mut whole, &Freeze::Nothing, &on_the_spot, &mut Watch::default()).unwrap();
    for (first, then) in [(0, 3), (3, 0), (1, 2)] {
        let folder = temporary();
        let config = |prefetch| Fit { prefetch, ..resume::config(folder.path()) };
        let mut watch = Watch { stop_after: Some(4), ..Watch::default() };
        let stopped = resume::run(&mut classifier(2, 0.1), &Freeze::Nothing, &config(first), &mut watch).unwrap();
        assert_eq!((stopped.steps, stopped.stop), (4, StopReason::Observer));
        let mut resumed = classifier(2, 0.1);
        let again = Fit { resume: true, ..config(then) };
        let report = resume::run(&mut resumed, &Freeze::Nothing, &again, &mut Watch::default()).unwrap();
        same(&report, &expected);
        assert!(bits(&resumed) == bits(&whole), "{first} then {then}");
    }
}

fn run(
    objective: &Faulty,
    prefetch: usize,
    stop_after: Option<usize>,
) -> (Result<Report, Error>, Vec<Vec<u32>>, usize) {
    struct Count(Watch, usize);
    impl Observer for Count {
        fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
            if let Event::Step(info) = event {
                self.1 = info.step;
            }
            self.0.on(event)
        }
    }
    let (mut model, rows) = (classifier(1, 0.1), rows(40));
    let config = Fit { epochs: 4, max_steps: None, prefetch, ..fit_config(1, 1e-3) };
    let mut count = Count(Watch { stop_after, ..Watch::default() }, 0);
    let data = Data { train: &rows, validation: &[] };
    let result = fit(&mut model, objective, data, &Freeze::Nothing, &config, &mut [&mut count]);
    (result, bits(&model).into_values().collect(), count.1)
}

#[test]
fn an_error_comes_at_the_step_that_it_belongs_to() {
    for (row, times) in [(3, 1), (17, 2), (39, 4)] {
        let fail = |prefetch| run(&Faulty::new(Fault::Error, row, times), prefetch, None);
        let (expected, weights, steps) = fail(0);
        let said = expected.unwrap_err().to_string();
        assert!(said.contains(&row.to_string()) && steps >= 5 * (times - 1), "{said} after {steps}");
        for prefetch in [1, 3, 50] {
            let (found, kept, done) = fail(prefetch);
            assert_eq!((found.unwrap_err().to_string(), done), (said.clone(), steps));
            assert!(kept == weights, "{row} {prefetch}");
        }
    }
}

#[test]
fn a_panic_of_the_objective_goes_through() {
    for prefetch in [0, 1, 4] {
        let objective = Faulty::new(Fault::Panic, 17, 2);
        let panic = catch_unwind(AssertUnwindSafe(|| run(&objective, prefetch, None).2)).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "row 17 cannot be read");
    }
}

#[test]
fn batches_are_made_by_the_thread_and_no_more_of_them_than_asked_for() {
    for (prefetch, stop_after) in [(0, None), (2, None), (2, Some(3)), (6, Some(7))] {
        let objective = Faulty::new(Fault::None, 0, usize::MAX);
        let (result, _, steps) = run(&objective, prefetch, stop_after);
        assert_eq!((result.unwrap().steps, steps), (stop_after.unwrap_or(20), stop_after.unwrap_or(20)));
        let ahead = objective.threads().contains(&Some(THREAD.into()));
        assert_eq!((ahead, objective.threads().len()), (prefetch > 0, 1));
        let asked = objective.asked.load(Ordering::SeqCst);
        assert!((steps..=steps + prefetch).contains(&asked) && (stop_after.is_some() || asked == 20), "{asked}");
    }
}

#[test]
fn more_than_memory_is_for_is_refused() {
    let (result, ..) = run(&Faulty::new(Fault::None, 0, usize::MAX), usize::MAX, None);
    assert!(matches!(result.unwrap_err(), Error::Train(TrainError::BadOption { option: "prefetch", .. })));
}
