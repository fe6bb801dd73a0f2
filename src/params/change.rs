//! What one plan has that the one before had not.

use super::{Inventory, TrainPlan};
use std::collections::BTreeSet;
use std::fmt;

/// Parameters that a plan thaws and freezes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanChange {
    /// What trains from here on, by group.
    pub thawed: Vec<ChangedGroup>,
    /// What trains no longer.
    pub frozen: Vec<ChangedGroup>,
}

/// The parameters of one stage, or of the head, that change.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedGroup {
    /// The stage's name, or `head`.
    pub group: String,
    /// Their paths.
    pub paths: Vec<String>,
    /// The number of their values.
    pub values: usize,
    /// Whether they are all that the group has.
    pub whole: bool,
}

impl TrainPlan {
    /// What is different from the plan before.
    pub fn change_from(&self, before: &TrainPlan, inventory: &Inventory) -> PlanChange {
        let entries = |plan: &TrainPlan| plan.rows.iter().map(|row| row.entry).collect::<BTreeSet<_>>();
        let (now, before) = (entries(self), entries(before));
        PlanChange { thawed: grouped(inventory, &now - &before), frozen: grouped(inventory, &before - &now) }
    }
}

fn grouped(inventory: &Inventory, chosen: BTreeSet<usize>) -> Vec<ChangedGroup> {
    let entries = || inventory.entries.iter().enumerate().filter(|(_, entry)| entry.kind.is_trainable());
    let group = |stage: Option<usize>| {
        let own = || entries().filter(|(_, entry)| entry.stage == stage);
        let changed: Vec<_> = own().filter(|(index, _)| chosen.contains(index)).map(|(_, entry)| entry).collect();
        Some(ChangedGroup {
            group: inventory.group_name(changed.first()?).into(),
            paths: changed.iter().map(|entry| entry.path.clone()).collect(),
            values: changed.iter().map(|entry| entry.size()).sum(),
            whole: own().count() == changed.len(),
        })
    };
    (0..inventory.stages.len()).map(Some).chain([None]).filter_map(group).collect()
}

impl PlanChange {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.thawed.is_empty() && self.frozen.is_empty()
    }
}

/// Groups that a line still names one by one.
const NAMED: usize = 3;

impl fmt::Display for PlanChange {
    /// One line: `+ encoder.layer.5 (1.8 M values), - head (29.6 k values)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![];
        for (sign, groups) in [('+', &self.thawed), ('-', &self.frozen)] {
            match groups.as_slice() {
                [first, .., last] if groups.len() > NAMED => {
                    let values = groups.iter().map(|group| group.values).sum();
                    let part = if groups.iter().all(|group| group.whole) { "" } else { "part of " };
                    let (first, last) = (&first.group, &last.group);
                    parts.push(format!("{sign} {part}{first} to {last} ({})", short(values)));
                }
                _ => parts.extend(groups.iter().map(|group| format!("{sign} {group}"))),
            }
        }
        match parts.is_empty() {
            true => f.write_str("nothing changes"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

impl fmt::Display for ChangedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = if self.whole { "" } else { "part of " };
        write!(f, "{part}{} ({})", self.group, short(self.values))
    }
}

/// `1.8 M values`, `29.6 k values`, `99 values`.
fn short(values: usize) -> String {
    match values {
        0..1000 => format!("{values} values"),
        1000..1_000_000 => format!("{:.1} k values", values as f64 / 1e3),
        _ => format!("{:.1} M values", values as f64 / 1e6),
    }
}
