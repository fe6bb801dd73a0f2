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
    /// Optimizer steps of an epoch, where `begins` does not say more.
    pub steps_per_epoch: usize,
    /// Where epochs differ in their steps: the steps of the run before each of them from epoch 0 on, and those before
    /// its end. Only differences between them count. Empty where all epochs have `steps_per_epoch`.
    pub begins: &'a [usize],
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
        let epoch = match (step.saturating_sub(self.lead), self.begins) {
            // Also where the length of an epoch is not known.
            (0, _) => 0,
            (past, []) => past.div_ceil(self.steps_per_epoch.max(1)),
            (past, begins) => begins.partition_point(|begin| begin - begins[0] < past),
        };
        self.shifted(epoch, step, self.before(epoch).saturating_sub(step))
    }

    /// This moment as it looks from the end of so many epochs.
    pub(super) fn since_epoch(self, epoch: usize) -> Self {
        self.shifted(epoch, self.before(epoch), 0)
    }

    /// Optimizer steps before an epoch.
    fn before(&self, epoch: usize) -> usize {
        let steps = match (self.begins, self.begins.get(epoch)) {
            ([first, ..], Some(begin)) => begin - first,
            // Past the end of the run.
            ([_, ..], None) => usize::MAX,
            ([], _) => epoch * self.steps_per_epoch,
        };
        self.lead.saturating_add(steps)
    }

    fn shifted(self, epoch: usize, step: usize, lead: usize) -> Self {
        Self {
            epoch: self.epoch.saturating_sub(epoch),
            step: self.step.saturating_sub(step),
            steps: self.steps.saturating_sub(step),
            lead,
            begins: self.begins.get(epoch..).unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs of 3, 5 and 2 steps.
    fn at(step: usize) -> Progress<'static> {
        let begins = [0, 3, 8, 10].as_slice();
        let epoch = begins.iter().rposition(|begin| *begin <= step).unwrap_or(0);
        Progress { epoch, step, steps: 10, steps_per_epoch: 3, begins, ..Progress::default() }
    }

    impl Progress<'_> {
        fn seen(self) -> [usize; 4] {
            [self.epoch, self.step, self.steps, self.lead]
        }
    }

    #[test]
    fn epochs_that_differ_are_counted_from_the_first_whole_one() {
        assert_eq!(at(8).since(4).seen(), [0, 4, 6, 4]);
        assert_eq!(at(9).since(3).seen(), [1, 6, 7, 0]);
        assert_eq!(at(9).since(2).seen(), [1, 7, 8, 1]);
        // From the middle of the second epoch, then from a step later: the third one is still the first whole one.
        assert_eq!(at(9).since(4).since(1).seen(), [0, 4, 5, 3]);
        assert_eq!(at(9).since_epoch(1).seen(), [1, 6, 7, 0]);
        assert_eq!(at(9).since_epoch(1).since_epoch(1).seen(), [0, 1, 2, 0]);
        assert_eq!(at(9).since(2).since_epoch(1).seen(), [0, 1, 2, 0]);
    }

    #[test]
    fn equal_epochs_may_be_written_either_way() {
        let even =
            |step: usize| Progress { epoch: step / 4, step, steps: 12, steps_per_epoch: 4, ..Progress::default() };
        for (step, from, again) in [(9, 0, 2), (9, 4, 3), (11, 5, 4), (7, 3, 0), (8, 8, 0)] {
            let listed = Progress { begins: &[0, 4, 8, 12], ..even(step) };
            assert_eq!(listed.since(from).seen(), even(step).since(from).seen());
            assert_eq!(listed.since(from).since(again).seen(), even(step).since(from).since(again).seen());
            assert_eq!(listed.since_epoch(1).seen(), even(step).since_epoch(1).seen());
        }
    }
}
