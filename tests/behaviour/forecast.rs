//! What is said before the first step, and that saying it changes nothing.

use rekindle::cache::Cache;
use rekindle::data::{BatchOrder, TokenRow};
use rekindle::head::Pretraining;
use rekindle::objective::{Batch, Draws, LabelledRow, Objective, TextClassification};
use rekindle::params::{Freeze, FreezeError};
use rekindle::train::{
    Control, Data, Event, Fit, Forecast, LrFinder, LrStop, Observer, ObserverError, SaveEvery, TrainError,
    batch_size_for, copies_between, fit, forecast,
};
use rekindle::{Error, Model};

use super::support::*;

fn look(freeze: &Freeze, rows: &[LabelledRow], validation: &[LabelledRow], config: &Fit) -> Forecast {
    let data = Data { train: rows, validation };
    forecast(&classifier(2, 0.1), &task(), data, freeze, config).unwrap()
}

fn ragged(steps: usize) -> Fit {
    Fit { bucket: true, max_steps: None, epochs: 3, batch_size: 8, ..fit_config(steps, 1e-3) }
}

#[test]
fn looking_ahead_changes_nothing() {
    for freeze in [Freeze::Nothing, Freeze::Backbone, Freeze::Gradual { epochs: 1 }] {
        let rows = rows(48);
        let data = Data { train: &rows[..40], validation: &rows[40..] };
        let (mut plain, mut looked) = (classifier(2, 0.1), classifier(2, 0.1));
        let before = bits(&looked);
        forecast(&looked, &task(), data, &freeze, &ragged(1)).unwrap();
        LrFinder { steps: 5, ..LrFinder::default() }.search(&looked, &task(), data.train, &freeze, &ragged(1)).unwrap();
        batch_size_for(&looked, &task(), data, &freeze, &ragged(1), Some(usize::MAX)).unwrap();
        assert!(bits(&looked) == before, "{freeze:?}");
        let expected = fit(&mut plain, &task(), data, &freeze, &ragged(1), &mut []).unwrap();
        let config = Fit { forecast: true, ..ragged(1) };
        let report = fit(&mut looked, &task(), data, &freeze, &config, &mut []).unwrap();
        assert_eq!(report.losses, expected.losses);
        assert!(bits(&looked) == bits(&plain), "{freeze:?}");
    }
}

#[test]
fn a_run_does_what_was_foretold() {
    struct Seen(Option<Forecast>, usize);
    impl Observer for Seen {
        fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
            match event {
                Event::Forecast(forecast) => self.0 = Some((*forecast).clone()),
                Event::Start { steps, .. } => self.1 = *steps,
                _ => {}
            }
            Ok(Control::Continue)
        }
    }
    let rows = rows(60);
    let data = Data { train: &rows[..45], validation: &rows[45..] };
    for (freeze, accumulation) in [(Freeze::Nothing, 1), (Freeze::Backbone, 2), (Freeze::Bottom(2), 1)] {
        let config = Fit { accumulation, forecast: true, ..ragged(1) };
        let mut seen = Seen(None, 0);
        let report = fit(&mut classifier(2, 0.1), &task(), data, &freeze, &config, &mut [&mut seen]).unwrap();
        let foretold = seen.0.unwrap();
        assert_eq!((foretold.steps, foretold.trainable_values), (report.steps, report.trainable_values));
        assert_eq!((foretold.all_values, seen.1, foretold.epochs), (report.all_values, report.steps, 3));
        let (cached, expected) = (foretold.memory.cache as f64, report.cache.memory_bytes as f64);
        assert!((cached - expected).abs() <= 0.05 * expected, "{cached} foretold, {expected}");
        assert_eq!(report.forecast_bytes, foretold.memory.peak);
        assert_eq!((foretold.data.train.examples, foretold.data.validation.examples), (45, 15));
        if cfg!(target_os = "linux") {
            assert!(report.peak_bytes.unwrap() > 1 << 20 && foretold.memory.peak.unwrap() > 1 << 20);
        }
    }
}

