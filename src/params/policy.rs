use super::{FreezeError, Inventory, RelativeGradients};
use std::fmt::Debug;

/// Where a run is when a policy is asked, and what it has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress<'a> {
    /// Epochs finished.
    pub epoch: usize,
    /// Optimizer steps finished.
    pub step: usize,
    /// Optimizer steps planned.
    pub steps: usize,
    /// Optimizer steps of an epoch.
    pub steps_per_epoch: usize,
    /// Optimizer steps before epoch 0 begins: 0 in a run, more where progress is counted from the middle of an epoch.
    pub lead: usize,
    /// The monitored figures of all validations so far, in order.
    pub merits: &'a [Merit],
    /// For each signal so far, in order, the steps that were finished when it came.
    pub signals: &'a [usize],
    /// Gradients measured before the first step, where the policy needs them.
    pub gradients: Option<&'a RelativeGradients>,
}

/// The monitored figure of a validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merit {
    /// Optimizer steps finished.
    pub step: usize,
    /// The figure, turned so that more is better: a loss is negated.
    pub value: f64,
}

impl Progress<'_> {
    /// This moment as it looks from an earlier one, `step` optimizer steps into the run: epochs are counted from the
    /// first whole one after it, steps, validations and signals from it.
    pub fn since(self, step: usize) -> Self {
        let epoch = match step.saturating_sub(self.lead) {
            // Also where the length of an epoch is not known.
            0 => 0,
            past => past.div_ceil(self.steps_per_epoch.max(1)),
        };
        let begins = self.lead + epoch * self.steps_per_epoch;
        self.shifted(epoch, step, begins.saturating_sub(step))
    }

    /// This moment as it looks from the end of so many epochs.
    pub(super) fn since_epoch(self, epoch: usize) -> Self {
        self.shifted(epoch, self.lead + epoch * self.steps_per_epoch, 0)
    }

    fn shifted(self, epoch: usize, step: usize, lead: usize) -> Self {
        Self {
            epoch: self.epoch.saturating_sub(epoch),
            step: self.step.saturating_sub(step),
            steps: self.steps.saturating_sub(step),
            lead,
            merits: &self.merits[self.merits.partition_point(|merit| merit.step <= step)..],
            signals: &self.signals[self.signals.partition_point(|signal| *signal <= step)..],
            ..self
        }
    }
}

/// Decides which parameters train. It changes nothing itself, and its answer is a function of what it is given, so that
/// a run that goes on from a checkpoint has the plan it had.
///
/// `fit` asks at the start of every epoch, after every validation, after every signal, and where
/// [`asks_at`](Self::asks_at) says so.
pub trait FreezePolicy: Debug + Send + Sync {
    /// One answer for each of `inventory.entries`; those of buffers and flags are not read.
    ///
    /// # Errors
    /// [`FreezeError`], such as a selector that matches nothing.
    fn trainable(&self, inventory: &Inventory, at: Progress<'_>) -> Result<Vec<bool>, FreezeError>;

    /// Whether freezing the whole head is meant. Unless it is, a plan without a trainable head is an error.
    fn may_freeze_head(&self) -> bool {
        false
    }

    /// Whether to be asked at this step too; for policies that count steps.
    fn asks_at(&self, _at: Progress<'_>) -> bool {
        false
    }

    /// How many signals came since the last call; for policies that hold a [`Signal`](super::Signal).
    fn take_signals(&self) -> usize {
        0
    }

    /// Whether it waits for [`Progress::merits`]: `fit` then refuses a run without validation examples.
    fn needs_validation(&self) -> bool {
        false
    }

    /// Whether it reads [`Progress::gradients`]: `fit` then measures them before the first step.
    fn needs_gradients(&self) -> bool {
        false
    }
}
