//! The logs that observers write: what stands in them, and that an interruption leaves no line twice.

use std::path::Path;

use rekindle::params::Freeze;
use rekindle::train::{
    Control, CsvLog, Data, Energy, Event, Fit, Observer, Plots, ProgressLine, Report, SaveEvery, TensorBoard,
    Throughput, fit,
};

use super::event_files::Board;
use super::support::*;

fn config(folder: &Path) -> Fit {
    Fit {
        folder: Some(folder.into()),
        save_every: Some(SaveEvery::Steps(3)),
        eval_every: Some(2),
        resume: true,
        ..fit_config(9, 3e-3)
    }
}

fn run(config: &Fit, observers: &mut [&mut dyn Observer]) -> Report {
    let rows = rows(40);
    let data = Data { train: &rows[..32], validation: &rows[32..] };
    fit(&mut classifier(2, 0.1), &task(), data, &Freeze::Bottom(1), config, observers).unwrap()
}

/// Runs with new observers up to a step, as a process would that is then killed: steps after the last checkpoint were
/// logged and will come again.
fn interrupted(folder: &Path, stop_after: &[usize], log: &dyn Fn() -> Box<dyn Observer>) -> Report {
    for step in stop_after {
        let mut stop = |event: &Event<'_>| match event {
            Event::Step(info) if info.step == *step => Err("killed".into()),
            _ => Ok(Control::Continue),
        };
        struct Must<'a>(&'a mut dyn Observer);
        impl Observer for Must<'_> {
            fn on(&mut self, event: &Event<'_>) -> Result<Control, rekindle::train::ObserverError> {
                self.0.on(event)
            }
            fn must_succeed(&self) -> bool {
                true
            }
        }
        let (rows, mut log) = (rows(40), log());
        let data = Data { train: &rows[..32], validation: &rows[32..] };
        let mut model = classifier(2, 0.1);
        let config = config(folder);
        let mut must = Must(&mut stop);
        let ended = fit(&mut model, &task(), data, &Freeze::Bottom(1), &config, &mut [&mut *log, &mut must]);
        assert!(ended.unwrap_err().to_string().contains("killed"));
    }
    run(&config(folder), &mut [&mut *log()])
}

#[test]
fn tables_have_a_line_for_each_step_and_validation() {
    let folder = temporary();
    let report = run(&config(folder.path()), &mut [&mut CsvLog::new(folder.path().join("csv"))]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join("csv").join(name)).unwrap();
    let steps = read("steps.csv");
    let header = "step,epoch,loss,learning_rate,lowest_learning_rate,grad_norm,examples,tokens,padding\n";
    assert!(steps.starts_with(header), "{steps}");
    let cells: Vec<Vec<&str>> = steps.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(cells.len(), 9);
    for (index, cells) in cells.iter().enumerate() {
        assert_eq!(cells[0].parse::<usize>().unwrap(), index + 1);
        assert_eq!(cells[2].parse::<f64>().unwrap(), report.losses[index]);
        assert_eq!(cells[5].parse::<f64>().unwrap(), report.grad_norms[index]);
    }
    let tokens: usize = cells.iter().map(|cells| cells[7].parse::<usize>().unwrap()).sum();
    assert_eq!(tokens, report.tokens);
    let evaluations = read("evaluations.csv");
    assert!(evaluations.starts_with("step,epoch,loss,accuracy"), "{evaluations}");
    let steps: Vec<&str> = evaluations.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(steps, ["2", "4", "6", "8", "9"]);
    let loss: f64 = evaluations.lines().nth(1).unwrap().split(',').nth(2).unwrap().parse().unwrap();
    assert_eq!(loss, report.evaluations[0].summary.loss);
    // A new run replaces what was there.
    run(&Fit { max_steps: Some(1), ..fit_config(1, 1e-3) }, &mut [&mut CsvLog::new(folder.path().join("csv"))]);
    assert_eq!(read("steps.csv").lines().count(), 2);
}

