//! A run that is stopped or killed goes on to the same bits as one that never was.

use std::path::{Path, PathBuf};

use rekindle::Model;
use rekindle::backbone::Bert;
use rekindle::cache::CacheReport;
use rekindle::head::Classifier;
use rekindle::params::{Freeze, FreezePolicy};
use rekindle::train::{
    Control, Data, Event, Fit, Keep, Monitor, Observer, ObserverError, Report, RunError, SaveEvery, StopReason,
    TrainError, fit,
};

use super::support::*;

/// Stops after a step, as a signal would; notes what is skipped and resumed.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) stop_after: Option<usize>,
    pub(super) seen: Vec<String>,
}

impl Observer for Watch {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::OtherVersion { there, here } => self.seen.push(format!("saved by {there}, not {here}")),
            Event::Resumed { step, .. } => self.seen.push(format!("resumed {step}")),
            Event::Skipped { error } => self.seen.push(error.to_string()),
            Event::Step(info) if Some(info.step) == self.stop_after => return Ok(Control::Stop),
            _ => {}
        }
        Ok(Control::Continue)
    }
}

pub(super) fn config(folder: &Path) -> Fit {
    Fit {
        epochs: 3,
        max_steps: None,
        accumulation: 2,
        eval_every: Some(4),
        keep: Keep::Best,
        save_every: Some(SaveEvery::Steps(1)),
        folder: Some(folder.into()),
        bucket: true,
        ..fit_config(1, 3e-3)
    }
}

/// 40 rows in batches of 8, two a step: 3 steps an epoch, the last one of a single batch. Dropout is on.
pub(super) fn run(
    model: &mut Model<Bert, Classifier>,
    policy: &dyn FreezePolicy,
    config: &Fit,
    watch: &mut Watch,
) -> Result<Report, rekindle::Error> {
    let rows = rows(56);
    fit(model, &task(), Data { train: &rows[..40], validation: &rows[40..] }, policy, config, &mut [watch])
}

fn fresh() -> Model<Bert, Classifier> {
    classifier(2, 0.1)
}

