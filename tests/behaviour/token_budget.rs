//! Batches by a budget of padded tokens: what they hold, how many there are, and that a run goes on in the middle of them.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Int, Tensor};
use rekindle::backbone::TextInput;
use rekindle::cache::Cache;
use rekindle::data::{BatchLimit, BatchOrder, DataError};
use rekindle::objective::{Batch, Draws, LabelledRow, Objective, TextClassification};
use rekindle::optim::{Averaging, Schedule, Sgd, Start, Warmup};
use rekindle::params::{Freeze, Phase, Span};
use rekindle::train::{
    Control, Data, Evaluate, Event, Fit, Observer, ObserverError, Report, RunError, TrainError, batch_size_for,
    evaluate, evaluate_cached, fit, forecast,
};
use rekindle::{Error, Model};

use super::resume::{self, Watch, same};
use super::support::*;

/// Longer than most rows, shorter than some.
const BUDGET: usize = 20;

/// Notes the rows of every batch.
struct Seen {
    task: TextClassification,
    batches: Mutex<Vec<Vec<usize>>>,
}

impl Seen {
    fn new() -> Self {
        Self { task: task(), batches: Mutex::default() }
    }

    fn take(&self) -> Vec<Vec<usize>> {
        std::mem::take(&mut *self.batches.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Objective for Seen {
    type Example = LabelledRow;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        examples: &[&LabelledRow],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        let rows = (0..examples.len()).map(|row| draws.example(row)).collect();
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(rows);
        self.task.batch(examples, draws, device)
    }

    fn length(&self, example: &LabelledRow) -> usize {
        self.task.length(example)
    }

    fn repeats(&self) -> bool {
        true
    }
}

fn budget(config: Fit) -> Fit {
    Fit { max_steps: None, batch_size: 12, max_tokens: Some(BUDGET), bucket: true, ..config }
}

fn lengths(rows: &[LabelledRow]) -> Vec<usize> {
    rows.iter().map(|row| row.row.len()).collect()
}

/// Every row is in one batch, and none of them holds too much.
fn check(batches: &[Vec<usize>], lengths: &[usize]) {
    let mut rows = batches.concat();
    rows.sort_unstable();
    assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
    check_budget(batches, lengths);
}

/// No batch holds more, unless it is a single row.
fn check_budget(batches: &[Vec<usize>], lengths: &[usize]) {
    for batch in batches {
        let longest = batch.iter().map(|row| lengths[*row]).max().unwrap();
        assert!(batch.len() == 1 || batch.len() * longest <= BUDGET, "{batch:?}");
    }
    assert!(batches.iter().any(|batch| batch.len() > 1));
    assert!(batches.iter().any(|batch| batch.len() == 1 && lengths[batch[0]] > BUDGET));
}

/// Rows of 4 to 24 tokens.
fn ragged(count: usize) -> Vec<LabelledRow> {
    let mut rows = rows(count);
    for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| index % 9 == 4) {
        let ids = row.row.ids.repeat(8).into_iter().take(21 + index % 4).collect::<Vec<_>>();
        row.row.type_ids = vec![0; ids.len()];
        row.row.ids = ids;
    }
    rows
}

fn order(config: &Fit) -> BatchOrder {
    let Fit { batch_size, max_tokens, seed, bucket, .. } = *config;
    BatchOrder { batch_size, max_tokens, seed, shuffle: true, bucket }
}

#[test]
fn the_budget_holds_in_every_epoch_and_steps_are_exact() {
    struct Steps(usize, Vec<(usize, usize, f64)>);
    impl Observer for Steps {
        fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
            match event {
                Event::Start { steps, .. } => self.0 = *steps,
                Event::Step(info) => {
                    assert_eq!(info.steps, self.0);
                    assert!(info.examples == 1 || info.tokens + info.padding <= BUDGET);
                    self.1.push((info.epoch, info.step, info.schedule));
                }
                _ => {}
            }
            Ok(Control::Continue)
        }
    }
    let (objective, rows) = (Seen::new(), ragged(46));
    let lengths = lengths(&rows);
    let schedule = Schedule::Linear { warmup: Warmup::default() };
    for bucket in [true, false] {
        let config = Fit { epochs: 4, schedule, bucket, prefetch: 0, ..budget(fit_config(1, 1e-3)) };
        let mut seen = Steps(0, vec![]);
        let data = Data { train: &rows, validation: &[] };
        fit(&mut classifier(1, 0.1), &objective, data, &Freeze::Nothing, &config, &mut [&mut seen]).unwrap();
        let batches = objective.take();
        let counts: Vec<usize> = (0..4).map(|epoch| order(&config).count(&lengths, epoch)).collect();
        assert_eq!((seen.0, seen.1.len(), batches.len()), (counts.iter().sum(), seen.0, seen.0));
        let mut rest = batches.as_slice();
        for (epoch, count) in counts.iter().enumerate() {
            let (now, later) = rest.split_at(*count);
            check(now, &lengths);
            assert_eq!(now, order(&config).batches(&lengths, epoch as u64));
            assert_eq!(seen.1.iter().filter(|(at, ..)| *at == epoch + 1).count(), *count);
            rest = later;
        }
        // The schedule falls to its end with the last step, and not before.
        let (_, last, factor) = *seen.1.last().unwrap();
        assert!((factor - 1.0 / last as f64).abs() < 1e-12, "{factor}");
        assert!(bucket || counts.iter().any(|count| *count != counts[0]), "{counts:?}");
    }
}

