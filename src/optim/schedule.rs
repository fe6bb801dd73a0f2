//! Learning-rate schedules: the factor on the base rate at each optimizer step.

use super::stable_decay::WarmupStableDecay;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A schedule that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A share of the run is not a share.
    #[error(
        "a warm-up ratio of {ratio} is outside 0..=1; 0.1 warms up over a tenth of the steps, `Steps` counts steps"
    )]
    BadRatio {
        /// The ratio.
        ratio: f64,
    },
    /// A number of the schedule means nothing.
    #[error("the schedule's {option} is {value}; {mend}")]
    BadOption {
        /// Its name.
        option: &'static str,
        /// What it is.
        value: f64,
        /// What to do.
        mend: &'static str,
    },
    /// A polynomial has no step to fall in. Transformers divides by 0 there.
    #[error("the warm-up takes all {steps} steps and leaves none for the polynomial; shorten it, or train longer")]
    NoDecay {
        /// Steps of the run.
        steps: usize,
    },
}

/// How long the rate rises linearly from 0 before the schedule proper.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    /// A number of optimizer steps.
    Steps(usize),
    /// A share of all steps, rounded up.
    Ratio(f64),
}

impl Default for Warmup {
    /// No warm-up.
    fn default() -> Self {
        Self::Steps(0)
    }
}

impl Warmup {
    /// The warm-up in steps of a run of `total` steps.
    pub fn steps(self, total: usize) -> usize {
        match self {
            Self::Steps(steps) => steps,
            Self::Ratio(ratio) => (total as f64 * ratio).ceil() as usize,
        }
    }

    pub(super) fn check(self) -> Result<(), ScheduleError> {
        match self {
            Self::Ratio(ratio) if !(0.0..=1.0).contains(&ratio) => Err(ScheduleError::BadRatio { ratio }),
            _ => Ok(()),
        }
    }
}

/// The schedules of Transformers' `get_scheduler` of the same names, with warm-up. Where those take a learning rate
/// (`min_lr`, `lr_end`), these take its share of the peak rate, so that they hold for every parameter group.
///
/// Not here: `reduce_lr_on_plateau` and `greedy`, which are no functions of the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The base rate throughout (`constant`, `constant_with_warmup`).
    Constant {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
    },
    /// A straight line down to 0 at the last step (`linear`).
    Linear {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
    },
    /// Half a cosine down to 0 at the last step (`cosine`; for other `num_cycles` take
    /// [`CosineWithMinLr`](Self::CosineWithMinLr) with a `min_lr_rate` of 0).
    Cosine {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
    },
    /// Half cosines down to 0, one after another (`cosine_with_restarts`).
    CosineWithRestarts {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
        /// How many.
        cycles: usize,
    },
    /// A cosine between the base rate and a lowest one (`cosine_with_min_lr`).
    CosineWithMinLr {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
        /// The lowest rate as a share of the base rate.
        min_lr_rate: f64,
        /// Waves; 0.5 falls once.
        #[serde(default = "half")]
        cycles: f64,
    },
    /// The same one step ahead, so that the first rate is not 0 and the last one is the lowest
    /// (`cosine_warmup_with_min_lr`).
    CosineWarmupWithMinLr {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
        /// The lowest rate as a share of the base rate.
        min_lr_rate: f64,
        /// Waves; 0.5 falls once.
        #[serde(default = "half")]
        cycles: f64,
        /// The first rate as a share of the base rate; `None`: 1 / warm-up steps.
        #[serde(default)]
        warmup_lr_rate: Option<f64>,
    },
    /// A power of what is left of the run (`polynomial`).
    Polynomial {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
        /// The power; 1 is a straight line.
        power: f64,
        /// The rate at the end as a share of the base rate: Transformers' `lr_end` divided by it.
        end_lr_rate: f64,
    },
    /// One over the root of the steps since the warm-up (`inverse_sqrt`).
    InverseSqrt {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
        /// Steps after which the rate has fallen to `1 / sqrt(2)`; `None`: the warm-up's, or 10,000 without one.
        #[serde(default)]
        timescale: Option<usize>,
    },
    /// A rise, the base rate, and a fall at the end (`warmup_stable_decay`).
    WarmupStableDecay(WarmupStableDecay),
}

