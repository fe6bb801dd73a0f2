use crate::nn::{Activation, Draw, Dropout, Init, Linear, linear, softmax};
use crate::random::mix_into;
use burn::module::Module;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

/// A feed-forward layer of several gated networks of which each token takes a few, as its router says ([Jiang et al.,
/// 2024](https://arxiv.org/abs/2401.04088)).
#[derive(Module, Debug)]
pub(super) struct Experts {
    gate: Linear,
    experts: Vec<Expert>,
    jitter: Jitter,
    /// Experts that a token takes.
    taken: usize,
}

impl Experts {
    pub(super) fn new(
        [hidden, inner]: [usize; 2],
        [experts, taken]: [usize; 2],
        activation: Activation,
        noise: f64,
        init: &mut Init,
    ) -> Self {
        Self {
            gate: init.linear_with(hidden, experts, false),
            experts: (0..experts).map(|_| Expert::new(hidden, inner, activation, init)).collect(),
            jitter: Jitter { noise, switch: Dropout::new(0.5) },
            taken,
        }
    }

    /// `[batch, seq, hidden]` to `[batch, seq, hidden]`, and the router's logits, `[batch, seq, experts]`.
    pub(super) fn forward(&self, hidden: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let [batch, seq, width] = hidden.dims();
        let tokens = self.jitter.forward(hidden.reshape([batch * seq, width]));
        let logits = linear(&self.gate, tokens.clone());
        let probabilities = softmax(logits.clone());
        let chosen = chosen(&probabilities, self.taken);
        let kept = probabilities * chosen.clone();
        let shares = kept.clone() / kept.sum_dim(1);
        let mut output = tokens.zeros_like();
        for (number, places) in places(&chosen).into_iter().enumerate() {
            let count = [places.len()];
            let places = Tensor::<1, Int>::from_data(TensorData::new(places, count), &tokens.device().inner());
            let share = shares.clone().narrow(1, number, 1).select(0, places.clone());
            let made = self.experts[number].forward(tokens.clone().select(0, places.clone())) * share;
            output = output.select_assign(0, places, made, IndexingUpdateOp::Add);
        }
        (output.reshape([batch, seq, width]), logits.reshape([batch, seq, self.experts.len()]))
    }
}

/// 1 for the `taken` most probable experts of each token, `[tokens, experts]`, else 0.
pub(super) fn chosen(probabilities: &Tensor<2>, taken: usize) -> Tensor<2> {
    let [tokens, experts] = probabilities.dims();
    let values: Vec<f32> = probabilities.to_data().iter::<f32>().collect();
    let mut chosen = vec![0f32; values.len()];
    for (row, values) in values.chunks(experts.max(1)).enumerate() {
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        order.iter().take(taken).for_each(|expert| chosen[row * experts + expert] = 1.0);
    }
    let chosen = Tensor::<2>::from_data(TensorData::new(chosen, [tokens, experts]), &probabilities.device().inner());
    chosen.cast(probabilities.dtype())
}

/// The tokens of each expert. One that nobody chose gets the first token, of which its share is 0, so that its parameters
/// have a gradient as all others.
fn places(chosen: &Tensor<2>) -> Vec<Vec<i64>> {
    let [tokens, experts] = chosen.dims();
    let chosen: Vec<f32> = chosen.to_data().iter::<f32>().collect();
    let of = |expert: usize| {
        let places = (0..tokens).filter(|token| chosen[token * experts + expert] > 0.0).map(|token| token as i64);
        let places: Vec<i64> = places.collect();
        if places.is_empty() { vec![0] } else { places }
    };
    (0..experts).map(of).collect()
}

/// While training, multiplies what router and experts read by numbers between `1 - noise` and `1 + noise` ([Fedus et al.,
/// 2021](https://arxiv.org/abs/2101.03961)).
#[derive(Module, Debug)]
struct Jitter {
    noise: f64,
    /// Says when.
    switch: Dropout,
}

