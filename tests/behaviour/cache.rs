//! What frozen stages make of an example is computed once, found again by content, and changes no number.

use std::path::Path;

use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, BertConfig, Pooling};
use rekindle::cache::{Cache, CacheDtype, CachePlan, NoCache, clear, list};
use rekindle::data::pad_rows;
use rekindle::head::Classifier;
use rekindle::objective::{LabelledRow, text_input};
use rekindle::params::{Freeze, Inventory, Progress, Rates, TrainPlan};
use rekindle::rows::RowsExt;
use rekindle::train::{
    Control, Data, Evaluate, Event, Fit, Observer, ObserverError, Report, SaveEvery, evaluate, evaluate_cached, fit,
};

use super::support::*;

pub(super) fn in_folder(folder: &Path) -> Fit {
    Fit { cache: Cache::folder(folder), bucket: true, ..fit_config(12, 1e-3) }
}

/// Three layers; 40 rows to train on, 16 to validate, of different lengths.
pub(super) fn run(policy: &Freeze, config: &Fit) -> (Report, Model<Bert, Classifier>) {
    run_on(classifier(3, 0.1), &rows(56), policy, config)
}

fn run_on(
    mut model: Model<Bert, Classifier>,
    rows: &[LabelledRow],
    policy: &Freeze,
    config: &Fit,
) -> (Report, Model<Bert, Classifier>) {
    let (train, validation) = rows.split_at(rows.len() - 16);
    let report = fit(&mut model, &task(), Data { train, validation }, policy, config, &mut []).unwrap();
    (report, model)
}

/// Asserts that two runs are one to the bit.
pub(super) fn same(a: &(Report, Model<Bert, Classifier>), b: &(Report, Model<Bert, Classifier>)) {
    assert_eq!((&a.0.losses, &a.0.evaluations), (&b.0.losses, &b.0.evaluations));
    assert!(bits(&a.1) == bits(&b.1));
}

/// How many of the rows of [`run`] have an input of their own.
pub(super) fn distinct() -> usize {
    let inputs =
        |rows: &[LabelledRow]| rows.iter().map(|row| row.row.ids.clone()).collect::<std::collections::BTreeSet<_>>();
    let rows = rows(56);
    inputs(&rows[..40]).len() + inputs(&rows[40..]).difference(&inputs(&rows[..40])).count()
}

#[test]
fn wherever_states_are_kept_the_numbers_are_those_without() {
    for policy in [Freeze::Backbone, Freeze::Bottom(1), Freeze::Bottom(2), Freeze::Gradual { epochs: 1 }] {
        let folder = temporary();
        let config = in_folder(folder.path());
        let without = run(&policy, &Fit { cache: Cache::None, ..config.clone() });
        for (name, cache) in [
            ("memory", Cache::memory()),
            ("written", config.cache.clone()),
            ("read from memory", config.cache.clone()),
            ("read from files", config.cache.clone().with_memory(0)),
            ("some of each", config.cache.clone().with_memory(20_000)),
        ] {
            let with = run(&policy, &Fit { cache, ..config.clone() });
            same(&with, &without);
            let report = &with.0.cache;
            assert_eq!((report.damaged, &report.write_error), (0, &None), "{policy:?} {name}");
            assert_eq!(report.disk_bytes > 0, name != "memory", "{policy:?} {name}");
            assert_eq!(report.misses > 0, name == "memory" || name == "written", "{policy:?} {name} {report:?}");
        }
    }
}

