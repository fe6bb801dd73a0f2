use super::rotation_memo::MEMO;
#[cfg(feature = "flex")]
use crate::kernel;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::f32::consts::TAU;

/// How rotary embeddings are stretched beyond the length they were trained for, as Transformers'
/// `modeling_rope_utils.py` computes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// As they were trained.
    #[default]
    None,
    /// Every frequency is divided by `factor` ([Chen et al., 2023](https://arxiv.org/abs/2306.15595)).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// The base grows with the length of a sequence that is longer than `trained` (dynamic NTK).
    Dynamic {
        /// How fast it grows.
        factor: f64,
        /// Places that the frequencies were trained for.
        trained: usize,
    },
    /// Low frequencies are divided by `factor`, high ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Wavelengths above `trained` divided by this are divided.
        low_freq_factor: f64,
        /// Wavelengths below `trained` divided by this are kept.
        high_freq_factor: f64,
        /// Places that the frequencies were trained for.
        trained: usize,
    },
    /// A ramp over the frequencies between divided and kept ones ([Peng et al., 2023](https://arxiv.org/abs/2309.00071)).
    Yarn {
        /// The divisor.
        factor: f64,
        /// Places that the frequencies were trained for.
        trained: usize,
        /// Frequencies that turn more often than this within `trained` places are kept.
        beta_fast: f64,
        /// Frequencies that turn less often than this within `trained` places are divided.
        beta_slow: f64,
        /// Whether the ends of the ramp are whole numbers.
        truncate: bool,
        /// Cosines and sines are multiplied by it.
        attention_factor: f64,
    },
    /// A divisor for each frequency, of two sets by the length ([Ding et al., 2024](https://arxiv.org/abs/2402.13753)).
    LongRope {
        /// Divisors in sequences of at most `trained` places, one for each frequency.
        short: Vec<f64>,
        /// Divisors in longer sequences.
        long: Vec<f64>,
        /// Places that the frequencies were trained for.
        trained: usize,
        /// Cosines and sines are multiplied by it.
        attention_factor: f64,
    },
}

/// Rotary position embeddings ([Su et al., 2021](https://arxiv.org/abs/2104.09864)): queries and keys are turned by angles
/// that grow with their place, so that their product depends on the distance.
///
/// The layout is that of Transformers' `rotate_half`: value `i` turns with value `i + width / 2`. Frequencies are made in
/// f32, as PyTorch makes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    theta: f64,
    width: usize,
    scaling: RopeScaling,
}

impl Rotary {
    /// Turns the first `width` values of each head, rounded up to an even number, from the base `theta`.
    pub fn new(theta: f64, width: usize, scaling: RopeScaling) -> Self {
        Self { theta, width, scaling }
    }

    /// How many values of a head turn.
    pub fn turned(&self) -> usize {
        self.width.next_multiple_of(2)
    }

    /// Angle from one place to the next for each pair of values, in a sequence of `seq` places.
    pub fn frequencies(&self, seq: usize) -> Vec<f32> {
        let plain = |theta: f32| (0..self.turned() / 2).map(move |pair| 1.0 / self.power(theta, pair));
        let theta = self.theta as f32;
        match &self.scaling {
            RopeScaling::None => plain(theta).collect(),
            RopeScaling::Linear { factor } => plain(theta).map(|frequency| frequency / *factor as f32).collect(),
            RopeScaling::Dynamic { factor, trained } if seq > *trained => {
                let longer = *factor as f32 * seq as f32 / *trained as f32 - (factor - 1.0) as f32;
                let power = self.width as f64 / (self.width as f64 - 2.0);
                plain(theta * longer.powf(power as f32)).collect()
            }
            RopeScaling::Dynamic { .. } => plain(theta).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, trained } => {
                let (factor, trained) = (*factor as f32, *trained as f32);
                let (low, high) = (*low_freq_factor as f32, *high_freq_factor as f32);
                let stretch = |frequency: f32| {
                    let wavelength = TAU / frequency;
                    let smooth = (trained / wavelength - low) / (high - low);
                    match wavelength {
                        _ if wavelength > trained / low => frequency / factor,
                        _ if wavelength < trained / high => frequency,
                        _ => (1.0 - smooth) * frequency / factor + smooth * frequency,
                    }
                };
                plain(theta).map(stretch).collect()
            }
            RopeScaling::Yarn { factor, trained, beta_fast, beta_slow, truncate, .. } => {
                let (from, to) = self.ramp([*beta_fast, *beta_slow], *trained, *truncate);
                let blend = |pair: usize| {
                    let power = self.power(theta, pair);
                    let ramp = ((pair as f32 - from as f32) / (to - from) as f32).clamp(0.0, 1.0);
                    let kept = 1.0 - ramp;
                    1.0 / (*factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
                };
                (0..self.turned() / 2).map(blend).collect()
            }
            RopeScaling::LongRope { short, long, trained, .. } => {
                let divisors = if seq > *trained { long } else { short };
                let pairs = divisors.iter().take(self.turned() / 2).enumerate();
                pairs.map(|(pair, divisor)| 1.0 / (*divisor as f32 * self.power(theta, pair))).collect()
            }
        }
    }