#[test]
fn accumulated_batches_weigh_what_they_hold() {
    let rows = ragged(30);
    let run = |config: Fit| {
        let mut model = classifier(1, 0.0);
        let data = Data { train: &rows, validation: &[] };
        let report = fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut []).unwrap();
        assert_eq!((report.steps, report.examples), (1, 30));
        (model, report)
    };
    let optimizer = Sgd { momentum: 0.0, ..Sgd::default() }.into();
    let one = Fit { batch_size: 30, optimizer, bucket: true, ..fit_config(1, 0.1) };
    let many = Fit { accumulation: 30, ..budget(one.clone()) };
    let ((whole, expected), (parts, found)) = (run(one), run(Fit { epochs: 1, ..many }));
    assert!((found.losses[0] - expected.losses[0]).abs() < 1e-6);
    assert!((found.grad_norms[0] / expected.grad_norms[0] - 1.0).abs() < 1e-5);
    let parts = weights(&parts);
    for (path, values) in weights(&whole) {
        assert!(parts[&path].iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-6), "{path}");
    }
}

fn run(
    model: &mut Model<rekindle::backbone::Bert, rekindle::head::Classifier>,
    policy: &Freeze,
    config: &Fit,
    watch: &mut Watch,
) -> Result<Report, Error> {
    let rows = ragged(46);
    fit(model, &task(), Data { train: &rows[..36], validation: &rows[36..] }, policy, config, &mut [watch])
}

fn saved(folder: &Path) -> Fit {
    Fit { accumulation: 2, eval_every: None, bucket: false, ..budget(resume::config(folder)) }
}

#[test]
fn stopped_in_the_middle_of_an_epoch_it_ends_with_the_same_bits() {
    let thaws = Freeze::Phases {
        phases: vec![Phase { freeze: Freeze::Backbone, lasts: Span::Epochs(1) }],
        then: Box::new(Freeze::Gradual { epochs: 1 }),
    };
    let swa = Averaging::Swa { start: Start::Epoch(1), every: 2 };
    for (policy, averaging) in [(Freeze::Nothing, None), (Freeze::Bottom(2), Some(swa)), (thaws, None)] {
        let with = |folder: &Path| Fit { averaging, ..saved(folder) };
        let whole_folder = temporary();
        let mut whole = classifier(2, 0.1);
        let expected = run(&mut whole, &policy, &with(whole_folder.path()), &mut Watch::default()).unwrap();
        let evaluated: Vec<usize> = expected.evaluations.iter().map(|evaluation| evaluation.step).collect();
        let lengths = lengths(&ragged(46)[..36]);
        let ends = (0..3).scan(0, |end, epoch| {
            *end += order(&with(whole_folder.path())).count(&lengths, epoch).div_ceil(2);
            Some(*end)
        });
        assert_eq!(evaluated, ends.collect::<Vec<_>>());
        for stop_after in [evaluated[0] - 1, evaluated[0], evaluated[1] + 2] {
            let folder = temporary();
            let mut watch = Watch { stop_after: Some(stop_after), ..Watch::default() };
            run(&mut classifier(2, 0.1), &policy, &with(folder.path()), &mut watch).unwrap();
            let mut resumed = classifier(2, 0.1);
            let again = Fit { resume: true, prefetch: stop_after % 2, ..with(folder.path()) };
            let report = run(&mut resumed, &policy, &again, &mut Watch::default()).unwrap();
            same(&report, &expected);
            assert!(bits(&resumed) == bits(&whole), "{policy:?} stopped after {stop_after}");
        }
    }
}

