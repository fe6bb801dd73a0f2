use super::{Entry, FreezeError, FreezePolicy, Inventory, Kind, Phase, Progress, RelativeGradients, Selector, Span};
use serde::{Deserialize, Serialize};

/// The usual policies. The head trains under each of them.
///
/// Each has a text, for command lines and files: `backbone`, `bottom:2`, `lp-ft:1`, `backbone@100steps > nothing`.
///
/// ```
/// use rekindle::params::{Freeze, Span};
/// assert_eq!("lp-ft:2".parse::<Freeze>()?, Freeze::LpFt { head: Span::Epochs(2) });
/// assert_eq!(Freeze::Gradual { epochs: 3 }.to_string(), "gradual:3");
/// # Ok::<(), rekindle::params::FreezeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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
    /// Starts with the head alone and thaws one more stage, from the top, each time the monitored figure has not become
    /// better for `patience` validations. Counting starts anew with each stage; the best figure stays. That is when
    /// PyTorch's `ReduceLROnPlateau` (threshold mode `abs`) with a patience of one less lowers the rate.
    GradualPlateau {
        /// Validations without a gain.
        patience: usize,
        /// Only more than this above the best so far is a gain.
        min_delta: f64,
    },
    /// The head first, then everything ([Kumar et al., 2022](https://arxiv.org/abs/2202.10054)).
    LpFt {
        /// How long the head trains alone.
        head: Span,
    },
    /// The head, then each stage by itself from the lowest to the highest, then everything
    /// ([Felbo et al., 2017](https://arxiv.org/abs/1708.00524)). Here the head keeps training beside each stage.
    ChainThaw {
        /// How long each of them trains.
        each: Span,
    },
    /// Of the backbone only biases train, those of normalisation layers with them
    /// ([Ben Zaken et al., 2022](https://arxiv.org/abs/2106.10199)).
    BitFit,
    /// Of the backbone only normalisation layers train, scale and shift.
    Norm,
    /// Of the backbone's layers the highest trains, and every `n`-th below it. Stages that count with the head, such as a
    /// pooler, train; stage 0, the embeddings, does not.
    Every(usize),
    /// Of the backbone the stages with the largest relative gradients before the first step train (the criterion of
    /// [Lee et al., 2023](https://arxiv.org/abs/2210.11466), used to choose).
    Surgical {
        /// How many stages.
        stages: usize,
    },
    /// One policy after the other; what a later one freezes is frozen again. Each counts epochs, steps and validations
    /// from its own start.
    Phases {
        /// The phases that end.
        phases: Vec<Phase>,
        /// What holds after them.
        then: Box<Freeze>,
    },
}

impl FreezePolicy for Freeze {
    fn trainable(&self, inventory: &Inventory, at: Progress<'_>) -> Result<Vec<bool>, FreezeError> {
        self.check()?;
        let stages = inventory.stages.len();
        match self {
            Self::Nothing => Ok(from_stage(inventory, 0)),
            Self::Backbone => Ok(from_stage(inventory, stages)),
            Self::Bottom(asked) if *asked > stages => {
                Err(FreezeError::TooDeep { asked: *asked, stages, names: inventory.stage_names() })
            }
            Self::Bottom(count) => Ok(from_stage(inventory, *count)),
            Self::Except(selectors) => except(inventory, selectors),
            Self::Gradual { epochs } => Ok(from_stage(inventory, stages.saturating_sub(at.epoch / epochs))),
            Self::GradualPlateau { patience, min_delta } => {
                Ok(from_stage(inventory, stages.saturating_sub(plateaus(at, *patience, *min_delta))))
            }
            Self::LpFt { head } if head.passed(at) == 0 => Ok(from_stage(inventory, stages)),
            Self::LpFt { .. } => Ok(from_stage(inventory, 0)),
            Self::ChainThaw { each } => Ok(chain(inventory, each.passed(at))),
            Self::BitFit => of_kind(inventory, "Freeze::BitFit", "biases", Entry::is_bias),
            Self::Norm => {
                of_kind(inventory, "Freeze::Norm", "normalisation layers with parameters", |e| e.kind == Kind::Norm)
            }
            Self::Every(n) => every(inventory, *n),
            Self::Surgical { stages } => surgical(inventory, *stages, at.gradients),
            Self::Phases { phases, then } => {
                Self::all_mean_something(Phase::all(phases, then), inventory, at)?;
                let (now, at) = Phase::current(phases, then, at);
                now.trainable(inventory, at)
            }
        }
    }

    fn asks_at(&self, at: Progress<'_>) -> bool {
        match self {
            Self::LpFt { head: span } | Self::ChainThaw { each: span } => span.turns_at(at),
            Self::Phases { phases, then } => {
                let (now, at) = Phase::current(phases, then, at);
                at.step == 0 || now.asks_at(at)
            }
            _ => false,
        }
    }

    fn needs_validation(&self) -> bool {
        match self {
            Self::GradualPlateau { .. } => true,
            Self::Phases { phases, then } => Phase::all(phases, then).any(Self::needs_validation),
            _ => false,
        }
    }

    fn needs_gradients(&self) -> bool {
        match self {
            Self::Surgical { .. } => true,
            Self::Phases { phases, then } => Phase::all(phases, then).any(Self::needs_gradients),
            _ => false,
        }
    }
}

