use super::{Embedding, Linear};
use crate::random::{mix, stream};
use burn::module::{Param, ParamId};
use burn::tensor::{Device, Shape, Tensor, TensorData};
use rand::{Rng, rngs::ChaCha8Rng};

/// Makes fresh layers from a seed: weights normal with mean 0 and the given deviation, biases 0, as BERT initialises.
///
/// The values depend on the seed and the order of calls only, not on the device or the process. They are made when they
/// are first read, so that a layer that is loaded from a file never makes them.
#[derive(Debug)]
pub struct Init {
    seed: u64,
    made: u64,
    deviation: f64,
    device: Device,
}

impl Init {
    /// Layers on `device`, with weights of standard deviation `deviation` (BERT's `initializer_range`, 0.02).
    pub fn new(seed: u64, deviation: f64, device: &Device) -> Self {
        Self { seed, made: 0, deviation, device: device.clone() }
    }

    /// The device that layers are made on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The same, with weights of this deviation from here on.
    pub fn deviating(&mut self, deviation: f64) -> &mut Self {
        self.deviation = deviation;
        self
    }

    /// A linear layer with bias.
    pub fn linear(&mut self, input: usize, output: usize) -> Linear {
        let bias = Some(Param::from_tensor(Tensor::zeros([output], &self.device)));
        Linear { weight: self.parameter([input, output], None), bias }
    }

    /// A linear layer with a bias or none.
    pub fn linear_with(&mut self, input: usize, output: usize, bias: bool) -> Linear {
        let layer = self.linear(input, output);
        if bias { layer } else { Linear { bias: None, ..layer } }
    }

    /// A linear layer with weights and biases uniform within `1 / sqrt(input)`, as `torch.nn.Linear` initialises.
    pub fn uniform_linear(&mut self, input: usize, output: usize) -> Linear {
        let bound = 1.0 / (input.max(1) as f64).sqrt();
        let mut values = |len| uniform(self.next(), len, bound);
        let (weight, bias) = (values(input * output), values(output));
        let weight = Tensor::from_data(TensorData::new(weight, [input, output]), &self.device);
        let bias = Tensor::from_data(TensorData::new(bias, [output]), &self.device);
        Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)) }
    }

    /// A table of `entries` vectors; the row `padding_idx`, if any, is 0.
    pub fn embedding(&mut self, entries: usize, hidden: usize, padding_idx: Option<usize>) -> Embedding {
        Embedding::from_param(self.parameter([entries, hidden], padding_idx), padding_idx)
    }

    /// A weight of normal values of the general deviation, of any rank.
    pub fn weight<const D: usize>(&mut self, shape: [usize; D]) -> Param<Tensor<D>> {
        self.weight_of(shape, self.deviation)
    }

    /// A weight of normal values of this deviation.
    pub fn weight_of<const D: usize>(&mut self, shape: [usize; D], deviation: f64) -> Param<Tensor<D>> {
        let seed = self.next();
        let make = move |device: &Device, require_grad: bool| {
            let values = normal(seed, shape.iter().product(), deviation);
            Tensor::from_data(TensorData::new(values, shape), device).set_require_grad(require_grad)
        };
        Param::uninitialized(ParamId::new(), make, self.device.clone(), true, Shape::from(shape))
    }

    /// A tensor of normal values, made at once.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let values = normal(self.next(), shape.iter().product(), self.deviation);
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        mix(&[self.seed, self.made])
    }

    fn parameter(&mut self, shape: [usize; 2], zero_row: Option<usize>) -> Param<Tensor<2>> {
        let (seed, deviation) = (self.next(), self.deviation);
        let make = move |device: &Device, require_grad: bool| {
            let [rows, width] = shape;
            let mut values = normal(seed, rows * width, deviation);
            if let Some(row) = zero_row.filter(|row| *row < rows) {
                values[row * width..(row + 1) * width].fill(0.0);
            }
            Tensor::from_data(TensorData::new(values, shape), device).set_require_grad(require_grad)
        };
        Param::uninitialized(ParamId::new(), make, self.device.clone(), true, Shape::from(shape))
    }
}

/// Values uniform in `-bound..bound`.
fn uniform(seed: u64, len: usize, bound: f64) -> Vec<f32> {
    let mut rng = stream(&[seed]);
    (0..len).map(|_| ((2.0 * unit(&mut rng) - 1.0) * bound) as f32).collect()
}

/// Uniform in 0..1, never either.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Normal values with mean 0, by Box and Muller's method.
fn normal(seed: u64, len: usize, deviation: f64) -> Vec<f32> {
    let mut rng = stream(&[seed]);
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        let (radius, angle) = ((-2.0 * unit(&mut rng).ln()).sqrt(), std::f64::consts::TAU * unit(&mut rng));
        values.extend([radius * angle.cos(), radius * angle.sin()].map(|value| (value * deviation) as f32));
    }
    values.truncate(len);
    values
}
