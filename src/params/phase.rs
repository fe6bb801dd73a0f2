use super::{Freeze, FreezeError, Progress};
use serde::{Deserialize, Serialize};

/// A length of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Whole epochs.
    Epochs(usize),
    /// Optimizer steps.
    Steps(usize),
}

impl Span {
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Self::Epochs(0) | Self::Steps(0))
    }

    /// How many times it has passed.
    pub(super) fn passed(self, at: Progress<'_>) -> usize {
        match self {
            Self::Epochs(epochs) => at.epoch.checked_div(epochs).unwrap_or(0),
            Self::Steps(steps) => at.step.checked_div(steps).unwrap_or(0),
        }
    }

    /// Whether it has passed at this very step, where that need not be the start of an epoch.
    pub(super) fn turns_at(self, at: Progress<'_>) -> bool {
        matches!(self, Self::Steps(steps) if at.step.is_multiple_of(steps))
    }

    /// What is left to see of `at` after this span, counted from its end.
    fn rest(self, at: Progress<'_>) -> Progress<'_> {
        match self {
            Self::Epochs(epochs) => at.since_epoch(epochs),
            Self::Steps(steps) => at.since(steps),
        }
    }
}

/// A part of [`Freeze::Phases`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What holds.
    pub freeze: Freeze,
    /// For how long.
    pub lasts: Span,
}

impl Phase {
    /// The policy in force, and the progress counted from its start.
    pub(super) fn current<'p, 'a>(
        phases: &'p [Phase],
        then: &'p Freeze,
        mut at: Progress<'a>,
    ) -> (&'p Freeze, Progress<'a>) {
        for phase in phases {
            if phase.lasts.passed(at) == 0 {
                return (&phase.freeze, at);
            }
            at = phase.lasts.rest(at);
        }
        (then, at)
    }

    pub(super) fn all<'p>(phases: &'p [Phase], then: &'p Freeze) -> impl Iterator<Item = &'p Freeze> {
        phases.iter().map(|phase| &phase.freeze).chain([then])
    }

    pub(super) fn check(phases: &[Phase], then: &Freeze) -> Result<(), FreezeError> {
        if Self::all(phases, then).any(|freeze| matches!(freeze, Freeze::Phases { .. })) {
            return Err(FreezeError::NestedPhases);
        }
        if phases.iter().any(|phase| phase.lasts.is_empty()) {
            return Err(FreezeError::Zero { policy: "Freeze::Phases", what: "epoch or step for each phase" });
        }
        Self::all(phases, then).try_for_each(Freeze::check)
    }
}