    /// Cosines and sines of all places of a sequence. Those that were asked for last are kept, so that the layers of a
    /// network share them.
    pub fn rotation(&self, seq: usize, device: &Device) -> Rotation {
        MEMO.get(self, seq, device, || self.make(seq, device))
    }

    pub(super) fn make(&self, seq: usize, device: &Device) -> Rotation {
        let frequencies = self.frequencies(seq);
        let scale = match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } | RopeScaling::LongRope { attention_factor, .. } => {
                attention_factor as f32
            }
            _ => 1.0,
        };
        let angles: Vec<f32> =
            (0..seq).flat_map(|place| frequencies.iter().map(move |frequency| place as f32 * frequency)).collect();
        let table = |function: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|angle| function(*angle) * scale).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, seq, frequencies.len()]), device)
        };
        Rotation { cos: table(f32::cos), sin: table(f32::sin) }
    }

    fn power(&self, theta: f32, pair: usize) -> f32 {
        theta.powf((2 * pair) as f32 / self.width as f32)
    }

    /// Between which pairs YaRN's frequencies go from kept to divided.
    fn ramp(&self, turns: [f64; 2], trained: usize, truncate: bool) -> (f64, f64) {
        let width = self.width as f64;
        let pair_of =
            |turns: f64| width * (trained as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.theta.ln());
        let [from, to] = turns.map(pair_of);
        let (from, to) = if truncate { (from.floor(), to.ceil()) } else { (from, to) };
        let (from, to) = (from.max(0.0), to.min(width - 1.0));
        (from, if from == to { to + 0.001 } else { to })
    }
}

