//! What observers may ask for, what their failures do, and what they remember over an interruption.

use rekindle::params::Freeze;
use rekindle::train::{
    Control, Data, Event, Fit, Observer, ObserverError, Report, SaveEvery, StepInfo, StopReason, TrainError, fit,
};
use serde_json::{Value, json};

use super::support::*;

fn run(config: &Fit, observers: &mut [&mut dyn Observer]) -> Result<Report, rekindle::Error> {
    let rows = rows(40);
    let data = Data { train: &rows[..32], validation: &rows[32..] };
    fit(&mut classifier(2, 0.0), &task(), data, &Freeze::Bottom(2), config, observers)
}

/// Fails at a step, and counts what it is told.
struct Fragile {
    fails_at: usize,
    must_succeed: bool,
    told: usize,
}

impl Observer for Fragile {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        self.told += 1;
        match event {
            Event::Step(info) if info.step == self.fails_at => Err("the disk is full".into()),
            _ => Ok(Control::Continue),
        }
    }

    fn must_succeed(&self) -> bool {
        self.must_succeed
    }
}

#[test]
fn a_failing_observer_is_told_of_once_and_the_run_goes_on() {
    let mut fragile = Fragile { fails_at: 2, must_succeed: false, told: 0 };
    let (mut before, mut after) = (vec![], vec![]);
    let mut first = |event: &Event<'_>| {
        if let Event::ObserverFailed { name, error } = event {
            before.push(format!("{name} {error}"));
        }
        Ok(Control::Continue)
    };
    let mut last = |event: &Event<'_>| {
        match event {
            Event::ObserverFailed { name, error } => after.push(format!("{name} {error}")),
            Event::Step(info) => after.push(info.step.to_string()),
            _ => {}
        }
        Ok(Control::Continue)
    };
    let report = run(&fit_config(4, 1e-3), &mut [&mut first, &mut fragile, &mut last]).unwrap();
    assert_eq!((report.steps, report.stop), (4, StopReason::Finished));
    assert_eq!(report.observer_failures, ["Fragile: the disk is full"]);
    assert_eq!(before, ["Fragile the disk is full"]);
    assert_eq!(after, ["1", "Fragile the disk is full", "2", "3", "4"]);
    // Start, plan, cache, two steps.
    assert_eq!(fragile.told, 5);
}

#[test]
fn an_observer_that_must_succeed_ends_the_run() {
    let mut fragile = Fragile { fails_at: 3, must_succeed: true, told: 0 };
    let mut seen = vec![];
    let mut other = |event: &Event<'_>| {
        if let Event::Failed { error } = event {
            seen.push(error.to_string());
        }
        Ok(Control::Continue)
    };
    let error = run(&fit_config(4, 1e-3), &mut [&mut other, &mut fragile]).unwrap_err();
    let rekindle::Error::Train(TrainError::Observer { name, .. }) = &error else { panic!("{error}") };
    assert_eq!(name, "Fragile");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(seen, [error.to_string()]);
}

#[test]
fn an_observer_has_a_checkpoint_written() {
    for (at, expected) in [("step", 2), ("evaluated", 4), ("plan", 1), ("last evaluation", 6)] {
        let folder = temporary();
        let mut ask = |event: &Event<'_>| {
            Ok(match event {
                Event::Step(info) if at == "step" && info.step == 2 => Control::Save,
                Event::Evaluated(evaluation) if at == "evaluated" && evaluation.step == 4 => Control::Save,
                Event::Evaluated(evaluation) if at == "last evaluation" && evaluation.step == 6 => Control::Save,
                Event::Plan { .. } if at == "plan" => Control::Save,
                _ => Control::Continue,
            })
        };
        let config = Fit { folder: Some(folder.path().into()), ..fit_config(6, 1e-3) };
        let report = run(&config, &mut [&mut ask]).unwrap();
        assert_eq!((report.steps, report.stop), (6, StopReason::Finished));
        let names = std::fs::read_dir(folder.path().join("checkpoints")).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names, [format!("step-{expected:08}")], "{at}");
    }
    let mut ask = |_: &Event<'_>| Ok(Control::Save);
    let error = run(&fit_config(6, 1e-3), &mut [&mut ask]).unwrap_err();
    assert!(matches!(error, rekindle::Error::Train(TrainError::NowhereToSave)), "{error}");
}