#[test]
fn a_run_that_goes_on_may_look_ahead() {
    let (folder, rows) = (temporary(), rows(24));
    let data = Data { train: rows.as_slice(), validation: &[] };
    let config = Fit { folder: Some(folder.path().into()), save_every: Some(SaveEvery::Steps(2)), ..ragged(1) };
    let first = fit(&mut classifier(1, 0.1), &task(), data, &Freeze::Nothing, &config, &mut []).unwrap();
    let config = Fit { resume: true, forecast: true, ..config };
    let again = fit(&mut classifier(1, 0.1), &task(), data, &Freeze::Nothing, &config, &mut []).unwrap();
    assert_eq!((first.forecast_bytes, again.losses), (None, first.losses));
    assert_eq!(again.forecast_bytes.is_some(), cfg!(target_os = "linux"));
    // Other tests run in this process: its peaks cannot be compared.
    assert_eq!(again.peak_bytes.is_some(), first.peak_bytes.is_some());
}

#[test]
fn optimizers_and_averages_are_foretold() {
    use rekindle::optim::{Averaging, OptimizerConfig, Sgd};
    let rows = rows(24);
    let look_at = |config: Fit| look(&Freeze::Nothing, &rows, &[], &config).memory;
    let usual = look_at(ragged(1));
    assert_eq!((usual.moments, usual.averages), (2 * usual.gradients, 0));
    let plain = Sgd { momentum: 0.0, ..Sgd::default() };
    assert_eq!(look_at(Fit { optimizer: OptimizerConfig::Sgd(plain), ..ragged(1) }).moments, 0);
    let averaged = look_at(Fit { averaging: Some(Averaging::ema(0.9)), ..ragged(1) });
    assert_eq!(averaged.averages, averaged.gradients);
}

#[test]
fn regularisers_are_foretold() {
    use rekindle::train::{L2Sp, Regularisation};
    let rows = rows(24);
    let look_at = |regularisation| look(&Freeze::Nothing, &rows, &[], &Fit { regularisation, ..ragged(1) }).memory;
    let none = look_at(Regularisation::default());
    let held = look_at(Regularisation { l2_sp: Some(L2Sp::new(0.1)), ..Regularisation::default() });
    assert_eq!((none.start_weights, held.start_weights), (0, held.gradients));
    look_at(Regularisation { mixout: Some(0.5), r_drop: Some(1.0), ..Regularisation::default() });
}

#[test]
fn batches_are_those_of_the_first_epoch() {
    let rows = rows(45);
    let lengths: Vec<usize> = rows.iter().map(|row| row.row.len()).collect();
    for bucket in [true, false] {
        let config = Fit { bucket, ..ragged(1) };
        let batches = look(&Freeze::Nothing, &rows, &[], &config).batches;
        let order = BatchOrder { batch_size: 8, max_tokens: None, seed: 5, shuffle: true, bucket };
        let cells = order.batches(&lengths, 0).into_iter();
        let cells: Vec<usize> =
            cells.map(|batch| batch.len() * batch.iter().map(|row| lengths[*row]).max().unwrap()).collect();
        assert_eq!((batches.count, batches.tokens), (cells.len(), lengths.iter().sum()));
        assert_eq!((batches.padded_tokens, batches.largest), (cells.iter().sum(), *cells.iter().max().unwrap()));
        assert_eq!(batches.padding_share(), 1.0 - batches.tokens as f64 / batches.padded_tokens as f64);
    }
}

#[test]
fn matrix_products_are_counted_by_the_formula() {
    let rows = equal_rows(16);
    let config = Fit { cache: Cache::None, ..ragged(1) };
    let (tokens, hidden, inner, classes, seq) = (16.0 * 5.0, 32.0, 64.0, 4.0, 5.0);
    let layer = 4.0 * hidden * hidden + 2.0 * hidden * inner;
    let mixing = 4.0 * seq * seq * hidden * 16.0;
    let head = hidden * classes * 16.0;
    let of = |freeze: &Freeze, config: &Fit| look(freeze, &rows, &[], config).operations;
    let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
    near(of(&Freeze::Nothing, &config).epoch, 2.0 * 3.0 * (2.0 * layer * tokens + mixing) + 6.0 * head);
    near(of(&Freeze::Backbone, &config).epoch, 2.0 * (2.0 * layer * tokens + mixing) + 4.0 * head);
    let top = Freeze::Bottom(2);
    near(of(&top, &config).epoch, 4.0 * (2.0 * layer * tokens + mixing) + 6.0 * head);
    let cached = of(&top, &ragged(1));
    near(cached.epoch, 3.0 * (2.0 * layer * tokens + mixing) + 6.0 * head);
    near(cached.cache, 2.0 * layer * tokens + mixing);
    near(cached.step, cached.epoch / 2.0);
}

