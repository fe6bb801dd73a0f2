use super::{Entry, Inventory, Selector, SelectorError};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use thiserror::Error;

/// Where a run is when a policy is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs finished.
    pub epoch: usize,
    /// Optimizer steps finished.
    pub step: usize,
}

/// Decides which parameters train. It is asked at the start of every epoch and changes nothing itself.
pub trait FreezePolicy: Debug + Send + Sync {
    /// One answer for each of `inventory.entries`; those of buffers and flags are not read.
    ///
    /// # Errors
    /// [`FreezeError`], such as a selector that matches nothing.
    fn trainable(&self, inventory: &Inventory, at: Progress) -> Result<Vec<bool>, FreezeError>;

    /// Whether freezing the whole head is meant. Unless it is, a plan without a trainable head is an error.
    fn may_freeze_head(&self) -> bool {
        false
    }
}

/// The usual policies. The head trains under each of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Everything trains.
    Nothing,
    /// The head alone trains.
    Backbone,
    /// The lowest stages are frozen; stage 0 is the embeddings.
    Bottom(usize),
    /// Of the backbone, only what one of the selectors matches trains.
    Except(Vec<Selector>),
    /// Starts with the head alone and thaws one more stage, from the top, after every `epochs` epochs
    /// ([Howard and Ruder, 2018](https://arxiv.org/abs/1801.06146)).
    Gradual {
        /// Epochs between one stage and the next.
        epochs: usize,
    },
}

/// Why there is no plan.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum FreezeError {
    /// A selector is wrong.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// More stages to freeze than there are.
    #[error("Freeze::Bottom({asked}) is more than the backbone's {stages} stages ({names}); use Freeze::Backbone")]
    TooDeep {
        /// Stages to freeze.
        asked: usize,
        /// Stages there are.
        stages: usize,
        /// Their names.
        names: String,
    },
    /// `Gradual` with 0 epochs.
    #[error("Freeze::Gradual needs at least 1 epoch between one stage and the next")]
    NoEpochs,
    /// Nothing would train.
    #[error("no parameter would train; freeze less")]
    NothingTrains,
    /// The head would not train.
    #[error("the head would be frozen; let it train, or say in the policy that this is meant (`may_freeze_head`)")]
    HeadFrozen,
    /// A policy gave too few or too many answers.
    #[error("the policy gave {answers} answers for {entries} parameters; give one for each entry of the inventory")]
    WrongCount {
        /// Answers given.
        answers: usize,
        /// Entries asked about.
        entries: usize,
    },
}

impl FreezePolicy for Freeze {
    fn trainable(&self, inventory: &Inventory, at: Progress) -> Result<Vec<bool>, FreezeError> {
        let stages = inventory.stages.len();
        match self {
            Self::Nothing => Ok(from_stage(inventory, 0)),
            Self::Backbone => Ok(from_stage(inventory, stages)),
            Self::Bottom(asked) if *asked > stages => {
                let names: Vec<_> = inventory.stages.iter().map(|stage| stage.name.as_str()).collect();
                Err(FreezeError::TooDeep { asked: *asked, stages, names: names.join(", ") })
            }
            Self::Bottom(count) => Ok(from_stage(inventory, *count)),
            Self::Except(selectors) => except(inventory, selectors),
            Self::Gradual { epochs: 0 } => Err(FreezeError::NoEpochs),
            Self::Gradual { epochs } => Ok(from_stage(inventory, stages.saturating_sub(at.epoch / epochs))),
        }
    }
}

/// The head, and every parameter that no stage below `first` reads.
fn from_stage(inventory: &Inventory, first: usize) -> Vec<bool> {
    inventory.entries.iter().map(|entry| entry.stage.is_none_or(|stage| stage >= first)).collect()
}

fn except(inventory: &Inventory, selectors: &[Selector]) -> Result<Vec<bool>, FreezeError> {
    for selector in selectors {
        selector.select(inventory.trainable_paths())?;
    }
    let trains = |entry: &Entry| entry.stage.is_none() || selectors.iter().any(|s| s.matches(&entry.path));
    Ok(inventory.entries.iter().map(trains).collect())
}
