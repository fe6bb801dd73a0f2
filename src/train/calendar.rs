//! The optimizer steps of a run, epoch by epoch.

use super::{Fit, TrainError};
use crate::optim::{Averaging, Start};

/// With a budget of tokens the steps of every epoch are counted before the run; more epochs than this are a mistake.
const COUNTED: usize = 100_000;

/// How far a run goes, and where its epochs begin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Calendar {
    /// Optimizer steps of the run.
    pub(super) steps: usize,
    /// Epochs begun.
    pub(super) epochs: usize,
    /// Optimizer steps of an epoch, of the first one where they differ.
    pub(super) steps_an_epoch: usize,
    /// Where epochs may differ: the steps before each, and those before the end of the last one. Empty where they do not.
    begins: Vec<usize>,
}

impl Calendar {
    /// Of a run over examples of these lengths, at least one.
    pub(super) fn of(config: &Fit, lengths: &[usize]) -> Result<Self, TrainError> {
        let order = config.order();
        let steps_of = |epoch: usize| order.count(lengths, epoch as u64).div_ceil(config.accumulation);
        let steps_an_epoch = steps_of(0);
        if order.max_tokens.is_none() {
            let steps = config.max_steps.unwrap_or(config.epochs.saturating_mul(steps_an_epoch));
            return Ok(Self { steps, epochs: steps.div_ceil(steps_an_epoch), steps_an_epoch, begins: vec![] });
        }
        let (mut begins, mut end) = (vec![0], 0);
        while config.max_steps.map_or(begins.len() <= config.epochs, |steps| end < steps) {
            if begins.len() > COUNTED {
                let (option, value) = config.max_steps.map_or(("epochs", config.epochs), |steps| ("max_steps", steps));
                let mend = "with max_tokens at most 100,000 epochs can be counted ahead; give less";
                return Err(TrainError::BadOption { option, value: value.to_string(), mend });
            }
            end += steps_of(begins.len() - 1);
            begins.push(end);
        }
        Ok(Self { steps: config.max_steps.unwrap_or(end), epochs: begins.len() - 1, steps_an_epoch, begins })
    }

    /// Optimizer steps before an epoch, counted from 0; `usize::MAX` past the last one.
    pub(super) fn before(&self, epoch: usize) -> usize {
        match self.begins.as_slice() {
            [] => epoch.saturating_mul(self.steps_an_epoch),
            begins => begins.get(epoch).copied().unwrap_or(usize::MAX),
        }
    }

    /// The epoch of the step after so many.
    pub(super) fn epoch_at(&self, step: usize) -> usize {
        match self.begins.as_slice() {
            [] => step / self.steps_an_epoch,
            begins => begins.partition_point(|begin| *begin <= step) - 1,
        }
    }

    /// As [`Progress`](crate::params::Progress) has them.
    pub(super) fn begins(&self) -> &[usize] {
        &self.begins
    }

    /// Whether the steps after the first `step` are no more than those of an epoch, so that no example need come twice.
    pub(super) fn ends_within_an_epoch(&self, step: usize) -> bool {
        let epoch = self.epoch_at(step);
        self.steps - step <= self.before(epoch + 1).saturating_sub(self.before(epoch))
    }

    /// Averaging that begins with an epoch, by the step with which that begins.
    pub(super) fn averaging(&self, averaging: Option<Averaging>) -> Option<Averaging> {
        averaging.map(|averaging| match averaging {
            Averaging::Swa { start: Start::Epoch(epoch), every } => {
                Averaging::Swa { start: Start::Step(self.before(epoch).saturating_add(1)), every }
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(config: Fit) -> Calendar {
        let lengths: Vec<usize> = (0..300).map(|row| 1 + (row * 7919) % 97).collect();
        Calendar::of(&Fit { accumulation: 3, ..config }, &lengths).unwrap()
    }

    #[test]
    fn epochs_of_equal_batches_are_equal() {
        let even = calendar(Fit { epochs: 4, batch_size: 32, ..Fit::default() });
        assert_eq!((even.steps, even.epochs, even.steps_an_epoch, even.begins().len()), (16, 4, 4, 0));
        assert_eq!([0, 3, 4, 15, 16].map(|step| even.epoch_at(step)), [0, 0, 1, 3, 4]);
        assert!(even.ends_within_an_epoch(12) && !even.ends_within_an_epoch(11));
        let cut = calendar(Fit { max_steps: Some(6), batch_size: 32, ..Fit::default() });
        assert_eq!((cut.steps, cut.epochs), (6, 2));
        assert!(calendar(Fit { max_steps: Some(4), batch_size: 32, ..Fit::default() }).ends_within_an_epoch(0));
    }

    #[test]
    fn epochs_of_batches_by_budget_are_counted() {
        let budget = |config| Fit { max_tokens: Some(200), bucket: false, ..config };
        let uneven = calendar(budget(Fit { epochs: 6, ..Fit::default() }));
        let begins = uneven.begins();
        assert_eq!((begins.len(), begins[0], begins[6], uneven.epochs), (7, 0, uneven.steps, 6));
        let lengths: Vec<usize> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(lengths.iter().any(|steps| *steps != lengths[0]), "{lengths:?}");
        for epoch in 0..6 {
            assert_eq!(uneven.before(epoch), begins[epoch]);
            assert_eq!(uneven.epoch_at(begins[epoch]), epoch);
            assert_eq!(uneven.epoch_at(begins[epoch + 1] - 1), epoch);
            assert!(epoch == 5 || !uneven.ends_within_an_epoch(begins[epoch]));
        }
        assert!(uneven.ends_within_an_epoch(begins[5]) && uneven.epoch_at(uneven.steps) == 6);
        // As many steps by number are the same steps.
        assert_eq!(calendar(budget(Fit { max_steps: Some(uneven.steps), ..Fit::default() })), uneven);
        let cut = calendar(budget(Fit { max_steps: Some(begins[2] + 1), ..Fit::default() }));
        assert_eq!((cut.steps, cut.epochs, cut.begins()), (begins[2] + 1, 3, &begins[..4]));
        let swa = Averaging::Swa { start: Start::Epoch(2), every: 1 };
        let start = Start::Step(begins[2] + 1);
        assert_eq!(uneven.averaging(Some(swa)), Some(Averaging::Swa { start, every: 1 }));
    }

    #[test]
    fn more_epochs_than_can_be_counted_are_refused() {
        let by_epochs = Fit { epochs: usize::MAX, max_tokens: Some(8), ..Fit::default() };
        let by_steps = Fit { max_steps: Some(usize::MAX), ..by_epochs.clone() };
        for (config, named) in [(by_epochs, "epochs"), (by_steps, "max_steps")] {
            let error = Calendar::of(&config, &[5, 6]).unwrap_err();
            assert!(matches!(error, TrainError::BadOption { option, .. } if option == named));
        }
    }
}