impl Jitter {
    fn forward(&self, tokens: Tensor<2>) -> Tensor<2> {
        let draw = if self.noise > 0.0 { self.switch.draw() } else { None };
        let Some(state) = draw.map(Draw::state) else { return tokens };
        let (shape, device) = (tokens.dims(), tokens.device().inner());
        let factor = |place: usize| {
            // The upper 24 bits, from -1 to 1.
            let share = (mix_into(state, place as u64) >> 40) as f64 / f64::from(1 << 23) - 1.0;
            (1.0 + self.noise * share) as f32
        };
        let factors: Vec<f32> = (0..shape[0] * shape[1]).map(factor).collect();
        let dtype = tokens.dtype();
        tokens * Tensor::<2>::from_data(TensorData::new(factors, shape), &device).cast(dtype)
    }
}

#[derive(Module, Debug)]
struct Expert {
    /// To the gate.
    w1: Linear,
    /// Back.
    w2: Linear,
    /// To what is gated.
    w3: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Expert {
    fn new(hidden: usize, inner: usize, activation: Activation, init: &mut Init) -> Self {
        Self {
            w1: init.linear_with(hidden, inner, false),
            w2: init.linear_with(inner, hidden, false),
            w3: init.linear_with(hidden, inner, false),
            activation,
        }
    }

    fn forward(&self, tokens: Tensor<2>) -> Tensor<2> {
        let (gate, up) = (linear(&self.w1, tokens.clone()), linear(&self.w3, tokens));
        linear(&self.w2, self.activation.gate(gate, up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::RandomScope;

    #[test]
    fn each_token_goes_to_its_most_probable_experts() {
        let device = crate::nn::test_device();
        let probabilities = Tensor::from_data([[0.1, 0.6, 0.3], [0.2, 0.5, 0.3]], &device);
        let chosen = chosen(&probabilities, 2);
        assert_eq!(chosen.to_data().iter::<f32>().collect::<Vec<_>>(), [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!(places(&chosen), [vec![0], vec![0, 1], vec![0, 1]]);
    }

    #[test]
    fn what_is_read_is_noisy_in_training_alone() {
        let tokens = Tensor::<2>::ones([40, 50], &crate::nn::test_device());
        let jitter = |noise| Jitter { noise, switch: Dropout::new(0.5) };
        let values = |noise: f64| jitter(noise).forward(tokens.clone()).into_data().iter::<f32>().collect::<Vec<_>>();
        assert!(values(0.1).iter().all(|value| *value == 1.0));
        let scope = RandomScope::new(5);
        let noisy = values(0.1);
        let mean = noisy.iter().sum::<f32>() / 2000.0;
        let ends = noisy.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        assert!((mean - 1.0).abs() < 0.006, "{mean}");
        assert!((0.9..0.901).contains(&ends.0) && (1.099..1.1001).contains(&ends.1), "{ends:?}");
        assert!(values(0.0).iter().all(|value| *value == 1.0));
        drop(scope);
    }

    #[test]
    fn with_every_expert_taken_the_output_is_the_mean_by_the_router() {
        let device = crate::nn::test_device();
        let mut init = Init::new(3, 0.7, &device);
        let experts = Experts::new([4, 5], [3, 3], Activation::Silu, 0.0, &mut init);
        let hidden = init.normal([2, 3, 4]);
        let (output, logits) = experts.forward(hidden.clone());
        let tokens: Tensor<2> = hidden.reshape([6, 4]);
        let shares = softmax(logits.reshape([6, 3]));
        let parts = experts.experts.iter().enumerate();
        let parts = parts.map(|(number, expert)| expert.forward(tokens.clone()) * shares.clone().narrow(1, number, 1));
        let expected = parts.reduce(|sum, part| sum + part).expect("three");
        let difference = (output.reshape([6, 4]) - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-6, "{difference}");
    }
}
