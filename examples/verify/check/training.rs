//! Training runs, through the crate's own `fit`.

use super::findings::{Array, Findings, Row};
use super::inputs::Inputs;
use super::named::{key_of, lookup, map_of, parameters};
use super::readme::{Settings, Spread, base_folder, read};
use super::run_file::{EVAL_LOGITS, is_whole, listed_keys, moved_keys, steps, trainable_keys};
use super::task::{Task, Traced, load_still, loss};
use super::{Options, Result, classes};
use burn::tensor::Device;
use rekindle::Model;
use rekindle::checkpoint::{Checkpoint, KeyMap, Tensors};
use rekindle::data::DataError;
use rekindle::objective::{Batch, Draws, Objective};
use rekindle::params::{FreezeError, FreezePolicy, GroupRule, Inventory, Progress, Rates, TrainPlan};
use rekindle::train::{Control, Data, Event, Fit, Keep, Observer, ObserverError, Report, fit};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Repeats every run and compares its losses and parameters.
pub(crate) fn check(folder: &Path, runs: &[PathBuf], options: &Options) -> Result<Findings> {
    if options.outputs_only {
        return Ok(Findings::new(folder, "training runs, left out"));
    }
    let readme = read(folder);
    let checkpoint = Checkpoint::open(base_folder(folder, &readme)?)?;
    let (name, case) = classes::of(&checkpoint)?;
    let mut findings = Findings::new(folder, &format!("{} runs of {name}", runs.len()));
    let base = Base {
        inputs: Inputs::open(&checkpoint.folder().join("inputs.safetensors"))?.of(&checkpoint),
        settings: Settings::of(&readme)?,
        groups: read_groups(&folder.join("groups.json"))?,
        readme,
        checkpoint,
        options,
    };
    for path in runs {
        findings.extend(case.training(&base, path)?);
    }
    Ok(findings)
}

/// Rate and decay of some parameters, as `groups.json` lists them.
#[derive(Debug, Deserialize)]
struct Group {
    lr: f64,
    weight_decay: f64,
    parameters: Vec<String>,
}

fn read_groups(path: &Path) -> Result<Option<Vec<Group>>> {
    match path.is_file() {
        true => Ok(Some(serde_json::from_str(&std::fs::read_to_string(path)?)?)),
        false => Ok(None),
    }
}

/// What all runs of a folder share.
pub(crate) struct Base<'a> {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) inputs: Inputs,
    readme: String,
    settings: Settings,
    groups: Option<Vec<Group>>,
    options: &'a Options,
}

/// What biases of keys are called, alone or together with those of queries and values: softmax takes no notice of them, so
/// that their gradient is rounding alone.
const KEY_BIASES: [&str; 7] = [
    ".key.bias",
    ".k_proj.bias",
    ".k_lin.bias",
    ".attn.k.bias",
    ".c_attn.bias",
    ".query_key_value.bias",
    ".in_proj_bias",
];

/// What a run gave.
struct Outcome<B, H> {
    model: Model<B, H>,
    report: Report,
    factors: Vec<f64>,
}

