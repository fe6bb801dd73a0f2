use super::{Entry, FreezeError, FreezePolicy, Inventory, Kind, Progress, Selector};
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Learning rate and weight decay of every parameter, by rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Peak learning rate.
    pub lr: f64,
    /// Decoupled weight decay of weights and embeddings; biases and normalisation layers do not decay.
    pub weight_decay: f64,
    /// Layer-wise decay: a stage `d` below the head trains with `lr * layer_decay^d`.
    pub layer_decay: Option<f64>,
    /// Overrides for what a selector matches; the last one that matches counts.
    pub groups: Vec<GroupRule>,
}

impl Rates {
    /// One rate for all, weight decay 0.01.
    pub fn new(lr: f64) -> Self {
        Self { lr, weight_decay: 1e-2, layer_decay: None, groups: vec![] }
    }
}

/// Rate and decay for the parameters that a selector matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRule {
    /// Which parameters.
    pub select: Selector,
    /// Their peak learning rate instead of the general one (layer-wise decay does not apply to it).
    pub lr: Option<f64>,
    /// Their weight decay instead of the general one, also for biases and normalisation layers.
    pub weight_decay: Option<f64>,
}

/// One trainable parameter of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanRow {
    /// Index into `Inventory::entries`.
    pub entry: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// What trains, at which rate, and which stages run without a graph. Decided before anything is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainPlan {
    /// For each inventory entry whether it is active: trains, or, for a flag, is switched on.
    pub active: Vec<bool>,
    /// The parameters that train.
    pub rows: Vec<PlanRow>,
    /// For each stage whether it runs on the plain device: it and all it reads are wholly frozen.
    pub plain: Vec<bool>,
    /// Why no stage is plain, and so nothing can be cached, although something is frozen.
    pub not_plain: Option<String>,
    table: Vec<TableRow>,
}

#[derive(Clone, Debug, PartialEq)]
struct TableRow {
    group: String,
    parameters: usize,
    trainable: usize,
    lr: Vec<f64>,
    weight_decay: Vec<f64>,
    plain: bool,
}

impl TrainPlan {
    /// Asks the policy and the rates.
    ///
    /// # Errors
    /// [`FreezeError`]: nothing trains, the head is frozen unasked, or a selector matches nothing.
    pub fn new(
        inventory: &Inventory,
        policy: &dyn FreezePolicy,
        rates: &Rates,
        at: Progress<'_>,
    ) -> Result<Self, FreezeError> {
        let answers = policy.trainable(inventory, at)?;
        let entries = &inventory.entries;
        if answers.len() != entries.len() {
            return Err(FreezeError::WrongCount { answers: answers.len(), entries: entries.len() });
        }
        let trains: Vec<bool> = entries.iter().zip(&answers).map(|(e, yes)| *yes && e.kind.is_trainable()).collect();
        let in_head = |e: &Entry| e.stage.is_none() && e.kind.is_trainable();
        let head_trains = entries.iter().zip(&trains).any(|(e, yes)| *yes && in_head(e));
        if !head_trains && entries.iter().any(in_head) && !policy.may_freeze_head() {
            return Err(FreezeError::HeadFrozen);
        }
        if !trains.contains(&true) {
            return Err(FreezeError::NothingTrains);
        }
        Self::of(inventory, &trains, rates)
    }

    /// The plan in which exactly these entries train; no policy is asked.
    pub(crate) fn of(inventory: &Inventory, trains: &[bool], rates: &Rates) -> Result<Self, FreezeError> {
        let rows = rows(inventory, trains, rates)?;
        let plain = plain_stages(inventory, trains);
        let table = table(inventory, trains, &rows, &plain);
        let active = (0..trains.len()).map(|index| is_active(inventory, trains, index)).collect();
        let not_plain = not_plain(inventory, &rows, &plain);
        Ok(Self { active, rows, plain, not_plain, table })
    }

    /// The number of values that train.
    pub fn trainable_values(&self) -> usize {
        self.table.iter().map(|row| row.trainable).sum()
    }

    /// The number of values of the model.
    pub fn all_values(&self) -> usize {
        self.table.iter().map(|row| row.parameters).sum()
    }
}

fn rows(inventory: &Inventory, trains: &[bool], rates: &Rates) -> Result<Vec<PlanRow>, FreezeError> {
    for rule in &rates.groups {
        rule.select.select(inventory.trainable_paths())?;
    }
    let row = |index: usize| {
        let entry = &inventory.entries[index];
        let rule = rates.groups.iter().rev().find(|rule| rule.select.matches(&entry.path));
        let layered = rates.lr * rates.layer_decay.unwrap_or(1.0).powi(depth(inventory, entry) as i32);
        let decay = if entry.kind.decays() { rates.weight_decay } else { 0.0 };
        PlanRow {
            entry: index,
            lr: rule.and_then(|rule| rule.lr).unwrap_or(layered),
            weight_decay: rule.and_then(|rule| rule.weight_decay).unwrap_or(decay),
        }
    };
    Ok((0..trains.len()).filter(|index| trains[*index]).map(row).collect())
}