pub(super) fn half() -> f64 {
    0.5
}

/// Refuses what is not in `0..=1`.
pub(super) fn check_share(option: &'static str, value: f64) -> Result<(), ScheduleError> {
    let mend = "give a share of the base rate, from 0 to 1";
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(ScheduleError::BadOption { option, value, mend }) }
}

/// Refuses what is not a number above 0.
pub(super) fn check_positive(option: &'static str, value: f64) -> Result<(), ScheduleError> {
    let mend = "give a number above 0";
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(ScheduleError::BadOption { option, value, mend }) }
}

impl Schedule {
    /// The warm-up.
    pub fn warmup(&self) -> Warmup {
        match *self {
            Self::Constant { warmup }
            | Self::Linear { warmup }
            | Self::Cosine { warmup }
            | Self::CosineWithRestarts { warmup, .. }
            | Self::CosineWithMinLr { warmup, .. }
            | Self::CosineWarmupWithMinLr { warmup, .. }
            | Self::Polynomial { warmup, .. }
            | Self::InverseSqrt { warmup, .. }
            | Self::WarmupStableDecay(WarmupStableDecay { warmup, .. }) => warmup,
        }
    }

    /// Refuses a schedule that cannot be meant.
    ///
    /// # Errors
    /// [`ScheduleError::BadRatio`] for a share of the run outside 0..=1, [`ScheduleError::BadOption`] for any other
    /// number without a meaning.
    pub fn check(&self) -> Result<(), ScheduleError> {
        self.warmup().check()?;
        match *self {
            Self::Constant { .. } | Self::Linear { .. } | Self::Cosine { .. } => Ok(()),
            Self::CosineWithRestarts { cycles, .. } => check_positive("cycles", cycles as f64),
            Self::CosineWithMinLr { min_lr_rate, cycles, .. } => {
                check_share("min_lr_rate", min_lr_rate)?;
                check_positive("cycles", cycles)
            }
            Self::CosineWarmupWithMinLr { min_lr_rate, cycles, warmup_lr_rate, .. } => {
                check_share("min_lr_rate", min_lr_rate)?;
                check_share("warmup_lr_rate", warmup_lr_rate.unwrap_or(0.0))?;
                check_positive("cycles", cycles)
            }
            Self::Polynomial { power, end_lr_rate, .. } => {
                let mend = "the rate at the end must be below the base rate; give a share from 0 to below 1";
                if !(0.0..1.0).contains(&end_lr_rate) {
                    return Err(ScheduleError::BadOption { option: "end_lr_rate", value: end_lr_rate, mend });
                }
                check_positive("power", power)
            }
            Self::InverseSqrt { timescale, .. } => check_positive("timescale", timescale.unwrap_or(1) as f64),
            Self::WarmupStableDecay(schedule) => schedule.check(),
        }
    }

    /// Refuses a schedule that fails in a run of `total` steps.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), and [`ScheduleError::NoDecay`] where Transformers divides by 0.
    pub fn check_for(&self, total: usize) -> Result<(), ScheduleError> {
        self.check()?;
        match self {
            Self::Polynomial { warmup, .. } if warmup.steps(total) == total => {
                Err(ScheduleError::NoDecay { steps: total })
            }
            _ => Ok(()),
        }
    }

