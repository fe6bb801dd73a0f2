use super::{Loss, MaskedLm, MaskedTargets, TaskHead, cross_entropy};
use crate::backbone::{Bert, BertConfig, InputError, Pooled, Tied, Tokens};
use crate::nn::{Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// Targets of both of BERT's pretraining tasks.
#[derive(Clone, Debug)]
pub struct PretrainingTargets {
    /// Masked tokens.
    pub masked: MaskedTargets,
    /// 0 where the second text follows the first, 1 where it does not, `[batch]`.
    pub next_sentence: Tensor<1, Int>,
}

/// BERT's two pretraining heads together (`BertForPreTraining`): masked tokens and next sentence.
///
/// The backbone needs [`Pooling::Pooler`](crate::backbone::Pooling::Pooler).
#[derive(Module, Debug)]
pub struct Pretraining {
    masked_lm: MaskedLm,
    next_sentence: Linear,
}

impl Pretraining {
    /// Fresh heads for a configuration, weights drawn from `seed`.
    pub fn new(config: &BertConfig, seed: u64, device: &Device) -> Self {
        Self {
            masked_lm: Bert::masked_lm(config, seed, device),
            next_sentence: Init::new(seed ^ 0x0EC7_5E17, config.initializer_range, device)
                .linear(config.hidden_size, 2),
        }
    }
}

impl<F: Tokens + Tied + Pooled> TaskHead<F> for Pretraining {
    /// Token logits `[batch, seq, vocabulary]` and next-sentence logits `[batch, 2]`.
    type Output = (Tensor<3>, Tensor<2>);
    type Targets = PretrainingTargets;
    /// The mean over masked tokens plus the mean over rows is a mean over neither.
    const COUPLED: bool = true;

    fn check(&self, targets: &PretrainingTargets) -> Result<(), InputError> {
        TaskHead::<F>::check(&self.masked_lm, &targets.masked)?;
        InputError::check_classes(&targets.next_sentence, 2)
    }

    fn forward(&self, features: F) -> (Tensor<3>, Tensor<2>) {
        let next = linear(&self.next_sentence, features.pooled());
        (self.masked_lm.forward(features), next)
    }

    /// Masked-LM mean plus next-sentence mean, times the number of rows.
    fn loss(&self, features: F, targets: PretrainingTargets) -> Loss {
        let next = cross_entropy(linear(&self.next_sentence, features.pooled()), targets.next_sentence);
        let masked = self.masked_lm.loss(features, targets.masked);
        Loss { sum: masked.sum * (next.weight / masked.weight) + next.sum, weight: next.weight }
    }
}
