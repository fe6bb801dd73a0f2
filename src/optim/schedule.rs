//! Learning-rate schedules: the factor on the base rate at each optimizer step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// A schedule that cannot be meant.
#[derive(Debug, thiserror::Error)]
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
}

/// The schedules of Transformers' `get_scheduler` of the same names, with warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The base rate throughout (`constant_with_warmup`).
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
    /// Half a cosine down to 0 at the last step (`cosine`).
    Cosine {
        /// How long the rate rises.
        #[serde(default)]
        warmup: Warmup,
    },
}

impl Schedule {
    /// The warm-up.
    pub fn warmup(&self) -> Warmup {
        match *self {
            Self::Constant { warmup } | Self::Linear { warmup } | Self::Cosine { warmup } => warmup,
        }
    }

    /// Refuses a schedule that cannot be meant.
    ///
    /// # Errors
    /// [`ScheduleError::BadRatio`] for a warm-up ratio outside 0..=1.
    pub fn check(&self) -> Result<(), ScheduleError> {
        match self.warmup() {
            Warmup::Ratio(ratio) if !(0.0..=1.0).contains(&ratio) => Err(ScheduleError::BadRatio { ratio }),
            _ => Ok(()),
        }
    }

    /// What the base rate is multiplied with for optimizer step `step`, counted from 0, of `total`.
    ///
    /// With warm-up the first step has rate 0. Past the end `Linear` stays at 0, and `Cosine` rises again, as there.
    pub fn factor(&self, step: usize, total: usize) -> f64 {
        let warmup = self.warmup().steps(total);
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let decay = total.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant { .. } => 1.0,
            Self::Linear { .. } => total.saturating_sub(step) as f64 / decay,
            Self::Cosine { .. } => 0.5 * (1.0 + (PI * ((step - warmup) as f64 / decay)).cos()),
        }
    }
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
    fn ratios_that_are_none_are_refused() {
        for ratio in [-0.1, 1.5, f64::NAN] {
            assert!(Schedule::Cosine { warmup: Warmup::Ratio(ratio) }.check().is_err());
        }
        assert!(Schedule::Cosine { warmup: Warmup::Ratio(1.0) }.check().is_ok());
    }

    #[test]
    fn a_schedule_round_trips_through_json() {
        let schedule = Schedule::Linear { warmup: Warmup::Ratio(0.1) };
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(json, r#"{"linear":{"warmup":{"ratio":0.1}}}"#);
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        let constant: Schedule = serde_json::from_str(r#"{"constant":{}}"#).unwrap();
        assert_eq!(constant, Schedule::Constant { warmup: Warmup::Steps(0) });
    }

    #[test]
    fn an_empty_run_has_finite_factors() {
        for schedule in [Schedule::Linear { warmup: Warmup::default() }, Schedule::Cosine { warmup: Warmup::default() }]
        {
            assert!(schedule.factor(0, 0).is_finite());
        }
    }
}