/// How many layers below the head: 0 for the head and the stages counted with it, 1 for the highest layer of a tower.
fn depth(inventory: &Inventory, entry: &Entry) -> usize {
    let Some(stage) = entry.stage else { return 0 };
    match inventory.stages[stage].with_head {
        true => 0,
        false => {
            let mut above = vec![false; inventory.stages.len()];
            above[stage] = true;
            for later in stage + 1..above.len() {
                above[later] = inventory.stages[later].reads.iter().any(|read| above[*read]);
            }
            let layers = inventory.stages.iter().zip(above);
            layers.filter(|(stage, above)| *above && !stage.with_head).count()
        }
    }
}

fn plain_stages(inventory: &Inventory, trains: &[bool]) -> Vec<bool> {
    let mut plain: Vec<bool> = vec![];
    for (stage, owned) in inventory.stages.iter().zip(&inventory.owned) {
        let frozen = !owned.iter().any(|entry| trains[*entry]);
        plain.push(frozen && stage.reads.iter().all(|read| plain[*read]));
    }
    plain
}

fn not_plain(inventory: &Inventory, rows: &[PlanRow], plain: &[bool]) -> Option<String> {
    let frozen = inventory.trainable_paths().count() > rows.len();
    let lowest = rows.iter().map(|row| &inventory.entries[row.entry]).find(|entry| entry.stage == Some(0))?;
    let reason = || format!("`{}` trains in `{}`, which all stages read", lowest.path, inventory.group_name(lowest));
    (frozen && !plain.contains(&true)).then(reason)
}

/// A flag follows the parameters of its own module (batch norm) or, where there are none, of its group (dropout).
fn is_active(inventory: &Inventory, trains: &[bool], index: usize) -> bool {
    let entry = &inventory.entries[index];
    if entry.kind != Kind::Flag {
        return trains[index];
    }
    let parameters = || inventory.entries.iter().zip(trains).filter(|(other, _)| other.kind.is_trainable());
    let mut own = parameters().filter(|(other, _)| other.module() == entry.module()).peekable();
    match own.peek() {
        Some(_) => own.any(|(_, trains)| *trains),
        None => parameters().any(|(other, trains)| other.stage == entry.stage && *trains),
    }
}

fn table(inventory: &Inventory, trains: &[bool], rows: &[PlanRow], plain: &[bool]) -> Vec<TableRow> {
    let groups = (0..inventory.stages.len()).map(Some).chain([None]);
    let row = |group: Option<usize>| {
        let member = |index: &usize| {
            let entry = &inventory.entries[*index];
            entry.stage == group && entry.kind.is_trainable()
        };
        let size = |index: usize| inventory.entries[index].size();
        let mine = || rows.iter().filter(|row| inventory.entries[row.entry].stage == group);
        TableRow {
            group: group.map_or("head".into(), |stage| inventory.stages[stage].name.clone()),
            parameters: (0..trains.len()).filter(member).map(size).sum(),
            trainable: mine().map(|row| size(row.entry)).sum(),
            lr: distinct(mine().map(|row| row.lr)),
            weight_decay: distinct(mine().map(|row| row.weight_decay)),
            plain: group.is_some_and(|stage| plain[stage]),
        }
    };
    groups.map(row).collect()
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

impl fmt::Display for TrainPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |values: &[f64]| match values {
            [] => "-".to_string(),
            _ => values.iter().map(|value| short(*value)).collect::<Vec<_>>().join(" / "),
        };
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["group", "parameters", "trainable", "learning rate", "weight decay", "runs"]);
        for row in &self.table {
            let runs = if row.plain { "plain, no graph" } else { "autodiff" };
            table.add_row([
                row.group.clone(),
                thousands(row.parameters),
                thousands(row.trainable),
                join(&row.lr),
                join(&row.weight_decay),
                runs.into(),
            ]);
        }
        let total = ["total".into(), thousands(self.all_values()), thousands(self.trainable_values())];
        table.add_row(total);
        for column in [1, 2] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{}", table.trim_fmt())?;
        self.not_plain.iter().try_for_each(|reason| write!(f, "\n no stage is plain and cached: {reason}"))
    }
}

/// At most four digits: `1e-3`, `5.905e-4`, `0`.
pub(crate) fn short(number: f64) -> String {
    let text = format!("{number:.3e}");
    match text.split_once('e') {
        Some((digits, power)) if number != 0.0 => {
            format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => number.to_string(),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let starts = (0..digits.len()).filter(|at| *at > 0 && (digits.len() - at).is_multiple_of(3));
    let cuts: Vec<usize> = [0].into_iter().chain(starts).chain([digits.len()]).collect();
    cuts.windows(2).map(|cut| &digits[cut[0]..cut[1]]).collect::<Vec<_>>().join(",")
}
