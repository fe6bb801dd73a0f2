use super::places::{self, Answers};
use super::{IGNORED, Loss, TaskHead};
use crate::backbone::{InputError, Tied, Tokens};
use crate::metric::Scores;
use crate::nn::{Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// Next-token prediction: logits of every place for the token after it, as in the `ForCausalLM` classes. The projection is
/// the token embedding, read from the features, or one of the head's own.
#[derive(Module, Debug)]
pub struct CausalLm {
    lm_head: Option<Linear>,
    #[module(skip)]
    vocab_size: usize,
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    soft_cap: Option<f64>,
}

impl CausalLm {
    /// A head of `vocab_size` tokens that shares the backbone's token embedding.
    pub fn tied(vocab_size: usize) -> Self {
        Self { lm_head: None, vocab_size, scale: 1.0, soft_cap: None }
    }

    /// A fresh projection of its own, without bias, weights drawn from `seed` with standard deviation 0.02.
    pub fn untied(hidden_size: usize, vocab_size: usize, seed: u64, device: &Device) -> Self {
        let weights = Init::new(seed ^ 0xCA05_A11A, 0.02, device).linear(hidden_size, vocab_size);
        Self { lm_head: Some(Linear { bias: None, ..weights }), ..Self::tied(vocab_size) }
    }

    /// Logits are multiplied by `scale`, as some configurations ask (`logit_scale`).
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// Logits are kept within `cap`: `cap * tanh(logits / cap)`, Gemma 2's `final_logit_softcapping`. The cap is above 0.
    pub fn with_soft_cap(mut self, cap: f64) -> Self {
        self.soft_cap = Some(cap);
        self
    }

    /// `[rows, hidden]` to logits `[rows, vocabulary]`.
    fn logits(&self, hidden: Tensor<2>, features: &impl Tied) -> Tensor<2> {
        let logits = match &self.lm_head {
            Some(own) => linear(own, hidden),
            None => hidden.matmul(features.token_embedding().transpose()),
        };
        let logits = if self.scale == 1.0 { logits } else { logits * self.scale };
        match self.soft_cap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    /// Logits at the places whose next token counts, and these tokens; `None` where none counts or where there is not one
    /// label a token.
    fn predicted<F: Tokens + Tied>(&self, features: &F, labels: Tensor<2, Int>) -> Option<Answers> {
        let hidden = features.hidden();
        let [_, seq, _] = hidden.dims();
        let labels = places::labels_of(&hidden, labels)?;
        // The label of a row's first token is predicted by no place.
        let counts = |place: &usize| !place.is_multiple_of(seq) && labels[*place] != IGNORED;
        let counted = (0..labels.len()).filter(counts).map(|place| (place - 1, labels[place]));
        let (hidden, tokens) = places::at_places(hidden, counted)?;
        Some((self.logits(hidden, features), tokens))
    }
}

impl<F: Tokens + Tied> TaskHead<F> for CausalLm {
    /// Logits, `[batch, seq, vocabulary]`.
    type Output = Tensor<3>;
    /// Token ids, `[batch, seq]`, not shifted: the same as the input's; [`IGNORED`] for tokens that count nothing.
    type Targets = Tensor<2, Int>;

    fn check(&self, targets: &Tensor<2, Int>) -> Result<(), InputError> {
        places::check_tokens(targets, self.vocab_size)
    }

    fn forward(&self, features: F) -> Tensor<3> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        let logits = self.logits(hidden.reshape([batch * seq, width]), &features);
        let [_, vocabulary] = logits.dims();
        logits.reshape([batch, seq, vocabulary])
    }

    /// Cross-entropy over the tokens that count, each under the logits of the place before it; 0 of weight 0 where none
    /// counts, NaN for targets of another shape.
    fn loss(&self, features: F, targets: Tensor<2, Int>) -> Loss {
        let (hidden, shape) = (features.hidden(), targets.dims());
        places::loss(self.predicted(&features, targets), hidden, shape)
    }

    fn settings(&self) -> String {
        format!("next token, scale {}, soft cap {:?}", self.scale, self.soft_cap)
    }

    /// The loss and the share of next tokens that are right.
    fn score(&self, features: F, targets: Tensor<2, Int>, scores: &mut Scores) {
        let shape = targets.dims();
        let predicted = self.predicted(&features, targets);
        let loss = places::loss(predicted.clone(), features.hidden(), shape);
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        if let Some(predicted) = predicted {
            places::add_hits(predicted, scores);
        }
    }
}
