use super::gradients::square_sum;
use super::optimizer::{State, Step};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Adafactor ([Shazeer and Stern, 2018](https://arxiv.org/abs/1804.04235)) with the defaults and the arithmetic of
/// Transformers: of a matrix's second moment it keeps row and column means, and it bounds the size of each update.
///
/// With `relative_step` it sets the rate by itself; the rates of the plan and the schedule are then factors on it, and
/// [`Rates::lr`](crate::params::Rates::lr) has to be 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adafactor {
    /// Added to squared gradients, and the least root mean square of a parameter.
    pub eps: (f64, f64),
    /// Largest root mean square of an update before the rate.
    pub clip_threshold: f64,
    /// The newest square weighs `step^decay_rate`.
    pub decay_rate: f64,
    /// Decay of a first moment; `None` keeps none.
    pub beta1: Option<f64>,
    /// Multiplies the rate by the root mean square of the parameter.
    pub scale_parameter: bool,
    /// The rate is `min(0.01, 1 / sqrt(step))`.
    pub relative_step: bool,
    /// The rate is `min(1e-6 step, 1 / sqrt(step))`; needs `relative_step`.
    pub warmup_init: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            eps: (1e-30, 1e-3),
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            scale_parameter: true,
            relative_step: true,
            warmup_init: false,
        }
    }
}

impl Adafactor {
    pub(super) fn mend(&self) -> Option<&'static str> {
        let positive = |value: f64| value as f32 > 0.0 && (value as f32).is_finite();
        if !positive(self.eps.0) || !positive(self.eps.1) || !positive(self.clip_threshold) {
            return Some("give eps and clip_threshold above 0, as f32");
        }
        if !(self.decay_rate < 0.0) {
            return Some("give a decay_rate below 0, such as -0.8");
        }
        if self.beta1.is_some_and(|beta| !(0.0..1.0).contains(&(beta as f32))) {
            return Some("give a beta1 from 0 to below 1, or None");
        }
        (self.warmup_init && !self.relative_step).then_some("warmup_init needs relative_step")
    }

    pub(super) fn state(&self, shape: &[usize]) -> Vec<(&'static str, usize)> {
        let size = shape.iter().product();
        let first = self.beta1.map(|_| ("first", size));
        let second = match factors(shape) {
            Some([lead, rows, columns]) => vec![("rows", lead * rows), ("columns", lead * columns)],
            None => vec![("second", size)],
        };
        second.into_iter().chain(first).collect()
    }

    pub(super) fn step(&self, step: Step<'_>, old: State) -> (Tensor<1>, State) {
        let Step { values, gradient, scale, shape, update, count } = step;
        let mut old = old.into_iter();
        let (change, mut state) = self.direction(gradient * scale, shape, count, &mut old);
        let change = change.clone() / (rms(change) / self.clip_threshold).clamp_min(1.0);
        let rate = self.rate(count) * update.lr;
        let rate = match self.scale_parameter {
            true => rms(values.clone()).clamp_min(self.eps.1) * rate,
            false => Tensor::full([1], rate, &values.device()),
        };
        let mut change = change * rate.clone();
        if let Some(beta) = self.beta1 {
            let fresh = change * (1.0 - beta);
            change = match old.next() {
                Some(first) => first * beta + fresh,
                None => fresh,
            };
            state.push(change.clone());
        }
        let decayed = match update.weight_decay {
            0.0 => values,
            decay => values.clone() - values * (rate * decay),
        };
        (decayed - change, state)
    }

    /// The gradient over the root of its second moment, and that moment.
    fn direction(
        &self,
        gradient: Tensor<1>,
        shape: &[usize],
        count: i32,
        old: &mut impl Iterator<Item = Tensor<1>>,
    ) -> (Tensor<1>, State) {
        let fresh = f64::from(count).powf(self.decay_rate);
        let mut mean = |new: Tensor<1>| match old.next() {
            Some(old) => old * (1.0 - fresh) + new * fresh,
            None => new,
        };
        let squares = gradient.clone().square() + self.eps.0;
        let Some([lead, height, width]) = factors(shape) else {
            let second = mean(squares);
            return (gradient / second.clone().sqrt(), vec![second]);
        };
        let squares = squares.reshape([lead, height, width]);
        let rows = mean(squares.clone().mean_dim(2).reshape([lead * height]));
        let columns = mean(squares.mean_dim(1).reshape([lead * width]));
        let by_row = rows.clone().reshape([lead, height, 1]);
        let by_row = (by_row.clone() / by_row.mean_dim(1)).sqrt().recip();
        let by_column = columns.clone().reshape([lead, 1, width]).sqrt().recip();
        let change = by_row * by_column * gradient.reshape([lead, height, width]);
        (change.reshape([lead * height * width]), vec![rows, columns])
    }

    fn rate(&self, count: i32) -> f64 {
        let count = f64::from(count);
        let most = if self.warmup_init { 1e-6 * count } else { 1e-2 };
        if self.relative_step { most.min(count.sqrt().recip()) } else { 1.0 }
    }
}

/// A shape as `[leading, rows, columns]`; `None` below rank 2, which is not factored.
fn factors(shape: &[usize]) -> Option<[usize; 3]> {
    match shape {
        [lead @ .., rows, columns] => Some([lead.iter().product(), *rows, *columns]),
        _ => None,
    }
}

/// The root of the mean square, `[1]`.
fn rms(values: Tensor<1>) -> Tensor<1> {
    let [size] = values.dims();
    (square_sum(values) / size as f64).sqrt()
}
