use super::row_loss::{check_numbers, rows_of};
use super::{Loss, Projection, TaskHead};
use crate::backbone::{InputError, Pooled};
use crate::loss::{LossError, cosent, cosine_error, cosine_similarity, in_batch_negatives, normalise};
use crate::metric::Scores;
use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// One vector of length 1 a text: the pooled features divided by their length, so that the product of two is their cosine
/// ([Reimers and Gurevych, 2019](https://arxiv.org/abs/1908.10084)). How they are pooled is the backbone's; the head has
/// no parameter but those of its [`Projection`]s, if it has any.
///
/// It learns from pairs: the rows of a batch are the first text of every pair, then every second one, and, for
/// [`PairLoss::InBatchNegatives`], any further texts that belong to no pair.
#[derive(Module, Debug)]
pub struct SentenceEmbedder {
    dense: Vec<Projection>,
    #[module(skip)]
    loss: PairLoss,
}

/// How the vectors of pairs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairLoss {
    /// [`in_batch_negatives`]: each first text should find its second one among those of the batch. The scores of pairs
    /// are not read.
    InBatchNegatives {
        /// What cosines are multiplied by; 20 is usual.
        scale: f64,
    },
    /// [`cosent`]: cosines should be in the order of the scores.
    Cosent {
        /// What cosines are multiplied by; 20 is usual.
        scale: f64,
    },
    /// [`cosine_error`]: the cosine should be the score, from -1 to 1.
    Cosine,
}

impl Default for PairLoss {
    fn default() -> Self {
        Self::InBatchNegatives { scale: 20.0 }
    }
}

impl SentenceEmbedder {
    /// A head that compares pairs so.
    ///
    /// # Errors
    /// [`LossError::BadOption`] for a scale that is not above 0.
    pub fn new(loss: PairLoss) -> Result<Self, LossError> {
        match loss {
            PairLoss::InBatchNegatives { scale } | PairLoss::Cosent { scale }
                if !(scale.is_finite() && scale > 0.0) =>
            {
                Err(LossError::BadOption { option: "scale", value: scale.to_string(), mend: "a number above 0" })
            }
            _ => Ok(Self { dense: vec![], loss }),
        }
    }

    /// The same head with a further map between pooling and length, which reads the width that comes before it.
    pub fn with_projection(mut self, dense: Projection) -> Self {
        self.dense.push(dense);
        self
    }

    /// The maps between pooling and length, in order.
    pub fn projections(&self) -> &[Projection] {
        &self.dense
    }

    fn compare(&self, vectors: Tensor<2>, scores: Tensor<2>) -> Loss {
        let ([rows, _], [pairs, _]) = (vectors.dims(), scores.dims());
        let more = matches!(self.loss, PairLoss::InBatchNegatives { .. });
        let fits = pairs > 0 && if more { rows >= 2 * pairs } else { rows == 2 * pairs };
        if !fits {
            return Loss { sum: vectors.sum() * f64::NAN, weight: 1.0 };
        }
        let (first, second) = sides(vectors, pairs);
        match self.loss {
            PairLoss::InBatchNegatives { scale } => in_batch_negatives(first, second, scale),
            PairLoss::Cosent { scale } => cosent(first, second, scores, scale),
            PairLoss::Cosine => cosine_error(first, second, scores),
        }
    }
}

/// The rows of the first texts, and the others.
pub(super) fn sides(rows: Tensor<2>, pairs: usize) -> (Tensor<2>, Tensor<2>) {
    let [all, _] = rows.dims();
    (rows.clone().narrow(0, 0, pairs), rows.narrow(0, pairs, all - pairs))
}

impl<F: Pooled> TaskHead<F> for SentenceEmbedder {
    /// Vectors of length 1, `[rows, hidden]`, or as wide as the last projection makes them.
    type Output = Tensor<2>;
    /// How alike the texts of each pair are, `[pairs, 1]`.
    type Targets = Tensor<2>;
    const COUPLED: bool = true;
    const POOLED_ONLY: bool = true;

    fn check(&self, scores: &Tensor<2>) -> Result<(), InputError> {
        check_numbers(scores, 1)
    }

    fn forward(&self, features: F) -> Tensor<2> {
        normalise(self.dense.iter().fold(features.pooled(), |vectors, dense| dense.forward(vectors)))
    }

    /// NaN where there are not two rows for each score.
    fn loss(&self, features: F, scores: Tensor<2>) -> Loss {
        self.compare(self.forward(features), scores)
    }

    fn settings(&self) -> String {
        format!("embedder, {:?}", self.loss)
    }

    /// The loss; the cosines beside the scores, for [`Scores::regression`]; or, with in-batch negatives, how many first
    /// texts find their second one.
    fn score(&self, features: F, scores: Tensor<2>, seen: &mut Scores) {
        let vectors = self.forward(features);
        let ([rows, _], [pairs, _]) = (vectors.dims(), scores.dims());
        let loss = self.compare(vectors.clone(), scores.clone());
        seen.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        if pairs == 0 || rows < 2 * pairs {
            return;
        }
        let (first, second) = sides(vectors, pairs);
        if let PairLoss::InBatchNegatives { .. } = self.loss {
            let found = super::argmax(first.matmul(second.transpose()));
            let right = found.iter().enumerate().filter(|(place, found)| place == *found).count();
            seen.add_hits(right, pairs);
        } else {
            let cosines = cosine_similarity(first, second.narrow(0, 0, pairs));
            seen.add_outputs(rows_of(cosines), rows_of(scores));
        }
    }
}