/// Cosines and sines of a sequence's places.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `[1, 1, seq, turned / 2]`, or `[batch, 1, seq, turned / 2]` where rows have places of their own.
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotation {
    /// The rotation of rows whose tokens stand at these places of this one, `[batch, seq]`.
    pub(super) fn of_places(&self, places: &Tensor<2, Int>) -> Self {
        let ([.., seq, half], [rows, length]) = (self.cos.dims(), places.dims());
        let [cos, sin] = [&self.cos, &self.sin].map(|table| {
            let table = table.clone().reshape([seq, half]);
            table.select(0, places.clone().reshape([rows * length])).reshape([rows, 1, length, half])
        });
        Self { cos, sin }
    }

    /// Turns `[batch, heads, seq, width]`; what is beyond the turned values of a head stays.
    pub fn apply(&self, input: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if kernel::covers(&input) && kernel::covers(&self.cos) {
            return kernel::rotate(input, self.cos.clone(), self.sin.clone());
        }
        self.apply_composed(input)
    }

    /// [`apply`](Self::apply) in Burn's operations.
    pub(crate) fn apply_composed(&self, input: Tensor<4>) -> Tensor<4> {
        let [.., width] = input.dims();
        let half = self.cos.dims()[3];
        let [cos, sin] = [&self.cos, &self.sin].map(|table| table.clone().cast(input.dtype()));
        let (first, second) = (input.clone().narrow(3, 0, half), input.clone().narrow(3, half, half));
        let turned_first = first.clone() * cos.clone() - second.clone() * sin.clone();
        let turned_second = second * cos + first * sin;
        let mut parts = vec![turned_first, turned_second];
        if width > 2 * half {
            parts.push(input.narrow(3, 2 * half, width - 2 * half));
        }
        Tensor::cat(parts, 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    fn close(rotary: &Rotary, seq: usize, expected: &[f64]) {
        let found = rotary.frequencies(seq);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 5e-7 * expected.abs(), "{found} {expected}");
        }
    }

    #[test]
    fn frequencies_fall_from_one_by_powers_of_the_base() {
        close(&Rotary::new(10000.0, 8, RopeScaling::None), 9, &[1.0, 0.1, 0.01, 0.001]);
        close(&Rotary::new(16.0, 3, RopeScaling::None), 9, &[1.0, 16f64.powf(-2.0 / 3.0)]);
        close(&Rotary::new(100.0, 4, RopeScaling::Linear { factor: 4.0 }), 9, &[0.25, 0.025]);
    }

    #[test]
    fn dynamic_scaling_begins_beyond_the_trained_length() {
        let rotary = Rotary::new(100.0, 4, RopeScaling::Dynamic { factor: 2.0, trained: 8 });
        close(&rotary, 8, &[1.0, 0.1]);
        // The base is 100 * (2 * 12 / 8 - 1)^(4 / 2) = 400.
        close(&rotary, 12, &[1.0, 0.05]);
    }

    #[test]
    fn llama3_divides_what_is_long_and_blends_what_is_between() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, trained: 200 };
        // Wavelengths 6.28, 62.8 and 628 against 50 and 200: kept, blended, divided.
        let smooth = (200.0 / (20.0 * std::f64::consts::PI) - 1.0) / 3.0;
        let blended = (1.0 - smooth) * 0.1 / 8.0 + smooth * 0.1;
        close(&Rotary::new(1000.0, 6, scaling), 9, &[1.0, blended, 0.01 / 8.0]);
    }

    #[test]
    fn yarn_ramps_from_kept_to_divided() {
        let yarn = |beta_fast: f64, truncate| RopeScaling::Yarn {
            factor: 4.0,
            trained: 1000,
            beta_fast,
            beta_slow: 1.0,
            truncate,
            attention_factor: 1.5,
        };
        // 8 ln(1000 / (16 * 2 pi)) / (2 ln 100) = 1.995 -> 1; 8 ln(1000 / (2 pi)) / (2 ln 100) = 4.40 -> 5.
        let power = |pair: f64| 100f64.powf(-pair / 4.0);
        let blend = |pair: f64, ramp: f64| power(pair) / 4.0 * ramp + power(pair) * (1.0 - ramp);
        let expected = [blend(0.0, 0.0), blend(1.0, 0.0), blend(2.0, 0.25), blend(3.0, 0.5)];
        close(&Rotary::new(100.0, 8, yarn(16.0, true)), 9, &expected);
        let end = |turns: f64| 8.0 * (1000.0 / (turns * std::f64::consts::TAU)).ln() / (2.0 * 100f64.ln());
        let ramp = |pair: f64| ((pair - end(16.0)) / (end(1.0) - end(16.0))).clamp(0.0, 1.0);
        let expected = [0.0, 1.0, 2.0, 3.0].map(|pair| blend(pair, ramp(pair)));
        let rotary = Rotary::new(100.0, 8, yarn(16.0, false));
        for (found, expected) in rotary.frequencies(9).iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6);
        }
        let first = rotary.rotation(1, &crate::nn::test_device()).cos.into_data();
        assert_eq!(first.iter::<f32>().collect::<Vec<_>>(), [1.5; 4]);
    }

    #[test]
    fn longrope_takes_its_divisors_by_the_length() {
        let (short, long) = (vec![1.0, 2.0], vec![4.0, 5.0]);
        let rotary = Rotary::new(100.0, 4, RopeScaling::LongRope { short, long, trained: 8, attention_factor: 1.0 });
        close(&rotary, 8, &[1.0, 0.05]);
        close(&rotary, 9, &[0.25, 0.02]);
    }

    #[test]
    fn pairs_turn_by_their_angle_and_the_rest_stays() {
        let device = crate::nn::test_device();
        let rotation = Rotary::new(100.0, 4, RopeScaling::None).rotation(3, &device);
        let places = (0..3).flat_map(|_| [1.0, 2.0, 3.0, 4.0, 5.0]).collect::<Vec<f32>>();
        let turned = rotation.apply(Tensor::from_data(TensorData::new(places, [1, 1, 3, 5]), &device));
        let expected: Vec<f32> = [0.0f32, 1.0, 2.0]
            .into_iter()
            .flat_map(|place| {
                let ((sin, cos), (slow_sin, slow_cos)) = (place.sin_cos(), (place * 0.1).sin_cos());
                let first = [cos - 3.0 * sin, 2.0 * slow_cos - 4.0 * slow_sin];
                [first[0], first[1], 3.0 * cos + sin, 4.0 * slow_cos + 2.0 * slow_sin, 5.0]
            })
            .collect();
        let expected = TensorData::new(expected, [1, 1, 3, 5]);
        turned.into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }
}