#[test]
fn parts_follow_the_plan_and_the_options() {
    let all = rows(48);
    let (rows, validation) = all.split_at(40);
    let head = 4 * (32 * 4 + 4);
    let memory = look(&Freeze::Backbone, rows, validation, &ragged(1)).memory;
    assert_eq!((memory.gradients, memory.moments, memory.best_weights, memory.saving), (head, 2 * head, head, 0));
    assert!(memory.cache > 0);
    let folder = temporary();
    let config = Fit { folder: Some(folder.path().into()), cache: Cache::None, ..ragged(1) };
    let memory = look(&Freeze::Backbone, rows, &[], &config).memory;
    assert_eq!((memory.best_weights, memory.cache, memory.saving), (0, 0, memory.weights));
    let config = Fit { save_every: Some(SaveEvery::Steps(1)), ..config };
    let frozen = look(&Freeze::Backbone, rows, &[], &config).memory;
    assert_eq!((memory.checkpoint, frozen.checkpoint, frozen.saving), (0, 3 * head, memory.weights));
    assert_eq!(look(&Freeze::Nothing, rows, &[], &config).memory.checkpoint, 3 * memory.weights);
    let thawed = look(&Freeze::Gradual { epochs: 1 }, rows, &[], &ragged(1));
    assert_eq!(thawed.widest_epoch, 3);
    assert_eq!(thawed.trainable_values, look(&Freeze::Bottom(1), rows, &[], &ragged(1)).trainable_values);
    let lines = masked_lm(2, rekindle::backbone::Pooling::Mean);
    let token_rows = token_rows(40);
    let data = Data { train: &token_rows, validation: &[] };
    let masked = forecast(&lines, &masking(), data, &Freeze::Bottom(1), &ragged(1)).unwrap();
    assert_eq!((masked.memory.cache, masked.data.classes.is_none()), (0, true));
}

