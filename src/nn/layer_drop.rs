use super::Dropout;
use burn::module::Module;
use burn::tensor::Tensor;

/// LayerDrop ([Fan et al., 2019](https://arxiv.org/abs/1909.11556)): while training, a whole layer is left out with
/// probability `prob`, for all rows of a micro-batch; nothing is scaled.
#[derive(Module, Debug)]
pub struct LayerDrop {
    layer: Dropout,
}

impl LayerDrop {
    /// Leaves a layer out with probability `prob`, clamped to `[0, 1)`.
    pub fn new(prob: f64) -> Self {
        Self { layer: Dropout::new(prob) }
    }

    /// What the layer made of its input, or the input; any shape. A layer that is left out has gradients of 0.
    pub fn forward<const D: usize>(&self, input: Tensor<D>, layer: impl FnOnce(Tensor<D>) -> Tensor<D>) -> Tensor<D> {
        let Some(draw) = self.layer.draw() else { return layer(input) };
        let output = layer(input.clone());
        if draw.mask(1) == [0.0] { input + output * 0.0 } else { output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{RandomScope, test_device};

    #[test]
    fn a_layer_is_left_out_as_often_as_it_says_and_is_whole_otherwise() {
        let device = test_device();
        let drop = LayerDrop::new(0.25);
        let run = || {
            let output = drop.forward(Tensor::<1>::from_data([1.0, 2.0], &device), |input| input * 10.0);
            output.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(run(), [10.0, 20.0], "outside of training");
        let _scope = RandomScope::new(1);
        let outputs: Vec<Vec<f32>> = (0..400).map(|_| run()).collect();
        let count = |wanted: [f32; 2]| outputs.iter().filter(|output| **output == wanted).count();
        assert_eq!(count([1.0, 2.0]) + count([10.0, 20.0]), 400);
        assert!((80..120).contains(&count([1.0, 2.0])), "{}", count([1.0, 2.0]));
    }
}