#[test]
fn another_run_computes_no_prefix() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let first = run(&Freeze::Backbone, &config).0.cache;
    assert_eq!((first.rows, first.misses, first.hits), (56, distinct(), 56 - distinct()));
    assert!(first.memory_bytes > 0 && first.disk_bytes > first.memory_bytes && first.unused.is_none());
    let mut all_found = first.clone();
    (all_found.hits, all_found.misses) = (56, 0);
    let others = [
        Fit { seed: 6, ..config.clone() },
        Fit { batch_size: 3, accumulation: 2, ..config.clone() },
        Fit { rates: Rates::new(1e-2), bucket: false, ..config.clone() },
    ];
    for other in others {
        assert_eq!(run(&Freeze::Backbone, &other).0.cache, all_found);
    }
    // Another head, other labels, another order and another split.
    let mut rows = rows(56);
    rows.reverse();
    rows.iter_mut().for_each(|row| row.label = Some(0));
    let model = Model::new(classifier(3, 0.1).backbone, Classifier::new(32, 4, 99, &device()));
    assert_eq!(run_on(model, &rows, &Freeze::Backbone, &config).0.cache, all_found);
    let fewer = run_on(classifier(3, 0.1), &rows[10..30], &Freeze::Backbone, &config).0.cache;
    assert_eq!((fewer.rows, fewer.misses), (20, 0));
}

#[test]
fn what_changes_a_state_is_a_miss() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let rows = rows(56);
    let misses =
        |model, rows: &[LabelledRow], policy: &Freeze, config: &Fit| run_on(model, rows, policy, config).0.cache.misses;
    let fresh = || classifier(3, 0.1);
    let all = distinct();
    assert_eq!(misses(fresh(), &rows, &Freeze::Bottom(2), &config), all);
    assert_eq!(misses(fresh(), &rows, &Freeze::Bottom(2), &config), 0);
    for path in ["backbone.embeddings.norm.bias", "backbone.encoder.layer.0.output.weight"] {
        assert_eq!(misses(plant(fresh(), path, 0.25), &rows, &Freeze::Bottom(2), &config), all, "{path}");
    }
    // Above the frozen stages, weights are free to change.
    for path in ["backbone.encoder.layer.1.output.weight", "head.linear.bias"] {
        assert_eq!(misses(plant(fresh(), path, 0.25), &rows, &Freeze::Bottom(2), &config), 0, "{path}");
    }
    for count in [1, 3, 4] {
        assert_eq!(misses(fresh(), &rows, &Freeze::Bottom(count), &config), all, "{count}");
    }
    let bf16 = Fit { cache: config.cache.clone().with_dtype(CacheDtype::Bf16), ..config.clone() };
    assert_eq!(misses(fresh(), &rows, &Freeze::Bottom(2), &bf16), all);
    for (what, change) in [("eps", ("layer_norm_eps", 1e-5.into())), ("GELU", ("hidden_act", "gelu_new".into()))] {
        let mut settings = serde_json::to_value(super::support::config(3, 0.1)).unwrap();
        settings[change.0] = change.1;
        let settings: BertConfig = serde_json::from_value(settings).unwrap();
        let model = Model::new(Bert::new(&settings, Pooling::Mean, 7, &device()), fresh().head);
        assert_eq!(misses(model, &rows, &Freeze::Bottom(2), &config), all, "{what}");
    }
    let mut other = rows.clone();
    let unseen = other[0].row.ids.len() - 2;
    other[0].row.ids[unseen] = 5;
    other[3].row.type_ids[1] = 1;
    assert_eq!(misses(fresh(), &other, &Freeze::Bottom(2), &config), 2);
}

#[test]
fn bf16_takes_half_the_room_and_rounds_to_nearest() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let exact = run(&Freeze::Backbone, &config);
    let cache = config.cache.clone().with_dtype(CacheDtype::Bf16);
    let first = run(&Freeze::Backbone, &Fit { cache: cache.clone(), ..config.clone() });
    // What is computed is rounded like what is read.
    let memory = Cache::memory().with_dtype(CacheDtype::Bf16);
    for cache in [cache.clone(), cache.with_memory(0), memory] {
        same(&run(&Freeze::Backbone, &Fit { cache, ..config.clone() }), &first);
    }
    let ratio = first.0.cache.memory_bytes as f64 / exact.0.cache.memory_bytes as f64;
    assert!((0.5..0.51).contains(&ratio), "{ratio}");
    let apart = exact.0.losses.iter().zip(&first.0.losses).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart > 0.0 && apart < 2e-3, "{apart}");
}

