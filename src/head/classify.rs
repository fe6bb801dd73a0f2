use super::{Loss, RowLoss, TaskHead};
use crate::backbone::{InputError, Pooled};
use crate::loss::{ClassLoss, LossError};
use crate::metric::Scores;
use crate::nn::{Activation, Dropout, Init, LayerNorm, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// Some outputs a row: dropout and a linear map on the pooled features, as in `BertForSequenceClassification`; some
/// architectures put a dense layer before it ([`with_dense`](Self::with_dense)).
///
/// What the outputs mean is its loss: one class a row unless said otherwise, numbers in a [`Regressor`](super::Regressor),
/// labels of which several may hold in a [`MultiLabel`](super::MultiLabel).
#[derive(Module, Debug)]
pub struct Classifier<L: RowLoss = ClassLoss> {
    dense: Option<Linear>,
    norm: Option<LayerNorm>,
    #[module(skip)]
    activation: Activation,
    /// Whether dropout acts before the dense layer too.
    drops_first: bool,
    /// Whether features are pooled after the dense layer, not before it.
    pools_late: bool,
    dropout: Dropout,
    linear: Linear,
    #[module(skip)]
    loss: L,
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
            pools_late: false,
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

    /// Backbone and head are as before; the outputs mean something else.
    pub(super) fn reading<L: RowLoss>(self, loss: L) -> Classifier<L> {
        let Self { dense, norm, activation, drops_first, pools_late, dropout, linear, .. } = self;
        Classifier { dense, norm, activation, drops_first, pools_late, dropout, linear, loss }
    }
}

impl<L: RowLoss> Classifier<L> {
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

    /// The same head which pools what the dense layer makes of each token, as EuroBERT's may.
    pub fn with_late_pooling(mut self) -> Self {
        self.pools_late = true;
        self
    }

    /// The same head without a bias in the linear map, as decoders' have it (`score`).
    pub fn without_bias(mut self) -> Self {
        self.linear.bias = None;
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

    /// The number of outputs: classes, numbers or labels.
    pub fn num_labels(&self) -> usize {
        self.linear.weight.dims()[1]
    }
}

impl<F: Pooled, L: RowLoss> TaskHead<F> for Classifier<L> {
    /// Logits or numbers, `[batch, num_labels]`.
    type Output = Tensor<2>;
    type Targets = L::Targets;
    const POOLED_ONLY: bool = true;

    fn check(&self, targets: &L::Targets) -> Result<(), InputError> {
        self.loss.check(targets, self.num_labels())
    }

    fn forward(&self, features: F) -> Tensor<2> {
        let before = |rows| self.before_last(rows);
        let hidden = if self.pools_late { features.pooled_late(&before) } else { before(features.pooled()) };
        linear(&self.linear, self.dropout.forward(hidden))
    }

    fn loss(&self, features: F, targets: L::Targets) -> Loss {
        self.loss.of(self.forward(features), targets)
    }

    fn r_drop(&self, first: F, second: F, targets: L::Targets, alpha: f64) -> Option<Loss> {
        self.loss.r_drop(self.forward(first), self.forward(second), targets, alpha)
    }

    fn settings(&self) -> String {
        let settings = format!("{}, dropout {}", self.loss.settings(), self.dropout());
        match self.dense {
            Some(_) if self.pools_late => format!("{settings}, pooled after {:?} of a dense layer", self.activation),
            Some(_) => {
                format!("{settings}, {:?} of a dense layer, dropout before it {}", self.activation, self.drops_first)
            }
            None => settings,
        }
    }

    fn score(&self, features: F, targets: L::Targets, scores: &mut Scores) {
        let logits = self.forward(features);
        let loss = self.loss.of(logits.clone(), targets.clone());
        self.add_scores(loss, logits, targets, scores);
    }
}

impl<L: RowLoss> Classifier<L> {
    /// What stands before the last dropout, `[rows, hidden]`.
    fn before_last(&self, mut hidden: Tensor<2>) -> Tensor<2> {
        if let Some(dense) = &self.dense {
            hidden = if self.drops_first { self.dropout.forward(hidden) } else { hidden };
            hidden = self.activation.after(dense, hidden);
        }
        match &self.norm {
            Some(norm) => norm.forward(hidden),
            None => hidden,
        }
    }

    /// Adds a batch's loss and what its rows show.
    pub(super) fn add_scores(&self, loss: Loss, outputs: Tensor<2>, targets: L::Targets, scores: &mut Scores) {
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        self.loss.score(outputs, targets, scores);
    }
}