impl Base<'_> {
    /// Repeats the run of one file.
    pub(crate) fn check<B: Traced, H: Task<B>>(&self, path: &Path) -> Result<Vec<Row>> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = Tensors::open_file(path)?;
        let start = load_still::<B, H>(&self.checkpoint, &self.options.device)?;
        let map = map_of(&start, &self.checkpoint.config::<B>()?)?;
        let before = parameters(&start, &map)?;
        let listed = listed_keys(&map, &file)?;
        let moved = moved_keys(&listed, &before, &file)?;
        let policy = Exactly { keys: trainable_keys(&moved, &start, &map)?, map };
        let (rates, mut rows) = self.rates(&name, &start, &policy)?;
        let outcome = self.run(start, &policy, rates, steps(&file)?)?;
        let spread = Spread::of(&self.readme, &name);
        rows.extend(self.compare_steps(&name, &outcome, &file, spread)?);
        let after = parameters(&outcome.model, &policy.map)?;
        for (key, file_key) in &listed {
            let expected = Array::read(&file, file_key)?;
            let is_key_bias = KEY_BIASES.iter().any(|name| key.ends_with(name));
            // Some READMEs count some of them among the others.
            let spread = if is_key_bias { spread.key_biases.max(spread.parameters) } else { spread.parameters };
            let limit = self.limit(spread, &expected);
            rows.push(Row::compare(format!("{name}: {key}"), lookup(&after, key, &file)?, &expected, limit));
        }
        rows.push(frozen(&name, &before, &after, &moved));
        rows.push(owned(&name, &outcome.report, &policy)?);
        Ok(rows)
    }

    /// The rates of the run. Where `groups.json` lists them and the README gives them as a decay from layer to layer,
    /// both must come to the same plan.
    fn rates<B: Traced, H: Task<B>>(
        &self,
        name: &str,
        model: &Model<B, H>,
        policy: &Exactly,
    ) -> Result<(Rates, Vec<Row>)> {
        let inventory = Inventory::of(model)?;
        let weight_decay = self.settings.weight_decay;
        let everything = GroupRule { select: "**".parse()?, lr: None, weight_decay: Some(weight_decay) };
        let groups = if self.settings.decays_all { vec![everything] } else { vec![] };
        let lr = self.settings.lr_of(&self.readme, name);
        let general = Rates { weight_decay, groups, ..Rates::new(lr) };
        let layered = Rates { layer_decay: self.settings.layer_decay, ..general.clone() };
        let Some(groups) = &self.groups else { return Ok((layered, vec![])) };
        let mut rules = vec![];
        for entry in inventory.entries.iter().filter(|entry| entry.kind.is_trainable()) {
            let key = key_of(&policy.map, &entry.path)?;
            if let Some(group) = groups.iter().find(|group| group.parameters.contains(&key)) {
                let (lr, weight_decay) = (Some(group.lr), Some(group.weight_decay));
                rules.push(GroupRule { select: entry.path.parse()?, lr, weight_decay });
            }
        }
        let listed = Rates { groups: rules, ..general };
        let mut rows = vec![];
        if self.settings.layer_decay.is_some() {
            let plan = |rates| TrainPlan::new(&inventory, policy, rates, Progress::default());
            let (by_layer, by_list) = (plan(&layered)?, plan(&listed)?);
            for what in ["learning rates", "weight decays"] {
                let values = |plan: &TrainPlan| {
                    let rows = plan.rows.iter();
                    Array::list(rows.map(|row| if what == "learning rates" { row.lr } else { row.weight_decay }))
                };
                let (ours, expected) = (values(&by_layer), values(&by_list));
                let limit = f64::from(f32::EPSILON) * expected.largest();
                rows.push(Row::compare(format!("{name}: {what} by layer_decay"), &ours, &expected, limit));
            }
        }
        Ok((listed, rows))
    }

    fn run<B: Traced, H: Task<B>>(
        &self,
        mut model: Model<B, H>,
        policy: &Exactly,
        rates: Rates,
        steps: usize,
    ) -> Result<Outcome<B, H>> {
        let all = self.inputs.all();
        let micro_batches: Vec<Vec<usize>> =
            if self.settings.row_by_row { all.iter().map(|row| vec![*row]).collect() } else { vec![all] };
        let config = Fit {
            max_steps: Some(steps),
            batch_size: 1,
            accumulation: micro_batches.len(),
            rates,
            optimizer: self.settings.optimizer,
            schedule: self.settings.schedule,
            clip_norm: self.settings.clip_norm,
            keep: Keep::Last,
            ..Fit::default()
        };
        let objective = Fixed::<B, H> { inputs: &self.inputs, model: PhantomData };
        let mut factors = Factors(vec![]);
        let data = Data { train: &micro_batches, validation: &[] };
        let report = fit(&mut model, &objective, data, policy, &config, &mut [&mut factors])?;
        Ok(Outcome { model, report, factors: factors.0 })
    }

    /// Losses, gradient norms, rates and the outputs at the end: those that the file holds.
    fn compare_steps<B: Traced, H: Task<B>>(
        &self,
        name: &str,
        outcome: &Outcome<B, H>,
        file: &Tensors,
        spread: Spread,
    ) -> Result<Vec<Row>> {
        let (device, rows) = (&self.options.device, self.inputs.all());
        let mut losses = outcome.report.losses.clone();
        if file.contains("losses") && !is_whole(file) {
            losses.push(loss(&outcome.model, &self.inputs, &rows, device)?);
        }
        let rates = outcome.factors.iter().map(|factor| factor * self.settings.lr);
        let features = outcome.model.features(B::input(&self.inputs, &rows, device)?);
        let outputs = H::outputs(outcome.model.head.forward(features));
        let (losses, norms) = (Array::list(losses), Array::list(outcome.report.grad_norms.iter().copied()));
        let mut figures = vec![
            ("losses", losses.clone(), Some(spread.losses)),
            ("steps.loss", losses, Some(spread.losses)),
            ("steps.grad_norm", norms, Some(spread.norms)),
            ("steps.lr", Array::list(rates), Some(0.0)),
        ];
        let last = if is_whole(file) { EVAL_LOGITS } else { "final_logits" };
        figures.extend(outputs.into_iter().take(1).map(|(_, array)| (last, array, None)));
        let present = figures.into_iter().filter(|(key, ..)| file.contains(key));
        let compared = present.map(|(key, ours, spread)| {
            let expected = Array::read(file, key)?;
            let limit = spread.map_or(self.options.limits.output, |spread| self.limit(spread, &expected));
            Ok(Row::compare(format!("{name}: {key}"), &ours, &expected, limit))
        });
        compared.collect()
    }

    /// The stated spread several times, and never less than a few roundings of the largest value.
    fn limit(&self, spread: f64, expected: &Array) -> f64 {
        (self.options.limits.spreads * spread).max(4.0 * f64::from(f32::EPSILON) * expected.largest())
    }
}