#[test]
fn a_state_does_not_depend_on_padding_or_company() {
    for (hidden, heads, inner) in [(32, 2, 64), (64, 4, 600), (384, 12, 1536)] {
        let config = BertConfig {
            vocab_size: 150,
            hidden_size: hidden,
            num_hidden_layers: 2,
            num_attention_heads: heads,
            intermediate_size: inner,
            ..BertConfig::default()
        };
        let bert = Bert::new(&config, Pooling::Pooler, 7, &device());
        let states = |rows: &[&LabelledRow]| {
            let rows: Vec<_> = rows.iter().map(|row| &row.row).collect();
            let state = bert.embed(text_input(pad_rows(&rows, 0), &device()));
            (1..bert.stages().len()).fold(state, |state, stage| bert.stage(stage, state)).encode()
        };
        let rows = rows(24);
        let together = states(&rows.iter().collect::<Vec<_>>());
        for (row, state) in rows.iter().zip(&together) {
            assert!(states(&[row])[0] == *state, "{hidden}: alone");
            assert!(states(&[row, &rows[3], &rows[1]])[0] == *state, "{hidden}: with two others");
        }
    }
}

#[test]
fn a_test_set_is_kept_too() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let (report, model) = run(&Freeze::Bottom(2), &config);
    assert_eq!(report.plain, [true, true, false, false]);
    let test: Vec<_> = rows(120).split_off(56);
    let how = Evaluate { batch_size: 8, max_tokens: None, seed: 1, cache: &config.cache, plain: &report.plain };
    let computed = evaluate(&model, &task(), &test, 8, 1).unwrap().summary();
    for found in [false, true] {
        let (scores, cache) = evaluate_cached(&model, &task(), &test, &how).unwrap();
        assert_eq!(scores.summary(), computed);
        assert_eq!((cache.rows, cache.misses == 0), (64, found), "{cache:?}");
    }
    let memory = Evaluate { cache: &Cache::memory(), ..how.clone() };
    let (scores, cache) = evaluate_cached(&model, &task(), &test, &memory).unwrap();
    assert_eq!((scores.summary(), cache.unused), (computed, Some(NoCache::ReadOnce)));
    let wrong = evaluate_cached(&model, &task(), &test, &Evaluate { plain: &[true], ..how }).unwrap_err();
    assert!(wrong.to_string().contains("one answer for each stage"), "{wrong}");
}

/// Notes what is said about the cache; stops after a step.
#[derive(Default)]
struct Said {
    lines: Vec<String>,
    stop_after: Option<usize>,
}

impl Observer for Said {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Cache(plan) => self.lines.push(plan.to_string()),
            Event::Step(info) if Some(info.step) == self.stop_after => return Ok(Control::Stop),
            _ => {}
        }
        Ok(Control::Continue)
    }
}