#[test]
fn tables_of_an_interrupted_run_are_those_of_a_whole_one() {
    let whole = temporary();
    run(&config(whole.path()), &mut [&mut CsvLog::new(whole.path().join("csv"))]);
    for stops in [vec![1], vec![2, 5], vec![4, 4, 8], vec![3, 6, 9]] {
        let folder = temporary();
        interrupted(folder.path(), &stops, &|| Box::new(CsvLog::new(folder.path().join("csv"))));
        for name in ["steps.csv", "evaluations.csv"] {
            let read = |folder: &Path| std::fs::read_to_string(folder.join("csv").join(name)).unwrap();
            assert_eq!(read(folder.path()), read(whole.path()), "{name} stopped after {stops:?}");
        }
    }
}

/// What does not depend on the clock.
fn timeless(board: Board) -> Board {
    let scalars = board.scalars.into_iter().filter(|(tag, _)| !tag.ends_with("_per_second"));
    Board { scalars: scalars.collect(), texts: Default::default(), ..board }
}

#[test]
fn event_files_hold_what_the_report_says() {
    let folder = temporary();
    let report = run(&config(folder.path()), &mut [&mut TensorBoard::new(folder.path().join("board"))]);
    let board = Board::read(&folder.path().join("board"));
    assert_eq!(board.twice, []);
    let values = |tag: &str| board.scalars[tag].iter().map(|(step, value)| (*step, *value)).collect::<Vec<_>>();
    let per_step = |values: &[f64]| (1..).zip(values.iter().map(|value| *value as f32)).collect::<Vec<(i64, f32)>>();
    assert_eq!(values("train/loss"), per_step(&report.losses));
    assert_eq!(values("train/grad_norm"), per_step(&report.grad_norms));
    assert_eq!(values("train/learning_rate"), per_step(&report.learning_rates));
    let losses = report.evaluations.iter().map(|e| (e.step as i64, e.summary.loss as f32));
    assert_eq!(values("validation/loss"), losses.collect::<Vec<_>>());
    assert!(values("throughput/tokens_per_second").iter().all(|(_, value)| *value > 0.0));
    assert!(!board.scalars.contains_key("train/lowest_learning_rate"));
    let configuration = &board.texts["configuration"][&0];
    assert!(configuration.contains("| batch_size | 8 |") && configuration.contains("| seed | 5 |"), "{configuration}");
    assert!(board.texts["plan"][&1].contains("layer.1"), "{:?}", board.texts);
}

#[test]
fn no_step_of_an_interrupted_run_is_shown_twice() {
    let whole = temporary();
    run(&config(whole.path()), &mut [&mut TensorBoard::new(whole.path().join("board"))]);
    let expected = timeless(Board::read(&whole.path().join("board")));
    for stops in [vec![1], vec![2, 5], vec![4, 4, 8], vec![3, 6, 9]] {
        let folder = temporary();
        let board = folder.path().join("board");
        interrupted(folder.path(), &stops, &|| Box::new(TensorBoard::new(&board)));
        assert_eq!(timeless(Board::read(&board)), expected, "stopped after {stops:?}");
        assert_eq!(std::fs::read_dir(&board).unwrap().count(), stops.len() + 1);
    }
    // A new run in the folder voids all.
    let board = whole.path().join("board");
    run(&fit_config(2, 1e-3), &mut [&mut TensorBoard::new(&board)]);
    assert_eq!(Board::read(&board).scalars["train/loss"].len(), 2);
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_run() {
    let folder = temporary();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for log in [&mut CsvLog::new(file.join("csv")) as &mut dyn Observer, &mut TensorBoard::new(file.join("board"))] {
        let name = log.name().to_string();
        let report = run(&fit_config(2, 1e-3), &mut [&mut ProgressLine::bar_only(), log]);
        assert_eq!(report.steps, 2);
        let [failure] = &report.observer_failures[..] else { panic!("{:?}", report.observer_failures) };
        assert!(failure.starts_with(&name) && failure.contains("cannot write"), "{failure}");
    }
}

#[test]
fn throughput_counts_the_steps_before_an_interruption() {
    let folder = temporary();
    let mut throughput = Throughput::new();
    let mut stop = |event: &Event<'_>| match event {
        Event::Step(info) if info.step == 4 => Ok(Control::Stop),
        _ => Ok(Control::Continue),
    };
    run(&config(folder.path()), &mut [&mut throughput, &mut stop]);
    let first = throughput.total();
    assert_eq!(first.examples, 32);
    let mut throughput = Throughput::new();
    let report = run(&config(folder.path()), &mut [&mut throughput]);
    let total = throughput.total();
    assert_eq!((total.examples, total.tokens, total.padding), (report.examples, report.tokens, report.padding));
    assert!(total.seconds > first.seconds && total.seconds < report.seconds);
    assert_eq!(throughput.recent().examples, 5 * 8);
}

