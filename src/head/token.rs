use super::transform::transformed;
use super::{Loss, TaskHead, Transform, argmax, cross_entropy};
use crate::backbone::{InputError, Tokens};
use crate::metric::Scores;
use crate::nn::{Dropout, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The label of tokens that count nothing: padding, special tokens, later pieces of a word. PyTorch's `ignore_index`.
pub const IGNORED: i64 = -100;

/// One class a token: dropout and a linear map on every hidden state, as in `BertForTokenClassification`.
#[derive(Module, Debug)]
pub struct TokenClassifier {
    transform: Option<Transform>,
    dropout: Dropout,
    linear: Linear,
}

impl TokenClassifier {
    /// A fresh head for `num_labels` classes, dropout 0.1, initialised from `seed` as `torch.nn.Linear` is.
    pub fn new(hidden_size: usize, num_labels: usize, seed: u64, device: &Device) -> Self {
        let linear = Init::new(seed ^ 0x70CE_15C1, 0.02, device).uniform_linear(hidden_size, num_labels);
        Self { transform: None, dropout: Dropout::new(0.1), linear }
    }

    /// The same head with dropout `prob` before the linear map.
    pub fn with_dropout(mut self, prob: f64) -> Self {
        self.dropout = Dropout::new(prob);
        self
    }

    /// The same head with `transform` before dropout and linear map, as ModernBERT's has it.
    pub fn with_transform(mut self, transform: Transform) -> Self {
        self.transform = Some(transform);
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

    /// `[tokens, hidden]` to `[tokens, labels]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        linear(&self.linear, self.dropout.forward(transformed(&self.transform, hidden)))
    }

    /// Logits `[labelled, labels]` of the tokens that have a label, and their classes; `None` where none has one, or where
    /// there is not one label a token.
    fn labelled(&self, hidden: Tensor<3>, labels: Tensor<2, Int>) -> Option<(Tensor<2>, Tensor<1, Int>)> {
        let [batch, seq, width] = hidden.dims();
        if labels.dims() != [batch, seq] {
            return None;
        }
        let labels = labels.into_data();
        let labels = labels.iter::<i64>().enumerate().filter(|(_, label)| *label != IGNORED);
        let (places, classes): (Vec<i64>, Vec<i64>) = labels.map(|(place, label)| (place as i64, label)).unzip();
        let (count, device) = ([places.len()], hidden.device().inner());
        if places.is_empty() {
            return None;
        }
        let list = |values| Tensor::<1, Int>::from_data(TensorData::new(values, count), &device);
        let hidden = hidden.reshape([batch * seq, width]).select(0, list(places));
        Some((self.logits(hidden), list(classes)))
    }
}

impl<F: Tokens> TaskHead<F> for TokenClassifier {
    /// Logits, `[batch, seq, labels]`.
    type Output = Tensor<3>;
    /// Class indices, `[batch, seq]`; [`IGNORED`] for tokens that count nothing.
    type Targets = Tensor<2, Int>;

    fn check(&self, targets: &Tensor<2, Int>) -> Result<(), InputError> {
        let tokens = targets.shape().num_elements();
        InputError::check_classes_except(&targets.clone().reshape([tokens]), self.num_labels(), Some(IGNORED))
    }

    fn forward(&self, features: F) -> Tensor<3> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        let logits = self.logits(hidden.reshape([batch * seq, width]));
        logits.reshape([batch, seq, self.num_labels()])
    }

    /// Cross-entropy over the tokens with a label; 0 of weight 0 where none has one, NaN for targets of another shape.
    fn loss(&self, features: F, targets: Tensor<2, Int>) -> Loss {
        let hidden = features.hidden();
        let [batch, seq, _] = hidden.dims();
        let fits = targets.dims() == [batch, seq];
        match self.labelled(hidden.clone(), targets) {
            Some((logits, classes)) => cross_entropy(logits, classes),
            None if fits => Loss { sum: hidden.sum() * 0.0, weight: 0.0 },
            None => Loss { sum: hidden.sum() * f64::NAN, weight: 1.0 },
        }
    }

    fn settings(&self) -> String {
        format!("token classes, dropout {}", self.dropout())
    }

    /// Loss and classes over the tokens with a label: the accuracy is that of tokens.
    fn score(&self, features: F, targets: Tensor<2, Int>, scores: &mut Scores) {
        let labelled = self.labelled(features.hidden(), targets.clone());
        let loss = match &labelled {
            Some((logits, classes)) => cross_entropy(logits.clone(), classes.clone()),
            None => self.loss(features, targets),
        };
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        if let Some((logits, classes)) = labelled {
            scores.add_classes(&argmax(logits), &super::indices(classes));
        }
    }
}
