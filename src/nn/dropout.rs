use crate::random::{mix, mix_into};
use burn::module::{Flag, Module, Param};
use burn::tensor::{Tensor, TensorData};
use std::cell::Cell;

/// Zeroes each value with probability `prob` and scales the rest by `1 / (1 - prob)`, while training.
///
/// It acts only inside a [`RandomScope`] and while its flag is enabled: frozen stages and `valid()` models have it off.
/// It never asks the input's device, and it never draws from `Device::seed`, which is one stream for the whole process.
#[derive(Module, Debug)]
pub struct Dropout {
    prob: f64,
    training: Param<Flag>,
}

impl Dropout {
    /// Dropout with probability `prob`, clamped to `[0, 1)`.
    pub fn new(prob: f64) -> Self {
        Self { prob: prob.clamp(0.0, 0.999_999), training: Param::from_bool(true) }
    }

    /// The probability.
    pub fn prob(&self) -> f64 {
        self.prob
    }

    /// Any shape, unchanged.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        match self.draw() {
            Some(draw) => draw.apply(input),
            None => input,
        }
    }

    /// What this call draws; `None` where it does nothing.
    pub(crate) fn draw(&self) -> Option<Draw> {
        if self.prob == 0.0 || !self.training.is_enabled() {
            return None;
        }
        RandomScope::next_site().map(|seed| Draw { seed, prob: self.prob })
    }
}

/// The mask of one dropout site: value `i` is a function of the seed and `i`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    seed: u64,
    prob: f64,
}

impl Draw {
    /// The mask that belongs to `seed`, which drops with probability `prob`.
    pub(crate) fn new(seed: u64, prob: f64) -> Self {
        Self { seed, prob }
    }

    /// Multiplies by the mask.
    pub(crate) fn apply<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if crate::kernel::covers(&input) {
            return crate::kernel::dropout(input, self);
        }
        let shape = input.dims();
        let device = input.device().inner();
        input * Tensor::from_data(TensorData::new(self.mask(shape.iter().product()), shape), &device)
    }

    /// What the hash of each block of four values starts from.
    pub(crate) fn state(self) -> u64 {
        mix(&[self.seed])
    }

    /// A 16-bit draw below this drops its value.
    pub(crate) fn limit(self) -> u32 {
        (self.prob * 65536.0).round() as u32
    }

    /// What values that stay are multiplied by.
    pub(crate) fn keep(self) -> f32 {
        (1.0 / (1.0 - self.prob)) as f32
    }

    /// `len` values of 0 or [`keep`](Self::keep): four 16-bit draws a hash.
    pub(crate) fn mask(self, len: usize) -> Vec<f32> {
        let (state, limit, keep) = (self.state(), u64::from(self.limit()), self.keep());
        let mut mask = Vec::with_capacity(len + 3);
        for block in 0..len.div_ceil(4) as u64 {
            let bits = mix_into(state, block);
            mask.extend([0, 16, 32, 48].map(|shift| if (bits >> shift) & 0xffff < limit { 0.0 } else { keep }));
        }
        mask.truncate(len);
        mask
    }
}

thread_local! { static STREAM: Cell<Option<(u64, u64)>> = const { Cell::new(None) } }

/// A place in the stream of a [`RandomScope`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(Option<(u64, u64)>);

/// While it lives, random layers on this thread draw from its seed, each call from a site of its own.
///
/// `fit` opens one for every micro-batch, keyed by (seed, epoch, step, micro-batch). Scopes nest.
#[derive(Debug)]
#[must_use = "random layers draw from the scope only while it lives"]
pub struct RandomScope {
    outer: Option<(u64, u64)>,
}

impl RandomScope {
    /// Opens a scope for the current thread.
    pub fn new(seed: u64) -> Self {
        Self { outer: STREAM.replace(Some((seed, 0))) }
    }

    /// The seed of the next random site; `None` outside a scope.
    pub fn next_site() -> Option<u64> {
        let (seed, site) = STREAM.get()?;
        STREAM.set(Some((seed, site + 1)));
        Some(mix(&[seed, site]))
    }

    /// Where the innermost scope is.
    pub(crate) fn mark() -> Mark {
        Mark(STREAM.get())
    }

    /// Opens a scope that draws what the marked one drew from there on.
    pub(crate) fn again(mark: Mark) -> Self {
        Self { outer: STREAM.replace(mark.0) }
    }

    /// How many random sites have drawn from the innermost scope.
    pub(crate) fn sites() -> u64 {
        STREAM.get().map_or(0, |(_, sites)| sites)
    }
}

impl Drop for RandomScope {
    fn drop(&mut self) {
        STREAM.set(self.outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_prob_of_the_values_are_dropped_and_the_mean_stays() {
        let mask = Draw { seed: 3, prob: 0.1 }.mask(40_001);
        let dropped = mask.iter().filter(|value| **value == 0.0).count() as f64 / mask.len() as f64;
        let mean = mask.iter().sum::<f32>() / mask.len() as f32;
        assert!((dropped - 0.1).abs() < 0.01 && (mean - 1.0).abs() < 0.01, "{dropped} {mean}");
    }

    #[test]
    fn a_marked_place_can_be_drawn_from_again() {
        let _scope = RandomScope::new(1);
        let first = RandomScope::next_site();
        let (mark, second) = (RandomScope::mark(), RandomScope::next_site());
        let again = RandomScope::again(mark);
        assert!(RandomScope::next_site() == second && first != second);
        drop(again);
        assert_eq!(RandomScope::sites(), 2);
    }

    #[test]
    fn scopes_repeat_and_nest() {
        let draw = |seed| {
            let _scope = RandomScope::new(seed);
            (RandomScope::next_site(), RandomScope::next_site())
        };
        let marked = || {
            let _scope = RandomScope::new(1);
            let first = RandomScope::next_site();
            let (mark, second) = (RandomScope::mark(), RandomScope::next_site());
            let _again = RandomScope::again(mark);
            (first, second, RandomScope::next_site())
        };
        let (first, second, again) = marked();
        assert!(second == again && first != again);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let _outer = RandomScope::new(9);
        let first = RandomScope::next_site();
        draw(1);
        assert_ne!(RandomScope::next_site(), first);
        drop(_outer);
        assert_eq!(RandomScope::next_site(), None);
    }
}