/// Adds up losses; stops, or refuses its own state, where told.
#[derive(Default)]
struct Sum {
    total: f64,
    stop_after: Option<usize>,
    refuses: bool,
}

impl Observer for Sum {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        let Event::Step(info) = event else { return Ok(Control::Continue) };
        self.total += info.loss;
        Ok(if Some(info.step) == self.stop_after { Control::Stop } else { Control::Continue })
    }

    fn state(&self) -> Option<Value> {
        Some(json!({ "total": self.total }))
    }

    fn restore(&mut self, state: Value) -> Result<(), ObserverError> {
        if self.refuses {
            return Err("not mine".into());
        }
        self.total = state["total"].as_f64().ok_or("no total")?;
        Ok(())
    }
}

#[test]
fn what_observers_gathered_is_there_after_an_interruption() {
    let folder = temporary();
    let config = Fit {
        folder: Some(folder.path().into()),
        save_every: Some(SaveEvery::Steps(2)),
        resume: true,
        ..fit_config(6, 1e-3)
    };
    // Two of a name have states of their own.
    let mut one = Sum { stop_after: Some(4), ..Sum::default() };
    let mut two = Sum { total: 100.0, ..Sum::default() };
    run(&config, &mut [&mut one, &mut two]).unwrap();
    let (mut one, mut two) = (Sum::default(), Sum { refuses: true, ..Sum::default() });
    let report = run(&config, &mut [&mut one, &mut two]).unwrap();
    assert_eq!(report.steps, 6);
    let expected: f64 = report.losses.iter().sum();
    assert!((one.total - expected).abs() < 1e-12 * expected, "{} {expected}", one.total);
    assert_eq!(two.total, 0.0);
    assert_eq!(report.observer_failures, ["Sum: not mine"]);
}

#[test]
fn a_step_says_what_it_read_and_where_its_time_went() {
    let mut steps: Vec<StepInfo> = vec![];
    let mut note = |event: &Event<'_>| {
        if let Event::Step(info) = event {
            steps.push(**info);
        }
        Ok(Control::Continue)
    };
    let config = Fit { accumulation: 2, max_steps: None, epochs: 2, ..fit_config(1, 1e-3) };
    let config = Fit { rates: rekindle::params::Rates { layer_decay: Some(0.5), ..config.rates.clone() }, ..config };
    let report = run(&config, &mut [&mut note]).unwrap();
    let lengths: Vec<usize> = rows(32).iter().map(|row| row.row.len()).collect();
    assert_eq!(report.tokens, 2 * lengths.iter().sum::<usize>());
    assert_eq!(report.examples, 64);
    let order = rekindle::data::BatchOrder { batch_size: 8, max_tokens: None, seed: 5, shuffle: true, bucket: false };
    let batches = (0..2).flat_map(|epoch| order.batches(&lengths, epoch));
    let cells = batches.map(|batch| batch.len() * batch.iter().map(|row| lengths[*row]).max().unwrap());
    assert_eq!(report.padding, cells.sum::<usize>() - report.tokens);
    assert!(report.padding > 0);
    for (index, info) in steps.iter().enumerate() {
        assert_eq!((info.step, info.examples, info.lr), (index + 1, 16, 1e-3));
        assert_eq!(info.lowest_lr, 0.5e-3);
        let seconds = info.seconds;
        let parts = seconds.data + seconds.forward + seconds.backward + seconds.optimizer;
        assert!(seconds.data > 0.0 && seconds.forward > 0.0 && seconds.backward > 0.0 && seconds.optimizer > 0.0);
        assert!(parts <= seconds.total && parts > 0.5 * seconds.total, "{seconds:?}");
    }
    assert_eq!(report.learning_rates, [1e-3; 4]);
    assert!(report.tokens_per_second() > report.examples_per_second() && report.padding_share() < 1.0);
}
