use super::places::{self, Answers};
use super::transform::transformed;
use super::{Loss, TaskHead, Transform, argmax};
use crate::backbone::{InputError, Tokens};
use crate::metric::Scores;
use crate::nn::{Dropout, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

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
    fn labelled(&self, hidden: Tensor<3>, labels: Tensor<2, Int>) -> Option<Answers> {
        let labels = places::labels_of(&hidden, labels)?;
        let labelled = labels.into_iter().enumerate().filter(|(_, label)| *label != IGNORED);
        let (hidden, classes) = places::at_places(hidden, labelled)?;
        Some((self.logits(hidden), classes))
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
        let (hidden, shape) = (features.hidden(), targets.dims());
        places::loss(self.labelled(hidden.clone(), targets), hidden, shape)
    }

    fn settings(&self) -> String {
        format!("token classes, dropout {}", self.dropout())
    }

    /// Loss and classes over the tokens with a label: the accuracy is that of tokens.
    fn score(&self, features: F, targets: Tensor<2, Int>, scores: &mut Scores) {
        let (hidden, shape) = (features.hidden(), targets.dims());
        let labelled = self.labelled(hidden.clone(), targets);
        let loss = places::loss(labelled.clone(), hidden, shape);
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        if let Some((logits, classes)) = labelled {
            scores.add_classes(&argmax(logits), &super::indices(classes));
        }
    }
}