/// How many optimizer steps the file's losses are of.
/// What did not train must have kept its very bits.
fn frozen(
    name: &str,
    before: &BTreeMap<String, Array>,
    after: &BTreeMap<String, Array>,
    keys: &BTreeSet<String>,
) -> Row {
    let frozen: Vec<_> = before.iter().filter(|(key, _)| !keys.contains(*key)).collect();
    let bits = |array: &Array| array.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let changed = frozen.iter().filter(|(key, old)| after.get(*key).is_none_or(|new| bits(new) != bits(old)));
    Row::count(format!("{name}: frozen parameters changed"), changed.count(), format!("of {} frozen", frozen.len()))
}

/// The optimizer owns moments for what trained, and for nothing else.
fn owned(name: &str, report: &Report, policy: &Exactly) -> Result<Row> {
    let owned =
        report.optimizer_parameters.iter().map(|path| key_of(&policy.map, path)).collect::<Result<BTreeSet<_>>>()?;
    let wrong = owned.symmetric_difference(&policy.keys).count();
    Ok(Row::count(format!("{name}: optimizer entries amiss"), wrong, format!("of {}", owned.len())))
}

/// Trains exactly the parameters with these keys.
#[derive(Debug)]
struct Exactly {
    map: KeyMap,
    keys: BTreeSet<String>,
}

impl FreezePolicy for Exactly {
    fn trainable(&self, inventory: &Inventory, _: Progress) -> std::result::Result<Vec<bool>, FreezeError> {
        let trains = |path: &str| key_of(&self.map, path).is_ok_and(|key| self.keys.contains(&key));
        Ok(inventory.entries.iter().map(|entry| trains(&entry.path)).collect())
    }
    fn may_freeze_head(&self) -> bool {
        true
    }
}

/// The same rows in every step; an example is a micro-batch.
struct Fixed<'a, B, H> {
    inputs: &'a Inputs,
    model: PhantomData<fn() -> (B, H)>,
}

impl<B: Traced, H: Task<B>> Objective for Fixed<'_, B, H> {
    type Example = Vec<usize>;
    type Input = B::Input;
    type Targets = H::Targets;

    fn batch(
        &self,
        examples: &[&Vec<usize>],
        _: &Draws,
        device: &Device,
    ) -> std::result::Result<Batch<B::Input, H::Targets>, DataError> {
        let rows: Vec<usize> = examples.iter().flat_map(|rows| rows.iter().copied()).collect();
        let no_label = |_| DataError::NoLabel { index: rows.first().copied().unwrap_or(0) };
        let targets = H::targets(self.inputs, &rows, device).map_err(no_label)?;
        Ok(Batch { input: B::input(self.inputs, &rows, device).map_err(no_label)?, targets })
    }
}

/// Remembers the schedule's factors.
struct Factors(Vec<f64>);

impl Observer for Factors {
    fn on(&mut self, event: &Event<'_>) -> std::result::Result<Control, ObserverError> {
        if let Event::Step(info) = event {
            self.0.push(info.schedule);
        }
        Ok(Control::Continue)
    }
}
