use super::SelectorError;
use thiserror::Error;

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
    /// More stages to choose than there are.
    #[error("Freeze::Surgical asks for {asked} of the backbone's {stages} stages ({names}); ask for fewer")]
    TooMany {
        /// Stages to choose.
        asked: usize,
        /// Stages that have parameters.
        stages: usize,
        /// Their names.
        names: String,
    },
    /// `Gradual` with 0 epochs.
    #[error("Freeze::Gradual needs at least 1 epoch between one stage and the next")]
    NoEpochs,
    /// Another policy with a 0 that means nothing.
    #[error("{policy} needs at least 1 {what}")]
    Zero {
        /// The policy.
        policy: &'static str,
        /// What it counts.
        what: &'static str,
    },
    /// A least gain that is none.
    #[error("Freeze::GradualPlateau has min_delta {min_delta}; give 0 or a number above 0")]
    BadDelta {
        /// The least gain.
        min_delta: f64,
    },
    /// The backbone has nothing of the kind that a policy trains.
    #[error("{policy} trains {what}, and the backbone `{backbone}` has none; use Freeze::Backbone or another policy")]
    NoneOfKind {
        /// The policy.
        policy: &'static str,
        /// What it trains.
        what: &'static str,
        /// The backbone's type.
        backbone: String,
    },
    /// A policy chooses by gradients that were not measured.
    #[error(
        "{policy} chooses by gradients; `fit` measures them, elsewhere use `first_plan`, or give `Progress::gradients` what `relative_gradients` returns"
    )]
    NoGradients {
        /// The policy.
        policy: &'static str,
    },
    /// Phases within phases.
    #[error("Freeze::Phases stands inside Freeze::Phases; write all phases in one list")]
    NestedPhases,
    /// A text that names no policy.
    #[error("`{text}` is no freeze policy: {reason}")]
    Text {
        /// The text.
        text: String,
        /// What is wrong with it, and what there is.
        reason: String,
    },
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
