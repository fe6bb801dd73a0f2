use super::fit::begin;
use super::{Data, Fit, TrainError};
use crate::backbone::Backbone;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::Objective;
use crate::params::FreezePolicy;
use crate::plot::{Line, LineChart, Mark, Scale};
use burn::module::Module;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The learning-rate range test ([Smith, 2017](https://arxiv.org/abs/1506.01186)): training steps on a copy of the model
/// whose rate rises exponentially, until the loss does too. The defaults are fastai's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrFinder {
    /// Rate of the first step.
    pub start: f64,
    /// Rate of the last step.
    pub end: f64,
    /// Optimizer steps, at most.
    pub steps: usize,
    /// Share of the former mean in the running mean of the loss.
    pub smoothing: f64,
    /// The search ends where the smoothed loss is above so many times its lowest value.
    pub stop_ratio: f64,
}

impl Default for LrFinder {
    fn default() -> Self {
        Self { start: 1e-7, end: 10.0, steps: 100, smoothing: 0.98, stop_ratio: 4.0 }
    }
}

/// The last steps, which diverge.
const DIVERGING: usize = 5;

/// One step of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LrPoint {
    /// The rate of [`Rates::lr`](crate::params::Rates::lr) with which the step updates.
    pub lr: f64,
    /// Mean loss of the step, before its update.
    pub loss: f64,
    /// Running mean of the loss, corrected for its start at 0.
    pub smoothed: f64,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrStop {
    /// All steps are done.
    Finished,
    /// The smoothed loss rose above `stop_ratio` times its lowest value.
    Diverged,
    /// A loss, a gradient or a weight was NaN or infinite.
    NotFinite,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LrCurve {
    /// Every step, rates rising.
    pub points: Vec<LrPoint>,
    /// Why there are no more.
    pub stop: LrStop,
    /// Half way through the longest fall of the smoothed loss; `None` where it never falls.
    pub valley: Option<f64>,
    /// Where the smoothed loss falls fastest; `None` where it never falls.
    pub steep: Option<f64>,
}

impl LrFinder {
    /// Searches on a copy; `model` keeps its bits. Order, dropout and masking are those of a run with this `config`, and so are
    /// the freeze policy (as it is in the first epoch), accumulation and clipping. Rates that the configuration sets apart for
    /// groups or layers keep their ratio to [`Rates::lr`](crate::params::Rates::lr).
    ///
    /// # Errors
    /// An option that means nothing, no examples, no plan, an example that cannot be read, a loss that is NaN at the first
    /// rate. A NaN later ends the search.
    pub fn search<B, H, O>(
        &self,
        model: &Model<B, H>,
        objective: &O,
        examples: &[O::Example],
        policy: &dyn FreezePolicy,
        config: &Fit,
    ) -> Result<LrCurve, Error>
    where
        B: Backbone,
        H: TaskHead<B::Features>,
        O: Objective<Input = B::Input, Targets = H::Targets>,
    {
        self.check()?;
        let (mut copy, trial) = (model.valid(), config.on_trial());
        let data = Data { train: examples, validation: &[] };
        let mut run = begin(&mut copy, objective, data, policy, &trial, &mut [])?;
        let first = run.plan_at(0, 0)?;
        run.begin_with(first)?;
        let (lengths, order, accumulation) = (run.lengths.clone(), trial.order(), trial.accumulation);
        let steps = (0..).flat_map(|epoch| {
            let batches = order.batches(&lengths, epoch as u64);
            let steps: Vec<_> = batches.chunks(accumulation).map(<[_]>::to_vec).collect();
            steps.into_iter().map(move |micro_batches| (epoch, micro_batches))
        });
        let mut search = Search { finder: self, points: vec![], mean: 0.0, lowest: f64::INFINITY };
        for (step, (epoch, micro_batches)) in steps.take(self.steps).enumerate() {
            let lr = self.lr(step);
            run.rate = Some(lr / config.rates.lr);
            match run.step(&micro_batches, epoch, None) {
                Ok(info) if search.add(lr, info.loss) => {}
                Ok(_) => return Ok(search.end(LrStop::Diverged)),
                Err(error) if step > 0 && is_not_finite(&error) => return Ok(search.end(LrStop::NotFinite)),
                Err(error) => return Err(error),
            }
        }
        Ok(search.end(LrStop::Finished))
    }

    /// The rate of a step, counted from 0.
    fn lr(&self, step: usize) -> f64 {
        self.start * (self.end / self.start).powf(step as f64 / (self.steps - 1) as f64)
    }

    fn check(&self) -> Result<(), TrainError> {
        let bad = |option, value: String, mend| Err(TrainError::BadOption { option, value, mend });
        let Self { start, end, steps, smoothing, stop_ratio } = *self;
        if !(start > 0.0 && start < end && (end as f32).is_finite()) {
            return bad("lr_finder", format!("{start} to {end}"), "give a start above 0 and a larger end");
        }
        if steps < 2 {
            return bad("lr_finder.steps", steps.to_string(), "give at least 2");
        }
        if !(0.0..1.0).contains(&smoothing) {
            return bad("lr_finder.smoothing", smoothing.to_string(), "give a number from 0 to below 1");
        }
        if !(stop_ratio > 1.0) {
            return bad("lr_finder.stop_ratio", stop_ratio.to_string(), "give a number above 1");
        }
        Ok(())
    }
}

fn is_not_finite(error: &Error) -> bool {
    use TrainError::{GradientNotFinite, LossNotFinite, WeightNotFinite};
    matches!(error, Error::Train(LossNotFinite { .. } | GradientNotFinite { .. } | WeightNotFinite { .. }))
}

struct Search<'a> {
    finder: &'a LrFinder,
    points: Vec<LrPoint>,
    /// The running mean, not corrected.
    mean: f64,
    lowest: f64,
}

impl Search<'_> {
    /// Notes a step; false where the loss has risen too far.
    fn add(&mut self, lr: f64, loss: f64) -> bool {
        let LrFinder { smoothing, stop_ratio, .. } = *self.finder;
        self.mean = smoothing * self.mean + (1.0 - smoothing) * loss;
        let smoothed = self.mean / (1.0 - smoothing.powi(self.points.len() as i32 + 1));
        self.points.push(LrPoint { lr, loss, smoothed });
        self.lowest = self.lowest.min(smoothed);
        smoothed <= stop_ratio * self.lowest
    }

    fn end(self, stop: LrStop) -> LrCurve {
        let points = self.points;
        // The first tenth is settling.
        let inner = points.get(self.finder.steps / 10..points.len().saturating_sub(DIVERGING)).unwrap_or(&[]);
        let inner = if inner.len() < 3 { points.as_slice() } else { inner };
        let (valley, steep) = (valley(inner), steep(inner));
        LrCurve { points, stop, valley, steep }
    }
}

