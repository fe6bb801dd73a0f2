use super::{CausalLm, Loss, TaskHead};
use crate::backbone::{InputError, Routed, Tied, Tokens};
use crate::metric::Scores;
use burn::module::Module;
use burn::tensor::{Int, Tensor};

/// Next-token prediction on a mixture of experts, as in `MixtralForCausalLM`: the loss also asks that tokens fall evenly to
/// the experts.
#[derive(Module, Debug)]
pub struct RoutedCausalLm {
    language: CausalLm,
    #[module(skip)]
    coefficient: f64,
}

impl RoutedCausalLm {
    /// Adds `coefficient` times the [imbalance](Routed::balance) to the mean loss of `language`.
    pub fn new(language: CausalLm, coefficient: f64) -> Self {
        Self { language, coefficient }
    }

    fn balanced(&self, loss: Loss, balance: Option<Tensor<1>>) -> Loss {
        match balance {
            Some(balance) => Loss { sum: loss.sum + balance * (self.coefficient * loss.weight), ..loss },
            None => loss,
        }
    }
}

impl<F: Tokens + Tied + Routed> TaskHead<F> for RoutedCausalLm {
    /// Logits, `[batch, seq, vocabulary]`, and the imbalance, `[1]`, where the network says.
    type Output = (Tensor<3>, Option<Tensor<1>>);
    /// As [`CausalLm`]'s.
    type Targets = Tensor<2, Int>;
    // How evenly the tokens of a batch fall is not a sum over its rows.
    const COUPLED: bool = true;

    fn check(&self, targets: &Tensor<2, Int>) -> Result<(), InputError> {
        TaskHead::<F>::check(&self.language, targets)
    }

    fn forward(&self, features: F) -> Self::Output {
        let balance = features.balance();
        (self.language.forward(features), balance)
    }

    fn loss(&self, features: F, targets: Tensor<2, Int>) -> Loss {
        let balance = features.balance();
        self.balanced(self.language.loss(features, targets), balance)
    }

    fn settings(&self) -> String {
        format!("{}, balance {}", TaskHead::<F>::settings(&self.language), self.coefficient)
    }

    /// As [`CausalLm`]'s: without the imbalance, so that it is comparable.
    fn score(&self, features: F, targets: Tensor<2, Int>, scores: &mut Scores) {
        self.language.score(features, targets, scores);
    }
}
