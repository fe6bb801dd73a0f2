use super::{IGNORED, Loss, TaskHead, argmax, cross_entropy, indices};
use crate::backbone::{InputError, Tied, Tokens};
use crate::metric::Scores;
use crate::nn::{Buffer, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

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
    fn predicted<F: Tokens + Tied>(&self, features: &F, labels: Tensor<2, Int>) -> Option<(Tensor<2>, Tensor<1, Int>)> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        if labels.dims() != [batch, seq] {
            return None;
        }
        let labels = labels.into_data();
        let counted = labels.iter::<i64>().enumerate().filter(|(_, label)| *label != IGNORED);
        let (at, tokens): (Vec<i64>, Vec<i64>) = counted.map(|(place, label)| (place as i64, label)).unzip();
        if at.is_empty() {
            return None;
        }
        let (count, device) = ([at.len()], hidden.device().inner());
        let list = |values| Tensor::<1, Int>::from_data(TensorData::new(values, count), &device);
        let hidden = hidden.reshape([batch * seq, width]).select(0, list(at));
        Some((self.logits(hidden, features), list(tokens)))
    }
}

impl<F: Tokens + Tied> TaskHead<F> for Seq2SeqLm {
    /// Logits, `[batch, target, vocabulary]`.
    type Output = Tensor<3>;
    /// The target's token ids, `[batch, target]`, not shifted; [`IGNORED`] for places that count nothing.
    type Targets = Tensor<2, Int>;

    fn check(&self, targets: &Tensor<2, Int>) -> Result<(), InputError> {
        let labels: Vec<i64> = targets.to_data().iter::<i64>().collect();
        let strange = |id: &&i64| **id != IGNORED && !(0..self.vocab_size as i64).contains(*id);
        match labels.iter().find(strange) {
            Some(id) => Err(InputError::IdOutOfRange { kind: "token", id: *id, entries: self.vocab_size }),
            None => Ok(()),
        }
    }

    fn forward(&self, features: F) -> Tensor<3> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        self.logits(hidden.reshape([batch * seq, width]), &features).reshape([batch, seq, self.vocab_size])
    }

    /// Cross-entropy over the places that count; 0 of weight 0 where none counts, NaN for targets of another shape.
    fn loss(&self, features: F, targets: Tensor<2, Int>) -> Loss {
        let hidden = features.hidden();
        let [batch, seq, _] = hidden.dims();
        let fits = targets.dims() == [batch, seq];
        match self.predicted(&features, targets) {
            Some((logits, tokens)) => cross_entropy(logits, tokens),
            None if fits => Loss { sum: hidden.sum() * 0.0, weight: 0.0 },
            None => Loss { sum: hidden.sum() * f64::NAN, weight: 1.0 },
        }
    }

    fn settings(&self) -> String {
        format!("target tokens, scale {}", self.scale)
    }

    /// The loss and the share of tokens that are right.
    fn score(&self, features: F, targets: Tensor<2, Int>, scores: &mut Scores) {
        let predicted = self.predicted(&features, targets.clone());
        let loss = match &predicted {
            Some((logits, tokens)) => cross_entropy(logits.clone(), tokens.clone()),
            None => self.loss(features, targets),
        };
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        if let Some((logits, tokens)) = predicted {
            let (found, wanted) = (argmax(logits), indices(tokens));
            let right = found.iter().zip(&wanted).filter(|(found, wanted)| found == wanted).count();
            scores.add_hits(right, wanted.len());
        }
    }
}
