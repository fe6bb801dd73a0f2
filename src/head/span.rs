use super::transform::transformed;
use super::{Loss, TaskHead, Transform, argmax};
use crate::backbone::{InputError, Tokens};
use crate::loss::ClassLoss;
use crate::metric::Scores;
use crate::nn::{Dropout, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Where an answer begins and ends in a row: a linear map to two logits a token, as in `BertForQuestionAnswering`.
#[derive(Module, Debug)]
pub struct SpanHead {
    transform: Option<Transform>,
    dropout: Dropout,
    outputs: Linear,
}

/// Logits of a span's two ends.
#[derive(Clone, Debug)]
pub struct SpanLogits {
    /// That a span begins at a token, `[batch, seq]`; padding is not left out.
    pub start: Tensor<2>,
    /// That it ends there, `[batch, seq]`.
    pub end: Tensor<2>,
}

/// The first and the last token of each row's answer, `[batch]`. A place from the end of the row on counts nothing, and one
/// below 0 counts as 0, as in Transformers.
#[derive(Clone, Debug)]
pub struct SpanTargets {
    /// The first token, `[batch]`.
    pub start: Tensor<1, Int>,
    /// The last token, `[batch]`.
    pub end: Tensor<1, Int>,
}

impl SpanHead {
    /// A fresh head, initialised from `seed` as `torch.nn.Linear` is.
    pub fn new(hidden_size: usize, seed: u64, device: &Device) -> Self {
        let outputs = Init::new(seed ^ 0x59A2_4EAD, 0.02, device).uniform_linear(hidden_size, 2);
        Self { transform: None, dropout: Dropout::new(0.0), outputs }
    }

    /// The same head with dropout `prob` before the linear map, as DistilBERT's has it.
    pub fn with_dropout(mut self, prob: f64) -> Self {
        self.dropout = Dropout::new(prob);
        self
    }

    /// The same head with `transform` before dropout and linear map, as ModernBERT's has it.
    pub fn with_transform(mut self, transform: Transform) -> Self {
        self.transform = Some(transform);
        self
    }

    fn logits(&self, hidden: Tensor<3>) -> SpanLogits {
        let [batch, seq, width] = hidden.dims();
        let hidden = transformed(&self.transform, hidden.reshape([batch * seq, width]));
        let both = linear(&self.outputs, self.dropout.forward(hidden)).reshape([batch, seq, 2]);
        let side = |side| both.clone().narrow(2, side, 1).reshape([batch, seq]);
        SpanLogits { start: side(0), end: side(1) }
    }
}

impl<F: Tokens> TaskHead<F> for SpanHead {
    type Output = SpanLogits;
    type Targets = SpanTargets;

    fn check(&self, targets: &SpanTargets) -> Result<(), InputError> {
        let (start, end) = (targets.start.dims(), targets.end.dims());
        match start == end {
            true => Ok(()),
            false => Err(InputError::ShapeMismatch { what: "end", found: end.to_vec(), expected: start.to_vec() }),
        }
    }

    fn forward(&self, features: F) -> SpanLogits {
        self.logits(features.hidden())
    }

    /// The mean of the cross-entropies of both ends, each over the rows in which that end counts. Its weight is the number
    /// of rows that count; an end that counts in no row adds 0.
    fn loss(&self, features: F, targets: SpanTargets) -> Loss {
        let SpanLogits { start, end } = self.logits(features.hidden());
        span_loss(side_loss(start, targets.start), side_loss(end, targets.end))
    }

    fn settings(&self) -> String {
        match self.dropout.prob() {
            0.0 => "spans".into(),
            prob => format!("spans, dropout {prob}"),
        }
    }

    /// The loss, and as accuracy the share of rows whose two ends are both the most probable ones.
    fn score(&self, features: F, targets: SpanTargets, scores: &mut Scores) {
        let SpanLogits { start, end } = self.logits(features.hidden());
        let [_, seq] = start.dims();
        let places = |list: Tensor<1, Int>| -> Vec<usize> {
            list.into_data().iter::<i64>().map(|place| place.max(0) as usize).collect()
        };
        let actual = places(targets.start.clone()).into_iter().zip(places(targets.end.clone())).collect::<Vec<_>>();
        let predicted = argmax(start.clone()).into_iter().zip(argmax(end.clone()));
        let counted = predicted.zip(&actual).filter(|(_, (start, end))| *start < seq && *end < seq);
        let counted: Vec<bool> = counted.map(|(predicted, actual)| predicted == *actual).collect();
        scores.add_hits(counted.iter().filter(|right| **right).count(), counted.len());
        let loss = span_loss(side_loss(start, targets.start), side_loss(end, targets.end));
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
    }
}

/// Cross-entropy of one end `[batch, seq]` over the rows in which it counts.
fn side_loss(logits: Tensor<2>, places: Tensor<1, Int>) -> Loss {
    let [_, seq] = logits.dims();
    let count = places.dims();
    let places: Vec<i64> = places.into_data().iter::<i64>().map(|place| place.clamp(0, seq as i64)).collect();
    let every = places.iter().all(|place| *place < seq as i64);
    let places = Tensor::from_data(TensorData::new(places, count), &logits.device().inner());
    let ignore_index = (!every).then_some(seq as i64);
    ClassLoss { ignore_index, ..ClassLoss::default() }.of(logits, places)
}

fn span_loss(start: Loss, end: Loss) -> Loss {
    let weight = start.weight.max(end.weight);
    let share = |side: f64| if side > 0.0 { weight / side / 2.0 } else { 0.0 };
    Loss { sum: start.sum * share(start.weight) + end.sum * share(end.weight), weight }
}
