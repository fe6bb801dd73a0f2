use super::{Embedding, Linear};
use crate::random::stream;
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, rngs::ChaCha8Rng};

/// Makes fresh layers from a seed: weights normal with mean 0 and the given deviation, biases 0, as BERT initialises.
///
/// The values depend on the seed and the order of calls only, not on the device or the process.
#[derive(Debug)]
pub struct Init {
    rng: ChaCha8Rng,
    deviation: f64,
    device: Device,
}

impl Init {
    /// Layers on `device`, with weights of standard deviation `deviation` (BERT's `initializer_range`, 0.02).
    pub fn new(seed: u64, deviation: f64, device: &Device) -> Self {
        Self { rng: stream(&[seed, 0x1217]), deviation, device: device.clone() }
    }

    /// The device that layers are made on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A linear layer with bias.
    pub fn linear(&mut self, input: usize, output: usize) -> Linear {
        let weight = Param::from_tensor(self.normal([input, output]));
        let bias = Some(Param::from_tensor(Tensor::zeros([output], &self.device)));
        Linear { weight, bias }
    }

    /// A table of `entries` vectors; the row `padding_idx`, if any, is 0.
    pub fn embedding(&mut self, entries: usize, hidden: usize, padding_idx: Option<usize>) -> Embedding {
        let mut values = self.values(entries * hidden);
        if let Some(row) = padding_idx.filter(|row| *row < entries) {
            values[row * hidden..(row + 1) * hidden].fill(0.0);
        }
        let weight = Tensor::from_data(TensorData::new(values, [entries, hidden]), &self.device);
        Embedding::new(weight, padding_idx)
    }

    /// A tensor of normal values.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let values = self.values(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.standard_normal() * self.deviation) as f32).collect()
    }

    /// Box and Muller's method, one value of the pair.
    fn standard_normal(&mut self) -> f64 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, angle) = (unit(self.rng.next_u64()), unit(self.rng.next_u64()));
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
