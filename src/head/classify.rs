use super::{Loss, TaskHead};
use crate::backbone::{InputError, Pooled};
use crate::loss::{ClassLoss, LossError};
use crate::metric::Scores;
use crate::nn::{Activation, Dropout, Init, LayerNorm, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// One class a row: dropout and a linear map on the pooled features, as in `BertForSequenceClassification`; some
/// architectures put a dense layer before it ([`with_dense`](Self::with_dense)).
#[derive(Module, Debug)]
pub struct Classifier {
    dense: Option<Linear>,
    norm: Option<LayerNorm>,
    #[module(skip)]
    activation: Activation,
    /// Whether dropout acts before the dense layer too.
    drops_first: bool,
    dropout: Dropout,
    linear: Linear,
    #[module(skip)]
    loss: ClassLoss,
}

impl Classifier {
    /// A fresh head for `num_labels` classes, dropout 0.1, initialised from `seed` as `torch.nn.Linear` is: wider than BERT's
    /// 0.02, it passes more gradient down in the first steps.
    pub fn new(hidden_size: usize, num_labels: usize, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed ^ 0xC1A5_51F1, 0.02, device);
        Self {
            dense: None,
            norm: None,
            activation: Activation::Tanh,
            drops_first: false,
            dropout: Dropout::new(0.1),
            linear: init.uniform_linear(hidden_size, num_labels),
            loss: ClassLoss::default(),
        }
    }

    /// The same head trained and measured with another loss than the plain cross-entropy.
    ///
    /// # Errors
    /// [`LossError`] for options that mean nothing with this number of classes.
    pub fn with_loss(mut self, loss: ClassLoss) -> Result<Self, LossError> {
        loss.check(self.num_labels())?;
        self.loss = loss;
        Ok(self)
    }

    /// How the loss is computed.
    pub fn class_loss(&self) -> &ClassLoss {
        &self.loss
    }

    /// The same head with dropout `prob` before the linear map.
    pub fn with_dropout(mut self, prob: f64) -> Self {
        self.dropout = Dropout::new(prob);
        self
    }

    /// The same head with a dense layer and an activation before dropout and linear map, as RoBERTa's and DistilBERT's
    /// have it. The layer keeps the width of the features.
    pub fn with_dense(mut self, dense: Linear, activation: Activation) -> Self {
        self.dense = Some(dense);
        self.activation = activation;
        self
    }

    /// The same head with dropout before the dense layer as well.
    pub fn with_dropout_first(mut self) -> Self {
        self.drops_first = true;
        self
    }

    /// The same head with a norm after the activation, as ModernBERT's has it.
    pub fn with_norm(mut self, norm: LayerNorm) -> Self {
        self.norm = Some(norm);
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
    const POOLED_ONLY: bool = true;

    fn check(&self, targets: &Tensor<1, Int>) -> Result<(), InputError> {
        InputError::check_classes_except(targets, self.num_labels(), self.loss.ignore_index)
    }

    fn forward(&self, features: F) -> Tensor<2> {
        self.logits(features.pooled())
    }

    fn loss(&self, features: F, targets: Tensor<1, Int>) -> Loss {
        self.loss.of(self.forward(features), targets)
    }

    fn r_drop(&self, first: F, second: F, targets: Tensor<1, Int>, alpha: f64) -> Option<Loss> {
        Some(self.loss.r_drop(self.forward(first), self.forward(second), targets, alpha))
    }

    fn settings(&self) -> String {
        let settings = format!("{:?}, dropout {}", self.loss, self.dropout());
        match self.dense {
            Some(_) => {
                format!("{settings}, {:?} of a dense layer, dropout before it {}", self.activation, self.drops_first)
            }
            None => settings,
        }
    }

    fn score(&self, features: F, targets: Tensor<1, Int>, scores: &mut Scores) {
        let logits = self.forward(features);
        let loss = self.loss.of(logits.clone(), targets.clone());
        self.add_scores(loss, logits, targets, scores);
    }
}

impl Classifier {
    /// `[batch, hidden]` to `[batch, num_labels]`.
    fn logits(&self, pooled: Tensor<2>) -> Tensor<2> {
        let mut hidden = pooled;
        if let Some(dense) = &self.dense {
            hidden = if self.drops_first { self.dropout.forward(hidden) } else { hidden };
            hidden = self.activation.after(dense, hidden);
        }
        if let Some(norm) = &self.norm {
            hidden = norm.forward(hidden);
        }
        linear(&self.linear, self.dropout.forward(hidden))
    }

    /// Adds a batch's loss, and logits and classes of the rows that are not ignored.
    pub(super) fn add_scores(&self, loss: Loss, logits: Tensor<2>, targets: Tensor<1, Int>, scores: &mut Scores) {
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        let classes = self.num_labels();
        let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let labels: Vec<i64> = targets.into_data().iter::<i64>().collect();
        let rows = values.chunks_exact(classes.max(1)).zip(&labels);
        let rows = rows.filter(|(_, label)| Some(**label) != self.loss.ignore_index);
        let (values, labels): (Vec<&[f32]>, Vec<usize>) = rows.map(|(row, label)| (row, *label as usize)).unzip();
        scores.add_logits(&values.concat(), classes, &labels);
    }
}