#[test]
fn oddities_of_the_data_are_counted_and_named() {
    let all = rows(64);
    let mut train = all[..40].to_vec();
    train.iter_mut().for_each(|row| row.label = row.label.map(|label| label % 3));
    train.push(train[3].clone());
    train.push(LabelledRow { label: Some(3 - train[5].label.unwrap()), ..train[5].clone() });
    train[9].label = None;
    train[7].row.truncated = true;
    let validation = vec![train[2].clone(), all[60].clone(), LabelledRow { label: None, ..train[8].clone() }];
    // Texts repeat by themselves too; what is planted comes on top.
    let key = |row: &TokenRow| (row.ids.clone(), row.type_ids.clone());
    let mut seen = std::collections::HashMap::new();
    let mut copies = vec![];
    for (index, row) in train.iter().enumerate() {
        match seen.get(&key(&row.row)) {
            Some(first) => copies.push((*first, index)),
            None => drop(seen.insert(key(&row.row), index)),
        }
    }
    let leaks: Vec<(usize, usize)> =
        validation.iter().enumerate().filter_map(|(index, row)| Some((*seen.get(&key(&row.row))?, index))).collect();

    let look = look(&Freeze::Nothing, &train, &validation, &ragged(1));
    let data = &look.data;
    assert_eq!((data.train.unanswered, data.train.first_unanswered.as_slice()), (1, [9].as_slice()));
    assert_eq!((data.validation.unanswered, data.train.truncated, data.positions), (1, Some(1), Some(32)));
    let duplicates = data.duplicates.as_ref().unwrap();
    assert_eq!(duplicates.count, copies.len());
    assert_eq!(duplicates.first, copies[..copies.len().min(5)]);
    assert!(copies.contains(&(seen[&key(&train[5].row)], 41)) && duplicates.conflicting > 0);
    let found = data.leaks.as_ref().unwrap();
    assert_eq!((found.count, &found.first), (leaks.len(), &leaks));
    assert_eq!(copies_between(&task(), &train, &validation).as_ref(), Some(found));
    assert!(leaks.len() >= 2 && found.first_conflicting.iter().all(|pair| pair.1 != 2), "{found:?}");
    let classes = data.classes.as_ref().unwrap();
    assert_eq!(classes.counts.iter().sum::<usize>(), 41);
    let counted = |class| train.iter().filter(|row| row.label == Some(class)).count();
    assert_eq!(classes.counts, [0, 1, 2, 3].map(counted));
    let text = look.to_string();
    for part in ["without an answer: 1 (9)", "1 cut off", "in validation and in training: ", "of 32 positions"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = serde_json::to_string(&look).unwrap();
    assert_eq!(serde_json::from_str::<Forecast>(&json).unwrap(), look);
}

#[test]
fn a_class_without_examples_is_named() {
    let mut train = rows(40);
    train.iter_mut().for_each(|row| row.label = row.label.map(|label| label.min(1)));
    let look = look(&Freeze::Backbone, &train, &[], &ragged(1));
    let classes = look.data.classes.as_ref().unwrap();
    assert_eq!((classes.absent(), classes.most_frequent()), (vec![2, 3], Some(1)));
    assert!(look.to_string().contains("classes without a training example: 2 ("), "{look}");
}

/// Says nothing about its examples but how to make batches of them.
struct Terse(TextClassification);

impl Objective for Terse {
    type Example = LabelledRow;
    type Input = <TextClassification as Objective>::Input;
    type Targets = <TextClassification as Objective>::Targets;
    fn batch(
        &self,
        examples: &[&LabelledRow],
        draws: &Draws,
        device: &burn::tensor::Device,
    ) -> Result<Batch<Self::Input, Self::Targets>, rekindle::data::DataError> {
        self.0.batch(examples, draws, device)
    }
}

#[test]
fn objectives_that_say_nothing_are_foretold_too() {
    let rows = rows(20);
    let data = Data { train: &rows, validation: &rows };
    let look = forecast(&classifier(1, 0.0), &Terse(task()), data, &Freeze::Nothing, &ragged(1)).unwrap();
    assert_eq!((look.data.duplicates, look.data.leaks, look.data.classes), (None, None, None));
    assert_eq!((look.data.train.truncated, look.batches.tokens), (None, 20));
    assert!(look.time.run > 0.0);
}

#[test]
fn what_would_stop_the_run_stops_the_look() {
    let (model, rows) = (classifier(1, 0.0), rows(8));
    let data = Data { train: rows.as_slice(), validation: &[] };
    let none = Data { train: &rows[..0], validation: &[] };
    let error = forecast(&model, &task(), none, &Freeze::Nothing, &ragged(1)).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::NoData { set: "training" })), "{error}");
    let error = forecast(&model, &task(), data, &Freeze::Bottom(9), &ragged(1)).unwrap_err();
    assert!(matches!(error, Error::Freeze(FreezeError::TooDeep { .. })), "{error}");
    let error = forecast(&model, &task(), data, &Freeze::Nothing, &Fit { batch_size: 0, ..ragged(1) }).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::BadOption { option: "batch_size", .. })), "{error}");
    let nan = plant(classifier(1, 0.0), "head.linear.weight", f32::NAN);
    let error = forecast(&nan, &task(), data, &Freeze::Nothing, &ragged(1)).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::LossNotFinite { step: 1, .. })), "{error}");
    let mut unlabelled = rows.clone();
    unlabelled.iter_mut().for_each(|row| row.label = None);
    let data = Data { train: unlabelled.as_slice(), validation: &[] };
    let error = forecast(&model, &task(), data, &Freeze::Nothing, &ragged(1)).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::NoData { .. })), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn coupled_rows_stay_in_one_batch() {
    let config = config(1, 0.0);
    let backbone = rekindle::backbone::Bert::new(&config, rekindle::backbone::Pooling::Pooler, 7, &device());
    let model = Model::new(backbone, Pretraining::new(&config, 7, &device()));
    let rows = token_rows(16);
    let data = Data { train: rows.as_slice(), validation: &[] };
    let both = super::run_faults::Both(masking());
    let choose = |budget| batch_size_for(&model, &both, data, &Freeze::Nothing, &ragged(1), Some(budget));
    assert_eq!(choose(usize::MAX).unwrap().batch_size, 8);
    assert!(matches!(choose(4096), Err(Error::Train(TrainError::DoesNotFit { batch_size: 8, .. }))));
}

