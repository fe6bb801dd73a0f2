use super::{Activation, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::Tensor;

/// A feed-forward layer whose inner values are gated ([Shazeer, 2020](https://arxiv.org/abs/2002.05202)):
/// `down(activation(gate(x)) * up(x))`. With SiLU it is called SwiGLU, with GELU GeGLU.
#[derive(Module, Debug)]
pub struct GatedMlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl GatedMlp {
    /// Fresh maps from `hidden` to `inner` and back, all three with a bias or none.
    pub fn new(hidden: usize, inner: usize, bias: bool, activation: Activation, init: &mut Init) -> Self {
        Self {
            gate_proj: init.linear_with(hidden, inner, bias),
            up_proj: init.linear_with(hidden, inner, bias),
            down_proj: init.linear_with(inner, hidden, bias),
            activation,
        }
    }

    /// `[.., hidden]` to `[.., hidden]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let (gate, up) = (linear(&self.gate_proj, input.clone()), linear(&self.up_proj, input));
        linear(&self.down_proj, self.activation.gate(gate, up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::Tolerance;

    #[test]
    fn the_activation_of_one_map_multiplies_the_other() {
        let device = crate::nn::test_device();
        let mut mlp = GatedMlp::new(1, 2, false, Activation::Silu, &mut Init::new(1, 0.02, &device));
        mlp.gate_proj.weight = Param::from_tensor(Tensor::from_data([[1.0, -2.0]], &device));
        mlp.up_proj.weight = Param::from_tensor(Tensor::from_data([[3.0, 5.0]], &device));
        mlp.down_proj.weight = Param::from_tensor(Tensor::from_data([[1.0], [10.0]], &device));
        let silu = |x: f32| x / (1.0 + (-x).exp());
        let expected = silu(0.5) * 1.5 + 10.0 * silu(-1.0) * 2.5;
        let output = mlp.forward(Tensor::<2>::from_data([[0.5]], &device)).into_data();
        output.assert_approx_eq::<f32>(&[[expected]].into(), Tolerance::absolute(1e-5));
    }
}