    /// What the base rate is multiplied with for optimizer step `step`, counted from 0, of `total`.
    ///
    /// With warm-up the first step has rate 0, but for [`CosineWarmupWithMinLr`](Self::CosineWarmupWithMinLr). Past the
    /// end the values are Transformers' too: the cosines without restarts rise again.
    pub fn factor(&self, step: usize, total: usize) -> f64 {
        let warmup = self.warmup().steps(total);
        if let Self::WarmupStableDecay(schedule) = self {
            return schedule.factor(step, total);
        }
        if step < warmup {
            return self.rise(step, warmup);
        }
        let decay = total.saturating_sub(warmup).max(1) as f64;
        let since = (step - warmup) as f64;
        match *self {
            Self::Constant { .. } | Self::WarmupStableDecay(_) => 1.0,
            Self::Linear { .. } => total.saturating_sub(step) as f64 / decay,
            Self::Cosine { .. } => cosine(since / decay, half(), 0.0),
            Self::CosineWithRestarts { .. } if since >= decay => 0.0,
            Self::CosineWithRestarts { cycles, .. } => cosine((cycles as f64 * (since / decay)) % 1.0, half(), 0.0),
            Self::CosineWithMinLr { min_lr_rate, cycles, .. } => cosine(since / decay, cycles, min_lr_rate),
            Self::CosineWarmupWithMinLr { min_lr_rate, cycles, .. } => {
                cosine((since + 1.0) / decay, cycles, min_lr_rate)
            }
            Self::Polynomial { end_lr_rate, .. } if step > total => end_lr_rate,
            Self::Polynomial { power, end_lr_rate, .. } => {
                (1.0 - end_lr_rate) * (1.0 - since / decay).powf(power) + end_lr_rate
            }
            Self::InverseSqrt { timescale, .. } => {
                let usual = if warmup == 0 { 10_000 } else { warmup };
                let timescale = timescale.unwrap_or(usual).max(1) as f64;
                1.0 / ((since + timescale) / timescale).sqrt()
            }
        }
    }

    /// The factor during the warm-up.
    fn rise(&self, step: usize, warmup: usize) -> f64 {
        let (step, steps) = (step as f64, warmup as f64);
        match *self {
            Self::CosineWarmupWithMinLr { warmup_lr_rate: None, .. } => (step + 1.0) / steps,
            Self::CosineWarmupWithMinLr { warmup_lr_rate: Some(first), .. } => {
                first + (1.0 - first) * step / (steps - 1.0).max(1.0)
            }
            _ => step / steps,
        }
    }
}

/// A cosine from 1 that has gone `cycles` waves when `progress` is 1, raised to the floor `min`.
pub(super) fn cosine(progress: f64, cycles: f64, min: f64) -> f64 {
    let wave = 0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos());
    (wave * (1.0 - min) + min).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_round_up() {
        assert_eq!(Warmup::Ratio(0.1).steps(101), 11);
        assert_eq!(Warmup::Ratio(0.0).steps(101), 0);
        assert_eq!(Warmup::default().steps(101), 0);
        let (ratio, steps) = (Warmup::Ratio(0.25), Warmup::Steps(3));
        assert_eq!(Schedule::Linear { warmup: ratio }.factor(5, 12), Schedule::Linear { warmup: steps }.factor(5, 12));
    }

    #[test]
    fn a_schedule_round_trips_through_json() {
        let schedule = Schedule::Linear { warmup: Warmup::Ratio(0.1) };
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(json, r#"{"linear":{"warmup":{"ratio":0.1}}}"#);
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        let constant: Schedule = serde_json::from_str(r#"{"constant":{}}"#).unwrap();
        assert_eq!(constant, Schedule::Constant { warmup: Warmup::Steps(0) });
        let stable: Schedule = serde_json::from_str(r#"{"warmup_stable_decay":{"decay":{"steps":4}}}"#).unwrap();
        let expected = WarmupStableDecay { decay: Warmup::Steps(4), ..WarmupStableDecay::default() };
        assert_eq!(stable, Schedule::WarmupStableDecay(expected));
    }

    #[test]
    fn an_empty_run_has_finite_factors() {
        let warmup = Warmup::default();
        for schedule in [
            Schedule::Linear { warmup },
            Schedule::Cosine { warmup },
            Schedule::CosineWithRestarts { warmup, cycles: 2 },
            Schedule::Polynomial { warmup, power: 2.0, end_lr_rate: 0.0 },
            Schedule::InverseSqrt { warmup, timescale: None },
            Schedule::WarmupStableDecay(WarmupStableDecay::default()),
        ] {
            assert!(schedule.factor(0, 0).is_finite(), "{schedule:?}");
        }
    }
}