#[test]
fn the_search_finds_a_rate_that_learns() {
    let (model, rows) = (classifier(2, 0.1), rows(64));
    let config = ragged(1);
    let found = LrFinder::default().search(&model, &task(), &rows, &Freeze::Nothing, &config).unwrap();
    let rates: Vec<f64> = found.points.iter().map(|point| point.lr).collect();
    assert!(rates.is_sorted() && rates[0] == 1e-7 && found.points.len() > 50);
    assert!(matches!(found.stop, LrStop::Diverged | LrStop::Finished), "{found}");
    let lr = found.suggestion().unwrap();
    assert!(lr > 1e-5 && lr < 1.0, "{found}");
    let again = LrFinder::default().search(&model, &task(), &rows, &Freeze::Nothing, &config).unwrap();
    assert_eq!(again, found);
    let config = Fit { rates: rekindle::params::Rates::new(lr), epochs: 10, ..config };
    let data = Data { train: rows.as_slice(), validation: &[] };
    let report = fit(&mut classifier(2, 0.1), &task(), data, &Freeze::Nothing, &config, &mut []).unwrap();
    assert!(report.losses.last().unwrap() < &(0.8 * report.losses[0]), "{lr}: {:?}", report.losses);
    let folder = temporary();
    found.chart().save(folder.path().join("lr.svg")).unwrap();
    assert!(std::fs::read_to_string(folder.path().join("lr.svg")).unwrap().contains("valley"));
    assert_eq!(
        serde_json::from_str::<rekindle::train::LrCurve>(&serde_json::to_string(&found).unwrap()).unwrap(),
        found
    );
}

#[test]
fn the_search_steps_as_a_run_does() {
    let (model, rows) = (classifier(2, 0.1), rows(24));
    // A run at one rate, which the search stands at for two steps and a hair.
    for (freeze, accumulation) in [(Freeze::Nothing, 1), (Freeze::Backbone, 2), (Freeze::Bottom(2), 1)] {
        let config = Fit { accumulation, max_steps: Some(4), ..ragged(4) };
        let finder = LrFinder { start: 1e-3, end: 1e-3 * (1.0 + 1e-12), steps: 4, ..LrFinder::default() };
        let found = finder.search(&model, &task(), &rows, &freeze, &config).unwrap();
        let data = Data { train: rows.as_slice(), validation: &[] };
        let config = Fit { cache: Cache::None, ..config };
        let report = fit(&mut classifier(2, 0.1), &task(), data, &freeze, &config, &mut []).unwrap();
        let losses: Vec<f64> = found.points.iter().map(|point| point.loss).collect();
        assert_eq!(losses[..2], report.losses[..2], "{freeze:?}");
        let close = losses.iter().zip(&report.losses).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close, "{losses:?} {:?}", report.losses);
    }
}

#[test]
fn a_nan_ends_the_search_and_nothing_else() {
    let (model, rows) = (classifier(1, 0.0), rows(24));
    let wild = LrFinder { end: 1e38, stop_ratio: 1e300, ..LrFinder::default() };
    let found = wild.search(&model, &task(), &rows, &Freeze::Nothing, &ragged(1)).unwrap();
    assert_eq!(found.stop, LrStop::NotFinite, "{found}");
    assert!(found.points.iter().all(|point| point.smoothed.is_finite()) && found.suggestion().is_some());
    found.chart().svg().unwrap();
    let nan = plant(classifier(1, 0.0), "head.linear.weight", f32::NAN);
    let error = LrFinder::default().search(&nan, &task(), &rows, &Freeze::Nothing, &ragged(1)).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::LossNotFinite { .. })), "{error}");
}

#[test]
fn searches_that_mean_nothing_are_refused() {
    let (model, rows) = (classifier(1, 0.0), rows(8));
    let usual = LrFinder::default();
    for finder in [
        LrFinder { start: 0.0, ..usual },
        LrFinder { start: f64::NAN, ..usual },
        LrFinder { end: 1e-8, ..usual },
        LrFinder { end: f64::INFINITY, ..usual },
        LrFinder { steps: 1, ..usual },
        LrFinder { smoothing: 1.0, ..usual },
        LrFinder { stop_ratio: 1.0, ..usual },
    ] {
        let error = finder.search(&model, &task(), &rows, &Freeze::Nothing, &ragged(1)).unwrap_err();
        assert!(matches!(error, Error::Train(TrainError::BadOption { .. })), "{finder:?}: {error}");
    }
    let error = usual.search(&model, &task(), &[], &Freeze::Nothing, &ragged(1)).unwrap_err();
    assert!(matches!(error, Error::Train(TrainError::NoData { .. })), "{error}");
}
