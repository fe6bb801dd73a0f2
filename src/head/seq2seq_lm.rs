use super::places::{self, Answers};
use super::{IGNORED, Loss, TaskHead};
use crate::backbone::{InputError, Tied, Tokens};
use crate::metric::Scores;
use crate::nn::{Buffer, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// The target's tokens: logits of every place of the decoder for its own label, as in the `ForConditionalGeneration`
/// classes (the decoder's input, not the labels, is what is shifted). The projection is the decoder's token embedding, read
/// from the features, or one of the head's own.
#[derive(Module, Debug)]
pub struct Seq2SeqLm {
    lm_head: Option<Linear>,
    final_logits_bias: Option<Buffer<2>>,
    #[module(skip)]
    vocab_size: usize,
    #[module(skip)]
    scale: f64,
}

impl Seq2SeqLm {
    /// A head of `vocab_size` tokens that shares the decoder's token embedding.
    pub fn tied(vocab_size: usize) -> Self {
        Self { lm_head: None, final_logits_bias: None, vocab_size, scale: 1.0 }
    }

    /// A fresh projection of its own, without bias, weights drawn from `seed` with standard deviation 0.02.
    pub fn untied(hidden_size: usize, vocab_size: usize, seed: u64, device: &Device) -> Self {
        let weights = Init::new(seed ^ 0x5E92_5E91, 0.02, device).linear(hidden_size, vocab_size);
        Self { lm_head: Some(Linear { bias: None, ..weights }), ..Self::tied(vocab_size) }
    }

    /// The same head with a bias of zeros that is not trained, BART's and Marian's `final_logits_bias`.
    pub fn with_fixed_bias(mut self, device: &Device) -> Self {
        self.final_logits_bias = Some(Buffer::new(Tensor::zeros([1, self.vocab_size], device)));
        self
    }

    /// Hidden states are multiplied by `scale` before the projection: T5's `d_model^-0.5`.
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// `[rows, hidden]` to logits `[rows, vocabulary]`.
    fn logits(&self, hidden: Tensor<2>, features: &impl Tied) -> Tensor<2> {
        let hidden = if self.scale == 1.0 { hidden } else { hidden * self.scale };
        let logits = match &self.lm_head {
            Some(own) => linear(own, hidden),
            None => hidden.matmul(features.token_embedding().transpose()),
        };
        match &self.final_logits_bias {
            Some(bias) => logits + bias.val(),
            None => logits,
        }
    }

    /// Logits at the places whose label counts, and these labels; `None` where none counts or where there is not one label
    /// a place.
    fn predicted<F: Tokens + Tied>(&self, features: &F, labels: Tensor<2, Int>) -> Option<Answers> {
        let hidden = features.hidden();
        let labels = places::labels_of(&hidden, labels)?;
        let counted = labels.into_iter().enumerate().filter(|(_, label)| *label != IGNORED);
        let (hidden, tokens) = places::at_places(hidden, counted)?;
        Some((self.logits(hidden, features), tokens))
    }
}

impl<F: Tokens + Tied> TaskHead<F> for Seq2SeqLm {
    /// Logits, `[batch, target, vocabulary]`.
    type Output = Tensor<3>;
    /// The target's token ids, `[batch, target]`, not shifted; [`IGNORED`] for places that count nothing.
    type Targets = Tensor<2, Int>;

    fn check(&self, targets: &Tensor<2, Int>) -> Result<(), InputError> {
        places::check_tokens(targets, self.vocab_size)
    }

    fn forward(&self, features: F) -> Tensor<3> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        self.logits(hidden.reshape([batch * seq, width]), &features).reshape([batch, seq, self.vocab_size])
    }

    /// Cross-entropy over the places that count; 0 of weight 0 where none counts, NaN for targets of another shape.
    fn loss(&self, features: F, targets: Tensor<2, Int>) -> Loss {
        let (hidden, shape) = (features.hidden(), targets.dims());
        places::loss(self.predicted(&features, targets), hidden, shape)
    }

    fn settings(&self) -> String {
        format!("target tokens, scale {}", self.scale)
    }

    /// The loss and the share of tokens that are right.
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