#[test]
fn the_plan_says_whether_states_are_kept_and_why_not() {
    let folder = temporary();
    let config = in_folder(folder.path());
    let said = |policy: &Freeze, config: &Fit| {
        let (rows, mut said) = (rows(40), Said::default());
        let data = Data { train: &rows, validation: &[] };
        let report = fit(&mut classifier(3, 0.1), &task(), data, policy, config, &mut [&mut said]).unwrap();
        (said.lines.join("; "), report.cache.unused)
    };
    let with = |cache| Fit { cache, ..config.clone() };
    let (line, unused) = said(&Freeze::Bottom(2), &config);
    assert_eq!(unused, None);
    assert_eq!(
        line,
        format!("cache: stages 0 to 1 are computed once per example, kept in {}", folder.path().display())
    );
    assert_eq!(
        said(&Freeze::Bottom(1), &with(Cache::memory())).0,
        "cache: stage 0 is computed once per example, kept in memory"
    );
    assert_eq!(said(&Freeze::Nothing, &config).1, Some(NoCache::NothingPlain));
    assert_eq!(
        said(&Freeze::Backbone, &with(Cache::None)),
        ("no cache: it is switched off".into(), Some(NoCache::Off))
    );
    let once = Fit { max_steps: Some(5), ..with(Cache::memory()) };
    assert_eq!(said(&Freeze::Backbone, &once).1, Some(NoCache::ReadOnce));
    let (lines, unused) = said(&Freeze::Backbone, &with(Cache::memory().with_memory(1000)));
    assert!(matches!(unused, Some(NoCache::TooLarge { budget: 1000, bytes }) if bytes > 20_000), "{unused:?}");
    assert!(lines.contains("computed once") && lines.contains("no cache: states need about"), "{lines}");

    let (mut model, rows, mut said) = (masked_lm(2, Pooling::Mean), token_rows(32), Said::default());
    let data = Data { train: &rows, validation: &[] };
    let report = fit(&mut model, &masking(), data, &Freeze::Backbone, &config, &mut [&mut said]).unwrap();
    assert_eq!(report.cache.unused, Some(NoCache::InputChanges));
    assert_eq!(said.lines, ["no cache: the objective makes another input of an example each time"]);

    let inventory = Inventory::of(&model).unwrap();
    let plan = TrainPlan::new(&inventory, &Freeze::Bottom(1), &Rates::new(1e-3), Progress::default()).unwrap();
    assert_eq!(CachePlan::new(&plan, false, &config.cache), CachePlan::Unused(NoCache::InputChanges));
    assert!(matches!(CachePlan::new(&plan, true, &config.cache), CachePlan::Kept { .. }));
}

#[test]
fn a_run_goes_on_to_the_same_bits_whatever_its_cache() {
    for policy in [Freeze::Backbone, Freeze::Gradual { epochs: 1 }] {
        let (rows, expected_folder, states) = (rows(56), temporary(), temporary());
        let config = |folder: &Path, cache| Fit {
            cache,
            folder: Some(folder.into()),
            save_every: Some(SaveEvery::Steps(1)),
            resume: true,
            ..fit_config(12, 1e-3)
        };
        let run = |folder: &Path, cache, stop_after| {
            let (mut model, mut said) = (classifier(3, 0.1), Said { stop_after, ..Said::default() });
            let data = Data { train: &rows[..40], validation: &rows[40..] };
            let report = fit(&mut model, &task(), data, &policy, &config(folder, cache), &mut [&mut said]).unwrap();
            (report, model)
        };
        let expected = run(expected_folder.path(), Cache::None, None);
        for stop_after in [1, 5, 7] {
            let folder = temporary();
            let cache = Cache::folder(states.path());
            run(folder.path(), cache.clone(), Some(stop_after));
            run(folder.path(), Cache::memory(), Some(stop_after + 2));
            same(&run(folder.path(), cache.with_memory(0), None), &expected);
        }
    }
}

#[test]
fn a_folder_is_listed_and_cleared_and_nothing_else_is() {
    let folder = temporary();
    let config = in_folder(folder.path());
    run(&Freeze::Backbone, &config);
    run(&Freeze::Bottom(1), &config);
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let all = list(folder.path()).unwrap();
    assert_eq!(all.len(), 2);
    let size = all.iter().map(|prefix| prefix.bytes).sum::<u64>();
    let abouts: Vec<&str> = all.iter().map(|prefix| prefix.about.as_str()).collect();
    assert!(abouts.contains(&"embeddings of Bert, F32") && size > 100_000, "{all:?}");
    assert_eq!(clear(folder.path()).unwrap(), size);
    assert_eq!(list(folder.path()).unwrap(), []);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(run(&Freeze::Backbone, &config).0.cache.misses > 0);
    assert!(list(folder.path().join("none")).unwrap_err().to_string().contains("cannot read the folder"));
}

#[test]
fn names_of_caches() {
    assert_eq!("none".parse(), Ok(Cache::None));
    assert_eq!("memory".parse(), Ok(Cache::memory()));
    assert_eq!("some/folder".parse(), Ok(Cache::folder("some/folder")));
    assert!("".parse::<Cache>().is_err());
}
