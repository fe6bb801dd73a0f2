//! Options of a run that mean nothing, refused by name.

use super::calendar::Calendar;
use super::{Fit, SaveEvery, TrainError};
use crate::optim::Averaging;

/// Each batch made ahead takes memory.
const MOST_PREFETCHED: usize = 1000;

fn bad(option: &'static str, value: impl ToString, mend: &'static str) -> Result<(), TrainError> {
    Err(TrainError::BadOption { option, value: value.to_string(), mend })
}

impl Fit {
    /// Refuses options that mean nothing.
    pub(super) fn check(&self, coupled: bool) -> Result<(), TrainError> {
        self.check_counts()?;
        self.check_saving()?;
        self.check_rates()?;
        self.check_clipping()?;
        self.schedule.check()?;
        self.regularisation.check()?;
        self.check_optimizer()?;
        if coupled && self.accumulation > 1 {
            let mend = "this head's loss couples the rows of a batch; give 1";
            return bad("accumulation", self.accumulation, mend);
        }
        Ok(())
    }

    /// Refuses options that mean nothing in a run of so many steps.
    pub(super) fn check_run(&self, calendar: &Calendar) -> Result<(), TrainError> {
        self.schedule.check_for(calendar.steps)?;
        let takes =
            |averaging: Averaging| (1..=calendar.steps).any(|step| averaging.takes(step, calendar.steps_an_epoch));
        match (self.averaging, calendar.averaging(self.averaging)) {
            (Some(averaging), Some(dated)) if !takes(dated) => {
                let mend = "the run ends before it takes any weights; let it begin earlier or take more of them";
                bad("averaging", format!("{averaging:?}"), mend)
            }
            _ => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), TrainError> {
        let counts = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("accumulation", self.accumulation),
            ("max_tokens", self.max_tokens.unwrap_or(1)),
            ("max_steps", self.max_steps.unwrap_or(1)),
            ("eval_every", self.eval_every.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
        ];
        if let Some((option, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return bad(option, 0, "give at least 1");
        }
        if self.prefetch > MOST_PREFETCHED {
            return bad("prefetch", self.prefetch, "give at most 1000; a few batches are enough");
        }
        Ok(())
    }

    fn check_saving(&self) -> Result<(), TrainError> {
        match self.save_every {
            Some(SaveEvery::Steps(0)) => bad("save_every", "0 steps", "give at least 1"),
            Some(SaveEvery::Minutes(minutes)) if !(minutes >= 0.0) => {
                bad("save_every", format!("{minutes} minutes"), "give 0 or more")
            }
            _ if self.folder.is_none() && (self.resume || self.save_every.is_some()) => {
                bad("folder", "missing", "save_every and resume need one")
            }
            _ => Ok(()),
        }
    }

    fn check_rates(&self) -> Result<(), TrainError> {
        let rates = self.rates.groups.iter().filter_map(|rule| rule.lr).chain([self.rates.lr]);
        // Parameters are f32, in which 1e39 is infinite.
        if let Some(lr) = rates.into_iter().find(|lr| !(*lr as f32).is_finite() || *lr <= 0.0) {
            return bad("lr", lr, "give a number above 0, such as 5e-5");
        }
        let decays = self.rates.groups.iter().filter_map(|rule| rule.weight_decay).chain([self.rates.weight_decay]);
        if let Some(decay) = decays.into_iter().find(|decay| !decay.is_finite() || *decay < 0.0) {
            return bad("weight_decay", decay, "give 0 or a number above 0");
        }
        match self.rates.layer_decay {
            Some(decay) if !(decay > 0.0 && decay <= 1.0) => {
                bad("layer_decay", decay, "give a number above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }

    fn check_clipping(&self) -> Result<(), TrainError> {
        for (option, most) in [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)] {
            if let Some(most) = most.filter(|most| !(*most > 0.0)) {
                return bad(option, most, "give a number above 0, or None");
            }
        }
        match self.clip_norm_type.is_norm() {
            true => Ok(()),
            false => bad("clip_norm_type", format!("{:?}", self.clip_norm_type), "give a p of at least 1, or Max"),
        }
    }

    fn check_optimizer(&self) -> Result<(), TrainError> {
        if let Some(mend) = self.optimizer.mend() {
            return bad("optimizer", format!("{:?}", self.optimizer), mend);
        }
        if self.optimizer.sets_rate() && self.rates.lr != 1.0 {
            return bad("lr", self.rates.lr, "give 1, for Adafactor's relative_step sets the rate itself");
        }
        match self.averaging.and_then(|averaging| Some((averaging, averaging.mend()?))) {
            Some((averaging, mend)) => bad("averaging", format!("{averaging:?}"), mend),
            None => Ok(()),
        }
    }
}