/// The rate half way through the longest falling subsequence of the smoothed loss, taken as the interval that ends where
/// it does and has as many points: fastai's `valley`.
fn valley(points: &[LrPoint]) -> Option<f64> {
    let mut lengths = vec![1_usize; points.len()];
    for late in 1..points.len() {
        for early in 0..late {
            if points[late].smoothed < points[early].smoothed {
                lengths[late] = lengths[late].max(lengths[early] + 1);
            }
        }
    }
    let longest = *lengths.iter().max()?;
    let end = lengths.iter().position(|length| *length == longest)?;
    // A third of the interval from its start, and half a third more; the interval may begin before the first point.
    let section = longest / 3;
    (longest > 1).then(|| points[(end + section + section / 2).saturating_sub(longest)].lr)
}

/// The rate at which the smoothed loss falls fastest over the logarithm of the rate.
fn steep(points: &[LrPoint]) -> Option<f64> {
    let slopes = points.windows(2).map(|pair| {
        let slope = (pair[1].smoothed - pair[0].smoothed) / (pair[1].lr / pair[0].lr).ln();
        (slope, pair[0].lr)
    });
    let (slope, lr) = slopes.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (slope < 0.0).then_some(lr)
}

impl LrCurve {
    /// The rate to train with: the valley, which is the more careful one, or else the steepest place.
    pub fn suggestion(&self) -> Option<f64> {
        self.valley.or(self.steep)
    }

