use super::Cache;
use super::report::size;
use crate::params::TrainPlan;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether the states after frozen stages are kept under a plan. `Display` says it in a line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CachePlan {
    /// They are computed once per example.
    Kept {
        /// For each stage whether it is among those that are computed once.
        stages: Vec<bool>,
        /// Where they are kept.
        cache: Cache,
    },
    /// They are not.
    Unused(NoCache),
}

/// Why nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoCache {
    /// [`Cache::None`].
    Off,
    /// The first stage trains, so that no state stays the same.
    NothingPlain,
    /// The objective makes another input of an example each time: random masking, augmentation.
    InputChanges,
    /// Each example is read once more at most, and memory does not outlive the run.
    ReadOnce,
    /// Memory is too small and there is no folder.
    TooLarge {
        /// What the states would need, in bytes, estimated from the first ones.
        bytes: u64,
        /// The memory for them, in bytes.
        budget: u64,
    },
}

impl CachePlan {
    /// What `fit` will do under a plan with an objective that [`repeats`](crate::objective::Objective::repeats) or not;
    /// before it knows how much memory states need and how often they are read.
    pub fn new(plan: &TrainPlan, repeats: bool, cache: &Cache) -> Self {
        Self::of(&plan.plain, repeats, false, cache)
    }

    /// [`new`](Self::new) from the plain stages, and whether examples are read only once.
    pub(crate) fn of(plain: &[bool], repeats: bool, read_once: bool, cache: &Cache) -> Self {
        let reasons = [
            (*cache == Cache::None, NoCache::Off),
            (plain.first() != Some(&true), NoCache::NothingPlain),
            (!repeats, NoCache::InputChanges),
            (read_once && matches!(cache, Cache::Memory { .. }), NoCache::ReadOnce),
        ];
        match reasons.into_iter().find(|(holds, _)| *holds) {
            Some((_, reason)) => Self::Unused(reason),
            None => Self::Kept { stages: plain.to_vec(), cache: cache.clone() },
        }
    }
}

impl fmt::Display for CachePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stages, cache) = match self {
            Self::Unused(reason) => return write!(f, "no cache: {reason}"),
            Self::Kept { stages, cache } => (stages, cache),
        };
        let kept: Vec<usize> = (0..stages.len()).filter(|stage| stages[*stage]).collect();
        let names = match kept[..] {
            [one] => format!("stage {one} is"),
            [first, .., last] if last - first + 1 == kept.len() => format!("stages {first} to {last} are"),
            _ => format!("stages {} are", kept.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        };
        match cache {
            Cache::Folder { path, .. } => {
                write!(f, "cache: {names} computed once per example, kept in {}", path.display())
            }
            _ => write!(f, "cache: {names} computed once per example, kept in memory"),
        }
    }
}

impl fmt::Display for NoCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => write!(f, "it is switched off"),
            Self::NothingPlain => write!(f, "the first stage trains, so that every later state changes"),
            Self::InputChanges => write!(f, "the objective makes another input of an example each time"),
            Self::ReadOnce => write!(f, "each example is read only once, which memory does not outlive; give a folder"),
            Self::TooLarge { bytes, budget } => {
                let [bytes, budget] = [*bytes, *budget].map(size);
                write!(f, "states need about {bytes}, and memory for them is {budget}; give a folder")
            }
        }
    }
}
