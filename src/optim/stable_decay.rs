use super::schedule::{ScheduleError, Warmup, check_positive, check_share, cosine, half};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A rise, the base rate, and a fall at the end: `get_wsd_schedule` of Transformers. Neither phase depends on the length
/// of the other, so a run can go on from its stable phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WarmupStableDecay {
    /// How long the rate rises.
    pub warmup: Warmup,
    /// How long it falls, in steps or as a share of the run.
    pub decay: Warmup,
    /// Steps at the base rate; `None`: what the run leaves. After the fall the rate stays at the lowest.
    pub stable: Option<usize>,
    /// How it rises.
    pub warmup_shape: Ramp,
    /// How it falls.
    pub decay_shape: Ramp,
    /// The first and the last rate as a share of the base rate.
    pub min_lr_rate: f64,
    /// Waves of a cosine fall; 0.5 falls once.
    pub cycles: f64,
}

/// The shape of a rise or a fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ramp {
    /// A straight line.
    Linear,
    /// Half a cosine.
    Cosine,
    /// One minus a root (`1-sqrt`): slow at the end of a fall and at the start of a rise.
    OneMinusSqrt,
}

impl Default for WarmupStableDecay {
    /// No warm-up; falls over the last fifth, as half a cosine, to 0.
    fn default() -> Self {
        Self {
            warmup: Warmup::default(),
            decay: Warmup::Ratio(0.2),
            stable: None,
            warmup_shape: Ramp::Linear,
            decay_shape: Ramp::Cosine,
            min_lr_rate: 0.0,
            cycles: half(),
        }
    }
}

impl WarmupStableDecay {
    pub(super) fn check(&self) -> Result<(), ScheduleError> {
        self.warmup.check()?;
        self.decay.check()?;
        check_share("min_lr_rate", self.min_lr_rate)?;
        check_positive("cycles", self.cycles)
    }

    pub(super) fn factor(&self, step: usize, total: usize) -> f64 {
        let (warmup, decay) = (self.warmup.steps(total), self.decay.steps(total));
        if step < warmup {
            return self.above(self.rise(step as f64 / warmup as f64));
        }
        // Below the warm-up where the fall is longer than the run: then it begins in its middle.
        let falls_at = match self.stable {
            Some(stable) => (warmup + stable) as i128,
            None => total as i128 - decay as i128,
        };
        match step as i128 - falls_at {
            since if since < 0 => 1.0,
            since if since < decay as i128 => self.above(self.fall(since as f64 / decay as f64)),
            _ => self.min_lr_rate,
        }
    }

    fn above(&self, factor: f64) -> f64 {
        (factor * (1.0 - self.min_lr_rate) + self.min_lr_rate).max(0.0)
    }

    fn rise(&self, progress: f64) -> f64 {
        match self.warmup_shape {
            Ramp::Linear => progress,
            Ramp::Cosine => 0.5 * (1.0 - (PI * progress).cos()),
            Ramp::OneMinusSqrt => 1.0 - (1.0 - progress).sqrt(),
        }
    }

    fn fall(&self, progress: f64) -> f64 {
        match self.decay_shape {
            Ramp::Linear => 1.0 - progress,
            Ramp::Cosine => cosine(progress, self.cycles, 0.0),
            Ramp::OneMinusSqrt => 1.0 - progress.sqrt(),
        }
    }
}