fn steps(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder.join("checkpoints")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(super) fn same(a: &Report, b: &Report) {
    let plain = |report: &Report| {
        let mut report = report.clone();
        (report.seconds, report.cache, report.peak_bytes) = (0.0, CacheReport::default(), None);
        report
    };
    assert_eq!(plain(a), plain(b));
}

#[test]
fn stopped_at_any_step_it_ends_with_the_same_bits() {
    for policy in [Freeze::Nothing, Freeze::Backbone, Freeze::Bottom(2), Freeze::Gradual { epochs: 1 }] {
        let whole_folder = temporary();
        let mut whole = fresh();
        let expected = run(&mut whole, &policy, &config(whole_folder.path()), &mut Watch::default()).unwrap();
        for stop_after in [1, 3, 5, 8] {
            let folder = temporary();
            let mut watch = Watch { stop_after: Some(stop_after), ..Watch::default() };
            let first = run(&mut fresh(), &policy, &config(folder.path()), &mut watch).unwrap();
            assert_eq!((first.steps, first.stop), (stop_after, StopReason::Observer));
            // Another process starts from its own fresh model; its head differs, what is saved counts.
            let mut resumed = Model::new(fresh().backbone, Classifier::new(32, 4, 99, &device()).with_dropout(0.1));
            let mut watch = Watch::default();
            let again = Fit { resume: true, ..config(folder.path()) };
            let report = run(&mut resumed, &policy, &again, &mut watch).unwrap();
            assert_eq!(watch.seen, [format!("resumed {stop_after}")]);
            same(&report, &expected);
            assert!(bits(&resumed) == bits(&whole), "{policy:?} stopped after {stop_after}");
            let history = |folder: &Path| std::fs::read_to_string(folder.join("history.jsonl")).unwrap();
            assert_eq!(history(folder.path()), history(whole_folder.path()));
        }
    }
}

#[test]
fn an_early_stopped_run_stays_stopped() {
    let folder = temporary();
    let config = Fit { patience: Some(1), eval_every: Some(1), epochs: 30, ..config(folder.path()) };
    let config = Fit { rates: rekindle::params::Rates::new(1e-12), ..config };
    let first = run(&mut fresh(), &Freeze::Nothing, &config, &mut Watch::default()).unwrap();
    let again = run(&mut fresh(), &Freeze::Nothing, &Fit { resume: true, ..config }, &mut Watch::default()).unwrap();
    assert_eq!((first.stop, again.stop), (StopReason::NoImprovement, StopReason::NoImprovement));
    same(&again, &first);
}

#[test]
fn the_monitored_figure_goes_on() {
    let config = |folder: &Path| Fit {
        monitor: Monitor::Mcc,
        eval_every: Some(1),
        patience: Some(4),
        epochs: 4,
        ..config(folder)
    };
    let (whole_folder, folder) = (temporary(), temporary());
    let mut whole = fresh();
    let expected = run(&mut whole, &Freeze::Nothing, &config(whole_folder.path()), &mut Watch::default()).unwrap();
    let mut watch = Watch { stop_after: Some(3), ..Watch::default() };
    run(&mut fresh(), &Freeze::Nothing, &config(folder.path()), &mut watch).unwrap();
    let (mut resumed, again) = (fresh(), Fit { resume: true, ..config(folder.path()) });
    let report = run(&mut resumed, &Freeze::Nothing, &again, &mut Watch::default()).unwrap();
    same(&report, &expected);
    assert!(bits(&resumed) == bits(&whole));
    assert!(expected.evaluations.iter().any(|evaluation| evaluation.monitored != 0.0));
}

#[test]
fn what_never_trains_is_stored_once_and_old_checkpoints_go() {
    let folder = temporary();
    run(&mut fresh(), &Freeze::Backbone, &config(folder.path()), &mut Watch::default()).unwrap();
    assert_eq!(steps(folder.path()), ["step-00000008", "step-00000009"]);
    let size = |path: PathBuf| std::fs::metadata(path).unwrap().len();
    let weights = size(folder.path().join("checkpoints/step-00000009/weights.safetensors"));
    let bases = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let bases: Vec<_> = bases.filter(|path| path.to_string_lossy().contains("base-")).collect();
    assert_eq!(bases.len(), 1);
    assert!(weights < 1200 && size(bases[0].clone()) > 50_000, "{weights}");
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_one_before_is_used() {
    let expected_folder = temporary();
    let mut whole = fresh();
    run(&mut whole, &Freeze::Nothing, &config(expected_folder.path()), &mut Watch::default()).unwrap();
    for file in
        ["weights.safetensors", "best.safetensors", "moments.safetensors", "steps.bin", "state.json", "checksums.json"]
    {
        for cut in [true, false] {
            let folder = temporary();
            let mut watch = Watch { stop_after: Some(6), ..Watch::default() };
            run(&mut fresh(), &Freeze::Nothing, &config(folder.path()), &mut watch).unwrap();
            let path = folder.path().join("checkpoints/step-00000006").join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            match cut {
                true => bytes.truncate(bytes.len() / 2),
                false => *bytes.last_mut().unwrap() ^= 1,
            }
            std::fs::write(&path, bytes).unwrap();
            let (mut resumed, mut watch) = (fresh(), Watch::default());
            let again = Fit { resume: true, ..config(folder.path()) };
            run(&mut resumed, &Freeze::Nothing, &again, &mut watch).unwrap();
            assert!(watch.seen[0].contains("step-00000006") && watch.seen[0].contains("damaged"), "{:?}", watch.seen);
            assert_eq!(watch.seen[1], "resumed 5");
            assert!(bits(&resumed) == bits(&whole), "{file}");
        }
    }
}

fn run_error(result: Result<Report, rekindle::Error>) -> RunError {
    match result.unwrap_err() {
        rekindle::Error::Train(TrainError::Run(error)) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn with_every_checkpoint_damaged_nothing_is_made_up() {
    let folder = temporary();
    run(&mut fresh(), &Freeze::Nothing, &config(folder.path()), &mut Watch::default()).unwrap();
    for step in steps(folder.path()) {
        std::fs::remove_file(folder.path().join("checkpoints").join(step).join("moments.safetensors")).unwrap();
    }
    let again = Fit { resume: true, ..config(folder.path()) };
    let error = run_error(run(&mut fresh(), &Freeze::Nothing, &again, &mut Watch::default()));
    assert!(matches!(&error, RunError::NothingWhole { count: 2, .. }), "{error}");
    assert!(error.to_string().contains("moments.safetensors"), "{error}");
}

#[test]
fn another_run_does_not_go_on_from_these_checkpoints() {
    let folder = temporary();
    let mut watch = Watch { stop_after: Some(2), ..Watch::default() };
    run(&mut fresh(), &Freeze::Nothing, &config(folder.path()), &mut watch).unwrap();
    let again = Fit { resume: true, ..config(folder.path()) };
    let other = |model: &mut Model<Bert, Classifier>, policy: &Freeze, config: &Fit| {
        run_error(run(model, policy, config, &mut Watch::default()))
    };
    let seed = Fit { seed: 6, ..again.clone() };
    let rate = Fit { rates: rekindle::params::Rates::new(2e-3), clip_norm: None, ..again.clone() };
    let mut wider = Model::new(fresh().backbone, Classifier::new(32, 5, 99, &device()).with_dropout(0.1));
    for (error, expected, said) in [
        (other(&mut fresh(), &Freeze::Bottom(1), &again), "freeze policy", "Nothing there, Bottom(1) here"),
        (other(&mut fresh(), &Freeze::Nothing, &seed), "configuration", "seed 5 there, 6 here"),
        (other(&mut fresh(), &Freeze::Nothing, &rate), "configuration", "rates.lr 0.003 there, 0.002 here"),
        (other(&mut fresh(), &Freeze::Nothing, &rate), "configuration", "clip_norm 1.0 there, null here"),
        (other(&mut wider, &Freeze::Nothing, &again), "model", "[32, 4] Weight there, head.linear.weight [32, 5]"),
    ] {
        assert!(matches!(&error, RunError::OtherRun { what, .. } if *what == expected), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let rows = rows(56);
    let data = Data { train: &rows[..38], validation: &rows[40..] };
    let error = run_error(fit(&mut fresh(), &task(), data, &Freeze::Nothing, &again, &mut []));
    assert!(matches!(&error, RunError::OtherRun { what: "data set", .. }), "{error}");
    let said = "40 training examples there, 38 here, first difference at row 38;";
    assert!(error.to_string().contains(said), "{error}");
    let mut changed = rows.clone();
    changed[3].label = changed[3].label.map(|label| (label + 1) % 4);
    let data = Data { train: &changed[..40], validation: &changed[40..] };
    let refused = || run_error(fit(&mut fresh(), &task(), data, &Freeze::Nothing, &again, &mut []));
    let error = refused();
    assert!(matches!(&error, RunError::OtherRun { what: "data set", .. }), "{error}");
    assert!(error.to_string().contains("40 training examples, first difference at row 3;"), "{error}");
    // Without the rows, it is known that they differ, but not where.
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let fingerprints: Vec<_> = names.filter(|path| path.extension().is_some_and(|end| end == "bin")).collect();
    assert_eq!(fingerprints.len(), 1);
    std::fs::write(&fingerprints[0], b"cut").unwrap();
    assert!(matches!(refused(), RunError::OtherRun { what: "data set", .. }));
    let error = other(&mut fresh(), &Freeze::Nothing, &config(folder.path()));
    assert!(matches!(&error, RunError::Unfinished { .. }), "{error}");
}

#[test]
fn another_version_goes_on_and_is_told() {
    let folder = temporary();
    let mut watch = Watch { stop_after: Some(2), ..Watch::default() };
    run(&mut fresh(), &Freeze::Nothing, &config(folder.path()), &mut watch).unwrap();
    for step in steps(folder.path()) {
        let dir = folder.path().join("checkpoints").join(step);
        let edit = |name: &str, edit: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::from_slice(&std::fs::read(dir.join(name)).unwrap()).unwrap();
            edit(&mut value);
            std::fs::write(dir.join(name), serde_json::to_vec_pretty(&value).unwrap()).unwrap();
        };
        edit("state.json", &|state| state["identity"]["version"] = "0.0.9".into());
        let sum = blake3::hash(&std::fs::read(dir.join("state.json")).unwrap()).to_hex().to_string();
        edit("checksums.json", &|sums| sums["state.json"] = sum.clone().into());
    }
    let mut watch = Watch::default();
    let again = Fit { resume: true, ..config(folder.path()) };
    run(&mut fresh(), &Freeze::Nothing, &again, &mut watch).unwrap();
    assert_eq!(watch.seen, [format!("saved by 0.0.9, not {}", env!("CARGO_PKG_VERSION")), "resumed 2".into()]);
}

#[test]
fn one_folder_has_one_writer() {
    struct Second(PathBuf, Option<RunError>);
    impl Observer for Second {
        fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
            if let Event::Step(_) = event {
                let again = Fit { resume: true, ..config(&self.0) };
                self.1 = Some(run_error(run(&mut fresh(), &Freeze::Nothing, &again, &mut Watch::default())));
            }
            Ok(Control::Continue)
        }
    }
    let folder = temporary();
    let (rows, mut second) = (rows(16), Second(folder.path().into(), None));
    let data = Data { train: &rows, validation: &[] };
    fit(&mut fresh(), &task(), data, &Freeze::Nothing, &config(folder.path()), &mut [&mut second]).unwrap();
    assert!(matches!(second.1, Some(RunError::Locked { .. })));
}
