//! What heads share that answer for the places of rows, of which some count.

use super::{IGNORED, Loss, argmax, cross_entropy, indices};
use crate::backbone::InputError;
use crate::metric::Scores;
use burn::tensor::{Int, Tensor, TensorData};

/// Logits `[count, classes]` of the places that count, and their labels `[count]`.
pub(super) type Answers = (Tensor<2>, Tensor<1, Int>);

/// Refuses labels that are neither a token of the vocabulary nor [`IGNORED`].
pub(super) fn check_tokens(labels: &Tensor<2, Int>, vocab_size: usize) -> Result<(), InputError> {
    let strange = |id: &i64| *id != IGNORED && !(0..vocab_size as i64).contains(id);
    match labels.to_data().iter::<i64>().find(strange) {
        Some(id) => Err(InputError::IdOutOfRange { kind: "token", id, entries: vocab_size }),
        None => Ok(()),
    }
}

/// Labels `[batch, seq]` on the host, one row after the other; `None` where there is not one for each place of `hidden`,
/// `[batch, seq, hidden]`.
pub(super) fn labels_of(hidden: &Tensor<3>, labels: Tensor<2, Int>) -> Option<Vec<i64>> {
    let [batch, seq, _] = hidden.dims();
    (labels.dims() == [batch, seq]).then(|| labels.into_data().iter::<i64>().collect())
}

/// The hidden states of places, counted over all rows, as `[count, hidden]`, and their labels; `None` for no place.
pub(super) fn at_places(hidden: Tensor<3>, labelled: impl Iterator<Item = (usize, i64)>) -> Option<Answers> {
    let (places, labels): (Vec<i64>, Vec<i64>) = labelled.map(|(place, label)| (place as i64, label)).unzip();
    let ([batch, seq, width], count) = (hidden.dims(), [places.len()]);
    let device = hidden.device().inner();
    let list = |values| Tensor::<1, Int>::from_data(TensorData::new(values, count), &device);
    let rows = hidden.reshape([batch * seq, width]);
    (!places.is_empty()).then(|| (rows.select(0, list(places)), list(labels)))
}

/// Cross-entropy over the places that count; 0 of weight 0 where none does, NaN for targets that do not have the shape of
/// `hidden`.
pub(super) fn loss(answers: Option<Answers>, hidden: Tensor<3>, targets: [usize; 2]) -> Loss {
    let [batch, seq, _] = hidden.dims();
    match answers {
        Some((logits, labels)) => cross_entropy(logits, labels),
        None if targets == [batch, seq] => Loss { sum: hidden.sum() * 0.0, weight: 0.0 },
        None => Loss { sum: hidden.sum() * f64::NAN, weight: 1.0 },
    }
}

/// Adds how many labels have the largest logit.
pub(super) fn add_hits((logits, labels): Answers, scores: &mut Scores) {
    let (found, wanted) = (argmax(logits), indices(labels));
    let right = found.iter().zip(&wanted).filter(|(found, wanted)| found == wanted).count();
    scores.add_hits(right, wanted.len());
}
