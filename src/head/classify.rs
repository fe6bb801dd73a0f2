use super::{Loss, TaskHead, cross_entropy, indices};
use crate::backbone::{InputError, Pooled};
use crate::metric::Scores;
use crate::nn::{Dropout, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// One class a row: dropout and a linear map on the pooled features, as in `BertForSequenceClassification`.
#[derive(Module, Debug)]
pub struct Classifier {
    dropout: Dropout,
    linear: Linear,
}

impl Classifier {
    /// A fresh head for `num_labels` classes, dropout 0.1, initialised from `seed` as `torch.nn.Linear` is: wider than BERT's
    /// 0.02, it passes more gradient down in the first steps.
    pub fn new(hidden_size: usize, num_labels: usize, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed ^ 0xC1A5_51F1, 0.02, device);
        Self { dropout: Dropout::new(0.1), linear: init.uniform_linear(hidden_size, num_labels) }
    }

    /// The same head with dropout `prob` before the linear map.
    pub fn with_dropout(mut self, prob: f64) -> Self {
        self.dropout = Dropout::new(prob);
        self
    }

    /// The probability of dropout before the linear map.
    pub fn dropout(&self) -> f64 {
        self.dropout.prob()
    }

    /// The number of classes.
    pub fn num_labels(&self) -> usize {
        self.linear.weight.dims()[1]
    }
}

impl<F: Pooled> TaskHead<F> for Classifier {
    /// Logits, `[batch, num_labels]`.
    type Output = Tensor<2>;
    /// Class indices, `[batch]`.
    type Targets = Tensor<1, Int>;

    fn check(&self, targets: &Tensor<1, Int>) -> Result<(), InputError> {
        InputError::check_classes(targets, self.num_labels())
    }

    fn forward(&self, features: F) -> Tensor<2> {
        linear(&self.linear, self.dropout.forward(features.pooled()))
    }

    fn loss(&self, features: F, targets: Tensor<1, Int>) -> Loss {
        cross_entropy(self.forward(features), targets)
    }

    fn score(&self, features: F, targets: Tensor<1, Int>, scores: &mut Scores) {
        let logits = self.forward(features);
        let loss = cross_entropy(logits.clone(), targets.clone());
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
        scores.add_logits(&values, self.num_labels(), &indices(targets));
    }
}
