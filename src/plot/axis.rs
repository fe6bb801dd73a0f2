//! From values to places on a picture, and the round numbers beside them.

use super::Scale;

/// Values beyond it would overflow when a range is taken.
const LARGEST: f64 = 1e300;

/// A range of values, in the units of its scale: the value itself or its decimal logarithm.
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Scale {
    /// Whether a value has a place.
    pub(super) fn shows(self, value: f64) -> bool {
        value.abs() <= LARGEST && (self == Scale::Linear || value > 0.0)
    }

    fn of(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log10 => value.log10(),
        }
    }
}

impl Axis {
    /// The range of some values that the scale shows, widened by the share `margin` on both sides.
    pub(super) fn around(scale: Scale, values: impl Iterator<Item = f64>, margin: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(|value| scale.of(value)) {
            (low, high) = (low.min(value), high.max(value));
        }
        let size = low.abs().max(high.abs());
        let mut pad = margin * (high - low);
        // One value alone, or values that differ by rounding, get room as well.
        if !(high - low > (1e-9 * size).max(1e-290)) {
            pad = if size < 1e-290 { 1.0 } else { 0.1 * size };
        }
        Self { scale, low: low - pad, high: high + pad }
    }

    /// Where a value is, 0 at the low end and 1 at the high one.
    pub(super) fn place(&self, value: f64) -> f64 {
        (self.scale.of(value) - self.low) / (self.high - self.low)
    }

    /// Places of round numbers, with their text.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let linear = || round_numbers(self.low, self.high);
        let values = match self.scale {
            Scale::Linear => linear(),
            Scale::Log10 => self.powers(),
        };
        let (values, step) = values;
        let largest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let label = |value: f64| match step {
            Some(step) => number(value, step, largest),
            None => number(value, decade(value), value.abs()),
        };
        values.iter().map(|value| (self.place(*value), label(*value))).collect()
    }

    /// Powers of ten, with 2 and 5 between them where there is room, or plain round numbers within less than a decade.
    fn powers(&self) -> (Vec<f64>, Option<f64>) {
        let span = self.high - self.low;
        if span < 0.6 {
            let (values, step) = round_numbers(10f64.powf(self.low), 10f64.powf(self.high));
            return (values, step);
        }
        let stride = (span / 8.0).ceil().max(1.0) as i32;
        let between: &[f64] = if span <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (self.low.floor() as i32..=self.high.floor() as i32).filter(|power| power % stride == 0);
        let values = powers.flat_map(|power| between.iter().map(move |digit| digit * 10f64.powi(power)));
        (values.filter(|value| (self.low..=self.high).contains(&value.log10())).collect(), None)
    }
}

/// Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, about six, and the distance between them.
fn round_numbers(low: f64, high: f64) -> (Vec<f64>, Option<f64>) {
    let raw = (high - low) / 6.0;
    let power = decade(raw);
    let step = power * [1.0, 2.0, 5.0].into_iter().find(|digit| raw <= digit * power).unwrap_or(10.0);
    // An end that is round but for rounding counts.
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    ((first..=last).map(|index| index as f64 * step).collect(), Some(step))
}

/// The power of ten at or below a value above 0.
fn decade(value: f64) -> f64 {
    10f64.powi(value.log10().floor() as i32)
}

/// A number with the digits that tell it from its neighbours at distance `step`; with an exponent where `largest` asks.
pub(super) fn number(value: f64, step: f64, largest: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let places = |size: f64| (size.abs().log10() + 1e-9).floor() as i32;
    if (1e-3..1e6).contains(&largest) {
        return format!("{value:.0$}", (-places(step)).max(0) as usize);
    }
    format!("{value:.0$e}", (places(value) - places(step)).clamp(0, 15) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64], margin: f64) -> Vec<String> {
        Axis::around(scale, values.iter().copied(), margin).ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(Scale::Linear, &[0.0, 1.0], 0.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::Linear, &[-30.0, 70.0], 0.0), ["-20", "0", "20", "40", "60"]);
        assert_eq!(labels(Scale::Linear, &[0.0, 5e-5], 0.0), ["0", "1e-5", "2e-5", "3e-5", "4e-5", "5e-5"]);
        assert_eq!(labels(Scale::Log10, &[1e-6, 1e-1], 0.0), ["1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1"]);
        assert_eq!(labels(Scale::Log10, &[1.0, 50.0], 0.0), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(Scale::Log10, &[100.0, 110.0], 0.0), ["100", "102", "104", "106", "108", "110"]);
    }

    #[test]
    fn every_range_gets_ticks_within_it() {
        let sets: [&[f64]; 7] =
            [&[3.0], &[0.0], &[1e-310], &[1e300, -1e300], &[1.0, 1.0 + 1e-15], &[1e12, 1e12 + 1.0], &[1e-300, 1e300]];
        for values in sets {
            for scale in [Scale::Linear, Scale::Log10] {
                let shown: Vec<f64> = values.iter().copied().filter(|value| scale.shows(*value)).collect();
                if shown.is_empty() {
                    continue;
                }
                let ticks = Axis::around(scale, shown.into_iter(), 0.04).ticks();
                assert!((1..=14).contains(&ticks.len()), "{values:?} {scale:?}: {ticks:?}");
                assert!(ticks.iter().all(|(place, _)| (-1e-6..=1.000001).contains(place)), "{values:?}: {ticks:?}");
            }
        }
    }
}