#[test]
fn pictures_show_the_whole_run_also_after_an_interruption() {
    let whole = temporary();
    run(&config(whole.path()), &mut [&mut Plots::new(whole.path().join("plots"))]);
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder.join("plots")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let drawn = names(whole.path());
    for name in ["accuracy.svg", "grad_norm.svg", "learning_rate.svg", "loss.svg", "macro_f1.svg"] {
        assert!(drawn.contains(&name.to_string()), "{drawn:?}");
    }
    let read = |folder: &Path, name: &str| std::fs::read_to_string(folder.join("plots").join(name)).unwrap();
    let loss = read(whole.path(), "loss.svg");
    assert!(loss.contains("training") && loss.contains("validation") && loss.contains("best"));
    let folder = temporary();
    interrupted(folder.path(), &[4, 8], &|| Box::new(Plots::new(folder.path().join("plots"))));
    assert_eq!(names(folder.path()), drawn);
    for name in drawn {
        assert_eq!(read(folder.path(), &name), read(whole.path(), &name), "{name}");
    }
}

#[test]
fn pictures_are_drawn_at_validations_where_asked_and_when_the_run_fails() {
    for (asked, expected) in [(false, false), (true, true)] {
        let folder = temporary();
        let plots = Plots::new(folder.path().join("plots"));
        let mut plots = if asked { plots.at_each_validation() } else { plots };
        let mut drawn = None;
        let path = folder.path().join("plots/loss.svg");
        let mut look = |event: &Event<'_>| {
            if let Event::Evaluated(_) = event {
                drawn.get_or_insert(path.exists());
            }
            Ok(Control::Continue)
        };
        run(&Fit { eval_every: Some(2), ..fit_config(4, 1e-3) }, &mut [&mut plots, &mut look]);
        assert_eq!(drawn, Some(expected));
        assert!(path.exists());
    }
    let folder = temporary();
    let (rows, mut plots) = (rows(40), Plots::new(folder.path()));
    let mut model = plant(classifier(2, 0.0), "head.linear.bias", f32::NAN);
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, &task(), data, &Freeze::Backbone, &fit_config(4, 1e-3), &mut [&mut plots]).unwrap_err();
    assert!(!folder.path().join("loss.svg").exists());
}

#[test]
fn energy_goes_on_after_an_interruption() {
    let folder = temporary();
    let mut energy = Energy::new().watts_per_core(10.0).unwrap().grams_per_kwh(100.0).unwrap();
    let mut stop = |event: &Event<'_>| match event {
        Event::Step(info) if info.step == 6 => Ok(Control::Stop),
        _ => Ok(Control::Continue),
    };
    run(&config(folder.path()), &mut [&mut energy, &mut stop]);
    let first = energy.estimate().clone();
    assert!(first.joules() > 0.0, "{first}");
    let mut energy = Energy::new().watts_per_core(10.0).unwrap().grams_per_kwh(100.0).unwrap();
    run(&config(folder.path()), &mut [&mut energy]);
    assert!(energy.estimate().joules() > first.joules(), "{first} {}", energy.estimate());
    let kwh = energy.estimate().kilowatt_hours();
    assert!((energy.estimate().grams_co2() - 100.0 * kwh).abs() < 1e-12);
}