    /// The search as a picture; [`LineChart::save`] writes it. The last steps, which diverge, and losses far above the
    /// smoothed ones are left out, for the fall would not be seen beside them.
    pub fn chart(&self) -> LineChart {
        let shown = match self.stop {
            LrStop::Finished => self.points.as_slice(),
            _ => &self.points[..self.points.len().saturating_sub(DIVERGING).max(1).min(self.points.len())],
        };
        let ceiling = 1.25 * shown.iter().map(|point| point.smoothed).fold(0.0, f64::max);
        let line = |name: &str, value: fn(&LrPoint) -> f64| Line {
            name: name.into(),
            points: shown.iter().map(|point| (point.lr, value(point))).filter(|(_, loss)| *loss <= ceiling).collect(),
        };
        let mark = |name: &str, lr: f64| Mark { x: lr, text: format!("{name} {lr:.1e}") };
        let marks = [("valley", self.valley), ("steep", self.steep)];
        LineChart {
            title: "Learning-rate range test".into(),
            x_label: "learning rate".into(),
            y_label: "training loss".into(),
            x_scale: Scale::Log10,
            lines: vec![line("loss", |point| point.loss), line("smoothed", |point| point.smoothed)],
            marks: marks.into_iter().filter_map(|(name, lr)| Some(mark(name, lr?))).collect(),
            ..LineChart::default()
        }
    }
}

impl fmt::Display for LrCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.stop {
            LrStop::Finished => "all steps done",
            LrStop::Diverged => "the loss rose",
            LrStop::NotFinite => "the loss was no longer a number",
        };
        let last = self.points.last().map_or(0.0, |point| point.lr);
        writeln!(f, "learning-rate search: {} steps up to {last:.1e} ({why})", self.points.len())?;
        let rate = |lr: Option<f64>| lr.map_or("none, the loss never fell".to_string(), |lr| format!("{lr:.1e}"));
        writeln!(f, "  valley  {}", rate(self.valley))?;
        write!(f, "  steep   {}", rate(self.steep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(smoothed: &[f64]) -> Vec<LrPoint> {
        let point = |(index, smoothed): (usize, &f64)| LrPoint {
            lr: 10_f64.powi(index as i32),
            loss: 0.0,
            smoothed: *smoothed,
        };
        smoothed.iter().enumerate().map(point).collect()
    }

    #[test]
    fn the_valley_is_half_way_through_the_longest_fall() {
        // Indices by fastai's function of that name.
        let points = curve(&[5.0, 5.1, 4.9, 4.5, 4.0, 3.0, 2.5, 2.4, 2.6, 3.5, 7.0]);
        assert_eq!(valley(&points), Some(10_f64.powi(3)));
        let noisy = [
            5.067, 5.274, 5.082, 4.678, 4.648, 4.475, 4.426, 4.344, 3.847, 3.664, 3.918, 3.566, 3.581, 3.051, 3.123,
            3.111, 2.714, 2.923, 2.751, 2.165, 2.013, 2.571, 3.07, 3.091, 3.308, 3.711, 3.815, 4.211, 4.619, 4.948,
        ];
        assert_eq!(valley(&curve(&noisy)), Some(10_f64.powi(11)));
        assert_eq!(valley(&curve(&[5.0, 4.0, 3.0, 2.0, 1.0])), Some(1.0));
        assert_eq!(valley(&curve(&[3.0, 1.0, 2.0, 0.5])), Some(10.0));
        assert_eq!(valley(&curve(&[1.0, 2.0, 3.0])), None);
        assert_eq!(valley(&[]), None);
    }

    #[test]
    fn the_steepest_place_falls_fastest() {
        let points = curve(&[5.0, 5.1, 4.9, 4.5, 4.0, 3.0, 2.5, 2.4, 2.6]);
        assert_eq!(steep(&points), Some(10_f64.powi(4)));
        assert_eq!(steep(&curve(&[1.0, 2.0])), None);
    }

    #[test]
    fn smoothing_is_corrected_for_its_start() {
        let finder = LrFinder { smoothing: 0.5, ..LrFinder::default() };
        let mut search = Search { finder: &finder, points: vec![], mean: 0.0, lowest: f64::INFINITY };
        assert!(search.add(1.0, 4.0) && search.add(2.0, 1.0) && !search.add(3.0, 40.0));
        let smoothed: Vec<f64> = search.points.iter().map(|point| point.smoothed).collect();
        assert_eq!(smoothed, [4.0, 2.0, 20.75 / 0.875]);
    }

    #[test]
    fn rates_run_from_start_to_end() {
        let finder = LrFinder::default();
        assert!((finder.lr(0) - 1e-7).abs() < 1e-20 && (finder.lr(99) - 10.0).abs() < 1e-9);
        assert!((finder.lr(50) / finder.lr(49) - finder.lr(11) / finder.lr(10)).abs() < 1e-12);
    }
}
