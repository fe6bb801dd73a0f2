//! The loop: steps, validations, when it stops, what observers see.

use rekindle::backbone::Bert;
use rekindle::head::Classifier;
use rekindle::params::Freeze;
use rekindle::train::{
    Control, Data, Event, Fit, Keep, Monitor, Observer, ObserverError, Report, StopReason, evaluate, fit,
};
use rekindle::{Error, Model};

use super::support::*;

/// Notes every event, and asks to stop where told.
#[derive(Default)]
struct Notes {
    seen: Vec<String>,
    stop_at: Option<&'static str>,
}

impl Observer for Notes {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        let note = match event {
            Event::Start { steps, epochs, examples, .. } => format!("start {steps} {epochs} {examples}"),
            Event::Plan { epoch, .. } => format!("plan {epoch}"),
            Event::Caching { done, all } => format!("caching {done}/{all}"),
            Event::Step(info) => format!("step {}/{} epoch {}", info.step, info.steps, info.epoch),
            Event::Evaluated(evaluation) => format!("evaluated {} epoch {}", evaluation.step, evaluation.epoch),
            Event::Saved { path } => format!("saved {}", path.file_name().unwrap().to_str().unwrap()),
            Event::End { report } => format!("end {}", report.steps),
            other => format!("{other:?}"),
        };
        let stop = self.stop_at.is_some_and(|at| note.starts_with(at));
        self.seen.push(note);
        Ok(if stop { Control::Stop } else { Control::Continue })
    }
}

fn run(policy: &Freeze, config: &Fit, notes: &mut Notes) -> Result<(Report, Model<Bert, Classifier>), Error> {
    let (mut model, rows) = (classifier(2, 0.0), rows(40));
    let data = Data { train: &rows[..32], validation: &rows[32..] };
    let report = fit(&mut model, &task(), data, policy, config, &mut [notes])?;
    Ok((report, model))
}

#[test]
fn events_come_in_order() {
    let folder = temporary();
    let config =
        Fit { max_steps: None, epochs: 2, batch_size: 16, folder: Some(folder.path().into()), ..fit_config(1, 1e-2) };
    let mut notes = Notes::default();
    run(&Freeze::Backbone, &config, &mut notes).unwrap();
    let expected = [
        "start 4 2 32",
        "plan 0",
        "caching 16/40",
        "caching 32/40",
        "caching 40/40",
        "step 1/4 epoch 1",
        "step 2/4 epoch 1",
        "evaluated 2 epoch 1",
        "saved best.safetensors",
        "saved last.safetensors",
        "step 3/4 epoch 2",
        "step 4/4 epoch 2",
        "evaluated 4 epoch 2",
        "saved best.safetensors",
        "saved last.safetensors",
        "saved last.safetensors",
        "end 4",
    ];
    assert_eq!(notes.seen, expected);
}

#[test]
fn a_changed_plan_is_told() {
    let mut notes = Notes::default();
    run(&Freeze::Gradual { epochs: 1 }, &fit_config(12, 1e-3), &mut notes).unwrap();
    let plans: Vec<_> = notes.seen.iter().filter(|note| note.starts_with("plan")).collect();
    assert_eq!(plans, ["plan 0", "plan 1", "plan 2"]);
    let mut notes = Notes::default();
    run(&Freeze::Bottom(1), &fit_config(12, 1e-3), &mut notes).unwrap();
    assert_eq!(notes.seen.iter().filter(|note| note.starts_with("plan")).count(), 1);
}

#[test]
fn max_steps_goes_before_epochs() {
    for (steps, validations) in [(3, vec![3]), (4, vec![4]), (10, vec![4, 8, 10])] {
        let config = Fit { epochs: 1, ..fit_config(steps, 1e-3) };
        let (report, _) = run(&Freeze::Nothing, &config, &mut Notes::default()).unwrap();
        assert_eq!((report.steps, report.losses.len(), report.grad_norms.len()), (steps, steps, steps));
        assert_eq!(report.evaluations.iter().map(|e| e.step).collect::<Vec<_>>(), validations);
        assert_eq!(report.stop, StopReason::Finished);
    }
}

#[test]
fn validations_come_every_so_many_steps_and_at_the_end() {
    let config = Fit { eval_every: Some(3), ..fit_config(7, 1e-3) };
    let (report, _) = run(&Freeze::Nothing, &config, &mut Notes::default()).unwrap();
    assert_eq!(report.evaluations.iter().map(|e| (e.step, e.epoch)).collect::<Vec<_>>(), [(3, 1), (6, 2), (7, 2)]);
}

