use super::embedder::sides;
use super::{Loss, RowLoss, TaskHead};
use crate::backbone::{InputError, Pooled};
use crate::loss::ClassLoss;
use crate::metric::Scores;
use crate::nn::{Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// The class of a pair of texts that are read one by one: a linear map on both pooled vectors and their absolute
/// difference, `(u, v, |u - v|)`, as Sentence-BERT learns from inference data ([Reimers and Gurevych,
/// 2019](https://arxiv.org/abs/1908.10084), section 3). The rows of a batch are the first text of every pair, then every
/// second one.
#[derive(Module, Debug)]
pub struct PairClassifier {
    linear: Linear,
}

impl PairClassifier {
    /// A fresh head for `num_labels` classes, initialised from `seed` as `torch.nn.Linear` is.
    pub fn new(hidden_size: usize, num_labels: usize, seed: u64, device: &Device) -> Self {
        Self { linear: Init::new(seed ^ 0x9A12_C1A5, 0.02, device).uniform_linear(3 * hidden_size, num_labels) }
    }

    /// The number of classes.
    pub fn num_labels(&self) -> usize {
        self.linear.weight.dims()[1]
    }

    /// `[2 * pairs, hidden]` to `[pairs, classes]`; a last row without its other one is left out of it.
    fn logits(&self, pooled: Tensor<2>) -> Tensor<2> {
        let pairs = pooled.dims()[0] / 2;
        let (first, second) = sides(pooled, pairs);
        let second = second.narrow(0, 0, pairs);
        let difference = (first.clone() - second.clone()).abs();
        linear(&self.linear, Tensor::cat(vec![first, second, difference], 1))
    }

    fn compare(logits: Tensor<2>, targets: Tensor<1, Int>) -> Loss {
        match logits.dims()[0] == targets.dims()[0] {
            true => ClassLoss::default().of(logits, targets),
            false => Loss { sum: logits.sum() * f64::NAN, weight: 1.0 },
        }
    }
}

impl<F: Pooled> TaskHead<F> for PairClassifier {
    /// Logits, `[pairs, classes]`.
    type Output = Tensor<2>;
    /// Class indices, `[pairs]`.
    type Targets = Tensor<1, Int>;
    const POOLED_ONLY: bool = true;

    fn check(&self, targets: &Tensor<1, Int>) -> Result<(), InputError> {
        InputError::check_classes(targets, self.num_labels())
    }

    fn forward(&self, features: F) -> Tensor<2> {
        self.logits(features.pooled())
    }

    /// NaN where there are not two rows for each target.
    fn loss(&self, features: F, targets: Tensor<1, Int>) -> Loss {
        Self::compare(self.forward(features), targets)
    }

    fn settings(&self) -> String {
        "classes of (u, v, |u - v|)".into()
    }

    fn score(&self, features: F, targets: Tensor<1, Int>, scores: &mut Scores) {
        let logits = self.forward(features);
        let loss = Self::compare(logits.clone(), targets.clone());
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        RowLoss::score(&ClassLoss::default(), logits, targets, scores);
    }
}
