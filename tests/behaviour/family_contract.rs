//! Freezing, rates by layer, cached prefixes and going on: what is promised holds for every family of networks.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::ModuleDisplay;
use rekindle::backbone::Backbone;
use rekindle::cache::Cache;
use rekindle::head::TaskHead;
use rekindle::objective::Objective;
use rekindle::optim::Sgd;
use rekindle::params::{Freeze, Inventory, Progress, Rates, TrainPlan};
use rekindle::train::{Fit, Keep, SaveEvery, StopReason};

use super::families::*;
use super::resume::{Watch, same};
use super::support::*;

fn decaying(steps: usize) -> Fit {
    Fit { rates: Rates { weight_decay: 0.1, ..Rates::new(1e-3) }, ..fit_config(steps, 1e-3) }
}

/// The backbone's stages that each policy freezes, counted from the lowest.
fn frozen_stages(policy: &Freeze, stages: usize) -> usize {
    match policy {
        Freeze::Bottom(count) => *count,
        Freeze::Backbone => stages,
        _ => 0,
    }
}

fn freezes<B, H, O>(family: &Family<B, H, O>)
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let before = (family.fresh)();
    let inventory = Inventory::of(&before).unwrap();
    for policy in [Freeze::Backbone, Freeze::Bottom(1), Freeze::Bottom(3), Freeze::Nothing] {
        let count = frozen_stages(&policy, inventory.stages.len());
        let (report, after) = family.run(&policy, &decaying(20));
        let (before, after) = (bits(&before), bits(&after));
        let mut held = report.optimizer_parameters.clone();
        for entry in inventory.entries.iter().filter(|entry| entry.is_float) {
            let (path, frozen) = (&entry.path, entry.stage.is_some_and(|stage| stage < count));
            assert_eq!(before[path] == after[path], frozen, "{} {policy:?}: {path}", family.name);
            assert_eq!(held.contains(path), !frozen, "{} {policy:?}: {path}", family.name);
            held.retain(|other| other != path);
        }
        assert!(held.is_empty(), "{}: {held:?}", family.name);
        assert!(report.plain[..count].iter().all(|plain| *plain), "{}: {:?}", family.name, report.plain);
    }
}

#[test]
fn frozen_parameters_keep_every_byte_and_own_no_moments() {
    each_family!(freezes);
}

/// How far a parameter moved.
fn moves(before: &BTreeMap<String, Vec<f32>>, after: &BTreeMap<String, Vec<f32>>) -> BTreeMap<String, f64> {
    let moved = |path: &String| {
        let pairs = before[path].iter().zip(&after[path]);
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    before.keys().map(|path| (path.clone(), moved(path))).collect()
}

fn layers_decay<B, H, O>(family: &Family<B, H, O>, depths: &[(&str, i32)])
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let inventory = Inventory::of(&(family.fresh)()).unwrap();
    let mut config = Fit { optimizer: Sgd::default().into(), clip_norm: None, ..fit_config(1, 0.25) };
    config.rates.weight_decay = 0.0;
    let start = weights(&(family.fresh)());
    let even = moves(&start, &weights(&family.run(&Freeze::Nothing, &config).1));
    config.rates.layer_decay = Some(0.5);
    let layered = moves(&start, &weights(&family.run(&Freeze::Nothing, &config).1));
    let plan = TrainPlan::new(&inventory, &Freeze::Nothing, &config.rates, Progress::default()).unwrap();

    // The first part of a path that is named here says how far below the head it is.
    let largest = even.values().fold(0.0_f64, |largest, moved| largest.max(*moved));
    for row in &plan.rows {
        let path = &inventory.entries[row.entry].path;
        let mut named = depths.iter().filter(|(part, _)| path.contains(part));
        let (_, depth) = named.next().unwrap_or_else(|| panic!("{}: {path} has no depth here", family.name));
        let expected = 0.5_f64.powi(*depth);
        assert_eq!(row.lr, 0.25 * expected, "{}: {path}", family.name);
        if even[path] > 1e-4 * largest {
            let ratio = layered[path] / even[path];
            assert!((ratio / expected - 1.0).abs() < 1e-2, "{}: {path} moved {ratio} of {expected}", family.name);
        }
    }
}