/// A rate so high that the validation loss only rises after the first steps.
fn worsening() -> Fit {
    Fit { eval_every: Some(1), ..fit_config(12, 3.0) }
}

#[test]
fn patience_stops_a_run_that_gets_no_better() {
    let config = Fit { patience: Some(2), ..worsening() };
    let (report, _) = run(&Freeze::Backbone, &config, &mut Notes::default()).unwrap();
    let best = report.best.unwrap();
    let lowest = report.evaluations.iter().map(|e| e.summary.loss).fold(f64::INFINITY, f64::min);
    assert_eq!(best.summary.loss, lowest);
    assert_eq!((report.stop, report.steps), (StopReason::NoImprovement, best.step + 2));
    assert!(report.steps < 12);
}

#[test]
fn a_run_that_did_all_its_steps_has_finished() {
    let (report, _) = run(&Freeze::Backbone, &worsening(), &mut Notes::default()).unwrap();
    let since = report.steps - report.best.unwrap().step;
    let config = Fit { patience: Some(since), ..worsening() };
    let (report, _) = run(&Freeze::Backbone, &config, &mut Notes::default()).unwrap();
    if report.steps == 12 {
        assert_eq!(report.stop, StopReason::Finished);
    }
}

#[test]
fn best_and_last_weights_are_kept_as_asked() {
    let rows = rows(40);
    for keep in [Keep::Best, Keep::Last] {
        let (report, model) = run(&Freeze::Backbone, &Fit { keep, ..worsening() }, &mut Notes::default()).unwrap();
        let loss = evaluate(&model, &task(), &rows[32..], 8, 5).unwrap().summary().loss;
        let (best, last) = (report.best.unwrap(), report.evaluations.last().copied().unwrap());
        assert!(best.summary.loss < last.summary.loss);
        let expected = if keep == Keep::Best { best } else { last };
        assert!((loss - expected.summary.loss).abs() < 1e-6 * loss, "{keep:?} {loss} {expected:?}");
    }
}

#[test]
fn the_monitor_says_what_best_is() {
    let figure = |monitor| {
        let (report, _) =
            run(&Freeze::Nothing, &Fit { monitor, ..fit_config(16, 2e-3) }, &mut Notes::default()).unwrap();
        (report.best.unwrap().summary, report.evaluations)
    };
    let (best, all) = figure(Monitor::Accuracy);
    assert!(all.iter().all(|other| other.summary.accuracy <= best.accuracy));
    let (best, all) = figure(Monitor::MacroF1);
    assert!(all.iter().all(|other| other.summary.macro_f1 <= best.macro_f1));
}

#[test]
fn an_observer_ends_a_run() {
    for (stop_at, steps, epoch) in [("step 2/", 2, 1), ("step 6/", 6, 2), ("evaluated 4", 4, 1), ("caching", 1, 1)] {
        let mut notes = Notes { stop_at: Some(stop_at), ..Notes::default() };
        let config = Fit { patience: Some(1), ..fit_config(12, 1e-3) };
        let (report, _) = run(&Freeze::Backbone, &config, &mut notes).unwrap();
        assert_eq!((report.stop, report.steps), (StopReason::Observer, steps), "{stop_at}");
        let last = report.evaluations.last().unwrap();
        assert_eq!((last.step, last.epoch), (steps, epoch), "{stop_at}");
        assert_eq!(notes.seen.last().unwrap(), &format!("end {steps}"));
    }
}

#[test]
fn an_observers_stop_is_not_called_lack_of_improvement() {
    // The validation after the stop is one without an improvement.
    let mut notes = Notes { stop_at: Some("step 3/"), ..Notes::default() };
    let config = Fit { eval_every: Some(2), patience: Some(1), ..worsening() };
    let (report, _) = run(&Freeze::Backbone, &config, &mut notes).unwrap();
    assert_eq!((report.stop, report.steps, report.evaluations.len()), (StopReason::Observer, 3, 2));
    assert_eq!(report.best.unwrap().step, 2);
}

#[test]
fn training_learns_the_classes() {
    let (report, model) = run(&Freeze::Nothing, &fit_config(120, 2e-3), &mut Notes::default()).unwrap();
    assert!(report.losses[119] < 0.3 * report.losses[0], "{:?}", report.losses);
    let summary = evaluate(&model, &task(), &rows(40)[32..], 8, 0).unwrap().summary();
    assert!(summary.accuracy.unwrap() > 0.8, "{summary:?}");
}