#[test]
fn plans_change_where_uneven_epochs_begin() {
    struct Plans(Vec<(usize, usize)>);
    impl Observer for Plans {
        fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
            if let Event::Plan { epoch, step, .. } = event {
                self.0.push((*epoch, *step));
            }
            Ok(Control::Continue)
        }
    }
    let rows = ragged(46);
    let config = Fit { epochs: 3, bucket: false, ..budget(fit_config(1, 1e-3)) };
    let mut plans = Plans(vec![]);
    let data = Data { train: &rows, validation: &[] };
    fit(&mut classifier(2, 0.1), &task(), data, &Freeze::Gradual { epochs: 1 }, &config, &mut [&mut plans]).unwrap();
    let count = |epoch| order(&config).count(&lengths(&rows), epoch);
    assert_eq!(plans.0, [(0, 0), (1, count(0)), (2, count(0) + count(1))]);
}

#[test]
fn validations_and_caches_keep_the_budget() {
    let (objective, rows) = (Seen::new(), ragged(46));
    let lengths = lengths(&rows);
    let limit = BatchLimit { batch_size: 12, max_tokens: Some(BUDGET) };
    let by_rows = evaluate(&classifier(1, 0.0), &objective, &rows, 12, 5).unwrap().summary();
    assert_eq!(objective.take().len(), 4);
    let by_tokens = evaluate(&classifier(1, 0.0), &objective, &rows, limit, 5).unwrap().summary();
    assert!((by_rows.loss - by_tokens.loss).abs() < 1e-6 && by_rows.accuracy == by_tokens.accuracy);
    check(&objective.take(), &lengths);

    let folder = temporary();
    let (cache, plain) = (Cache::folder(folder.path()), [true, true]);
    let how = Evaluate { batch_size: 12, max_tokens: Some(BUDGET), seed: 5, cache: &cache, plain: &plain };
    let (scores, kept) = evaluate_cached(&classifier(1, 0.0), &objective, &rows, &how).unwrap();
    assert!((scores.summary().loss - by_rows.loss).abs() < 1e-6 && kept.misses > 0);
    // Keys, then states, where equal inputs come once, then the evaluation itself.
    check_budget(&objective.take(), &lengths);
}

#[test]
fn a_budget_is_foretold() {
    let rows = ragged(46);
    let data = Data { train: rows.as_slice(), validation: &rows[..9] };
    let config = Fit { epochs: 3, accumulation: 2, ..budget(fit_config(1, 1e-3)) };
    let look = |config: &Fit| forecast(&classifier(1, 0.1), &task(), data, &Freeze::Nothing, config).unwrap();
    let foretold = look(&config);
    let lengths = lengths(&rows);
    let steps: usize = (0..3).map(|epoch| order(&config).count(&lengths, epoch).div_ceil(2)).sum();
    assert_eq!((foretold.steps, foretold.epochs, foretold.max_tokens), (steps, 3, Some(BUDGET)));
    let longer = lengths.iter().filter(|length| **length > BUDGET).count();
    let longest = *lengths.iter().max().unwrap();
    assert_eq!((foretold.batches.over_budget, foretold.batches.largest), (longer, longest));
    let said = foretold.to_string();
    assert!(said.contains("at most 12 rows and 20 tokens x 2 micro-batches each"), "{said}");
    assert!(said.contains(&format!("longer than max_tokens, each a batch of its own: {longer}")), "{said}");
    let error = batch_size_for(&classifier(1, 0.1), &task(), data, &Freeze::Nothing, &config, None).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::BadOption { option: "max_tokens", .. })), "{error}");
}

#[test]
fn another_budget_is_another_run() {
    let folder = temporary();
    let mut watch = Watch { stop_after: Some(2), ..Watch::default() };
    run(&mut classifier(2, 0.1), &Freeze::Nothing, &saved(folder.path()), &mut watch).unwrap();
    let other = Fit { resume: true, max_tokens: Some(BUDGET + 1), ..saved(folder.path()) };
    let error = run(&mut classifier(2, 0.1), &Freeze::Nothing, &other, &mut Watch::default()).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::Run(RunError::OtherRun { what: "configuration", .. }))));
    assert!(error.to_string().contains("max_tokens 20 there, 21 here"), "{error}");
    let none = Fit { max_tokens: Some(0), ..fit_config(1, 1e-3) };
    let error = run(&mut classifier(2, 0.1), &Freeze::Nothing, &none, &mut Watch::default()).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::BadOption { option: "max_tokens", .. })), "{error}");
}