#[test]
fn a_layer_below_the_head_has_the_decayed_rate_of_its_depth() {
    let plain = [("head.", 0), ("layer.2.", 1), ("layer.1.", 2), ("layer.0.", 3), ("embeddings.", 4)];
    layers_decay(&encoder(), &plain);
    layers_decay(&vision(), &[("head.", 0), ("layernorm.", 0), ("layer.1.", 1), ("layer.0.", 2), ("embeddings.", 3)]);
    let decoder_layers = [("layers.2.", 1), ("layers.1.", 2), ("layers.0.", 3), ("embed_tokens.", 4)];
    layers_decay(&decoder(), &[[("head.", 0), ("backbone.norm.", 0)].as_slice(), &decoder_layers].concat());
    // The decoder reads the encoder; both read the embeddings.
    let of_decoder = [
        ("head.", 0),
        ("decoder.block.1.", 1),
        ("decoder.ends.last", 1),
        ("decoder.ends.positions", 2),
        ("decoder.block.0.", 2),
    ];
    let of_encoder = [
        ("encoder.block.1.", 3),
        ("encoder.ends.last", 3),
        ("encoder.ends.positions", 4),
        ("encoder.block.0.", 4),
        ("shared.", 6),
    ];
    layers_decay(&encoder_decoder(), &[of_decoder, of_encoder].concat());
}

fn caches<B, H, O>(family: &Family<B, H, O>)
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let folder = temporary();
    for policy in [Freeze::Backbone, Freeze::Bottom(1), Freeze::Bottom(2), Freeze::Gradual { epochs: 1 }] {
        let run = |cache| family.run(&policy, &Fit { cache, ..fit_config(12, 1e-2) });
        let (expected, without) = run(Cache::None);
        assert_eq!(expected.cache.rows, 0);
        for cache in [Cache::memory(), Cache::folder(folder.path()), Cache::folder(folder.path()).with_memory(0)] {
            let (report, with) = run(cache);
            let kept = report.cache.rows > 0 || matches!(policy, Freeze::Gradual { .. });
            assert!(kept, "{} {policy:?}", family.name);
            assert_eq!((report.cache.damaged, &report.cache.write_error), (0, &None));
            assert_eq!(report.losses, expected.losses, "{} {policy:?}", family.name);
            assert_eq!(report.evaluations, expected.evaluations, "{} {policy:?}", family.name);
            assert!(bits(&with) == bits(&without), "{} {policy:?}", family.name);
        }
    }
}

#[test]
fn a_cached_prefix_changes_no_bit() {
    each_family!(caches);
}

/// What the newest checkpoint holds of weights and moments, and the history.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let newest = std::fs::read_dir(folder.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).max();
    let newest = newest.unwrap();
    let of_checkpoint = ["weights.safetensors", "moments.safetensors", "steps.bin"].map(|name| newest.join(name));
    let all = of_checkpoint.into_iter().chain([folder.join("history.jsonl")]);
    all.map(|path| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).collect()
}

fn goes_on<B, H, O>(family: &Family<B, H, O>)
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let config = |folder: &Path| Fit {
        accumulation: 2,
        eval_every: Some(2),
        keep: Keep::Last,
        save_every: Some(SaveEvery::Steps(1)),
        folder: Some(folder.into()),
        ..decaying(6)
    };
    for (policy, gradient_checkpointing) in
        [(Freeze::Nothing, false), (Freeze::Bottom(2), false), (Freeze::Gradual { epochs: 1 }, true)]
    {
        let config = |folder: &Path| Fit { gradient_checkpointing, ..config(folder) };
        let whole_folder = temporary();
        let (expected, whole) = family.run(&policy, &config(whole_folder.path()));
        for stop_after in [1, 3, 4] {
            let folder = temporary();
            let mut watch = Watch { stop_after: Some(stop_after), ..Watch::default() };
            let first = family.fit(&mut (family.fresh)(), &policy, &config(folder.path()), &mut [&mut watch]).unwrap();
            assert_eq!((first.steps, first.stop), (stop_after, StopReason::Observer));
            let (report, resumed) = family.run(&policy, &Fit { resume: true, ..config(folder.path()) });
            same(&report, &expected);
            assert!(bits(&resumed) == bits(&whole), "{} {policy:?} stopped after {stop_after}", family.name);
            assert!(
                files(folder.path()) == files(whole_folder.path()),
                "{} {policy:?}: moments or history",
                family.name
            );
        }
    }
}

#[test]
fn stopped_and_resumed_it_has_the_same_weights_moments_and_history() {
    each_family!(goes_on);
}