impl Freeze {
    /// Refuses numbers that mean nothing, in every phase.
    ///
    /// # Errors
    /// [`FreezeError`] names the policy.
    pub fn check(&self) -> Result<(), FreezeError> {
        let zero = |policy, what| Err(FreezeError::Zero { policy, what });
        match self {
            Self::Gradual { epochs: 0 } => Err(FreezeError::NoEpochs),
            Self::GradualPlateau { patience: 0, .. } => zero("Freeze::GradualPlateau", "validation of patience"),
            Self::GradualPlateau { min_delta, .. } if !(min_delta.is_finite() && *min_delta >= 0.0) => {
                Err(FreezeError::BadDelta { min_delta: *min_delta })
            }
            Self::LpFt { head } if head.is_empty() => zero("Freeze::LpFt", "epoch or step for the head"),
            Self::ChainThaw { each } if each.is_empty() => zero("Freeze::ChainThaw", "epoch or step for each stage"),
            Self::Every(0) => zero("Freeze::Every", "layer from one that trains to the next"),
            Self::Surgical { stages: 0 } => zero("Freeze::Surgical", "stage"),
            Self::Phases { phases, then } => Phase::check(phases, then),
            _ => Ok(()),
        }
    }

    /// Asks policies whose time has not come, so that one of them is not found wrong in the middle of a run.
    pub(super) fn all_mean_something<'p>(
        mut policies: impl Iterator<Item = &'p Self>,
        inventory: &Inventory,
        at: Progress<'_>,
    ) -> Result<(), FreezeError> {
        let start = Progress { gradients: at.gradients, ..Progress::default() };
        policies.try_for_each(|policy| policy.trainable(inventory, start).map(drop))
    }
}

/// The head, and every parameter that no stage below `first` reads.
fn from_stage(inventory: &Inventory, first: usize) -> Vec<bool> {
    stages_where(inventory, |stage| stage >= first)
}

/// The head, and every parameter whose stage is chosen.
fn stages_where(inventory: &Inventory, chosen: impl Fn(usize) -> bool) -> Vec<bool> {
    inventory.entries.iter().map(|entry| entry.stage.is_none_or(&chosen)).collect()
}

/// Turn 0 is the head's, then each stage has one, then all train.
fn chain(inventory: &Inventory, turn: usize) -> Vec<bool> {
    let stages: Vec<usize> = inventory.stages_with_parameters().collect();
    match turn.checked_sub(1) {
        None => stages_where(inventory, |_| false),
        Some(turn) => stages_where(inventory, |stage| stages.get(turn).is_none_or(|own| *own == stage)),
    }
}

fn except(inventory: &Inventory, selectors: &[Selector]) -> Result<Vec<bool>, FreezeError> {
    for selector in selectors {
        selector.select(inventory.trainable_paths())?;
    }
    let trains = |entry: &Entry| entry.stage.is_none() || selectors.iter().any(|s| s.matches(&entry.path));
    Ok(inventory.entries.iter().map(trains).collect())
}

/// How often the figure has stood still for `patience` validations.
fn plateaus(at: Progress<'_>, patience: usize, min_delta: f64) -> usize {
    let (mut best, mut without, mut count) = (f64::NEG_INFINITY, 0, 0);
    for merit in at.merits {
        match merit.value > best + min_delta {
            true => (best, without) = (merit.value, 0),
            false => without += 1,
        }
        if without == patience {
            (without, count) = (0, count + 1);
        }
    }
    count
}

/// The head, and what of the backbone is of a kind.
fn of_kind(
    inventory: &Inventory,
    policy: &'static str,
    what: &'static str,
    is: impl Fn(&Entry) -> bool,
) -> Result<Vec<bool>, FreezeError> {
    let found = inventory.entries.iter().any(|entry| entry.stage.is_some() && is(entry));
    match found {
        true => Ok(inventory.entries.iter().map(|entry| entry.stage.is_none() || is(entry)).collect()),
        false => Err(FreezeError::NoneOfKind { policy, what, backbone: inventory.backbone.clone() }),
    }
}

fn every(inventory: &Inventory, n: usize) -> Result<Vec<bool>, FreezeError> {
    let is_layer = |stage: &usize| *stage > 0 && !inventory.stages[*stage].with_head;
    let chosen: Vec<usize> = inventory.stages_with_parameters().rev().filter(is_layer).step_by(n).collect();
    if chosen.is_empty() {
        let (policy, what, backbone) = ("Freeze::Every", "layers above stage 0", inventory.backbone.clone());
        return Err(FreezeError::NoneOfKind { policy, what, backbone });
    }
    Ok(stages_where(inventory, |stage| inventory.stages[stage].with_head || chosen.contains(&stage)))
}

fn surgical(
    inventory: &Inventory,
    asked: usize,
    gradients: Option<&RelativeGradients>,
) -> Result<Vec<bool>, FreezeError> {
    let gradients = gradients.ok_or(FreezeError::NoGradients { policy: "Freeze::Surgical" })?;
    let ratio = |stage: usize| gradients.group(&inventory.stages[stage].name).map_or(0.0, |group| group.ratio());
    let mut stages: Vec<usize> = inventory.stages_with_parameters().collect();
    if asked > stages.len() {
        let names: Vec<_> = stages.iter().map(|stage| inventory.stages[*stage].name.as_str()).collect();
        return Err(FreezeError::TooMany { asked, stages: stages.len(), names: names.join(", ") });
    }
    stages.sort_by(|a, b| ratio(*b).total_cmp(&ratio(*a)));
    Ok(stages_where(inventory, |stage| stages[..asked].contains(&stage)))
}
