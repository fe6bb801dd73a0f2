use super::transform::transformed;
use super::{Loss, RowLoss, TaskHead, Transform};
use crate::backbone::{InputError, Pooled};
use crate::loss::ClassLoss;
use crate::metric::Scores;
use crate::nn::{Activation, Dropout, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// Which of several texts is right: each choice is a row of the batch, all choices of a question one after the other, and
/// its pooled features give one score, as in `BertForMultipleChoice`. The cross-entropy is over a question's choices.
#[derive(Module, Debug)]
pub struct MultipleChoice {
    summary: Option<Linear>,
    transform: Option<Transform>,
    #[module(skip)]
    activation: Activation,
    dropout: Dropout,
    score: Linear,
    choices: usize,
}

impl MultipleChoice {
    /// A fresh head for questions of `choices` choices (0 counts as 1), dropout 0.1, initialised from `seed` as
    /// `torch.nn.Linear` is.
    pub fn new(hidden_size: usize, choices: usize, seed: u64, device: &Device) -> Self {
        Self {
            summary: None,
            transform: None,
            activation: Activation::Tanh,
            dropout: Dropout::new(0.1),
            score: Init::new(seed ^ 0xC401_CE00, 0.02, device).uniform_linear(hidden_size, 1),
            choices: choices.max(1),
        }
    }

    /// The same head with dropout `prob` before the score.
    pub fn with_dropout(mut self, prob: f64) -> Self {
        self.dropout = Dropout::new(prob);
        self
    }

    /// The same head with a dense layer and an activation before dropout and score, as DistilBERT's and ELECTRA's have it.
    pub fn with_summary(mut self, summary: Linear, activation: Activation) -> Self {
        self.summary = Some(summary);
        self.activation = activation;
        self
    }

    /// The same head with `transform` before dropout and score, as ModernBERT's has it.
    pub fn with_transform(mut self, transform: Transform) -> Self {
        self.transform = Some(transform);
        self
    }

    /// The probability of dropout before the score.
    pub fn dropout(&self) -> f64 {
        self.dropout.prob()
    }

    /// Choices of a question.
    pub fn choices(&self) -> usize {
        self.choices
    }

    /// `[questions * choices, hidden]` to `[questions, choices]`; NaN for a question that lacks choices.
    fn scores(&self, pooled: Tensor<2>) -> Tensor<2> {
        let hidden = match &self.summary {
            Some(summary) => self.activation.after(summary, pooled),
            None => transformed(&self.transform, pooled),
        };
        let scores = linear(&self.score, self.dropout.forward(hidden));
        let ([rows, _], choices) = (scores.dims(), self.choices);
        let questions = rows.div_ceil(choices);
        match questions * choices - rows {
            0 => scores.reshape([questions, choices]),
            missing => {
                let gap = Tensor::full([missing, 1], f64::NAN, &scores.device());
                Tensor::cat(vec![scores, gap], 0).reshape([questions, choices])
            }
        }
    }

    fn compare(scores: Tensor<2>, targets: Tensor<1, Int>) -> Loss {
        match scores.dims()[0] == targets.dims()[0] {
            true => ClassLoss::default().of(scores, targets),
            false => Loss { sum: scores.sum() * f64::NAN, weight: 1.0 },
        }
    }
}

impl<F: Pooled> TaskHead<F> for MultipleChoice {
    /// Scores, `[questions, choices]`.
    type Output = Tensor<2>;
    /// The right choice of each question, `[questions]`.
    type Targets = Tensor<1, Int>;
    const POOLED_ONLY: bool = true;

    fn check(&self, targets: &Tensor<1, Int>) -> Result<(), InputError> {
        InputError::check_classes(targets, self.choices)
    }

    fn forward(&self, features: F) -> Tensor<2> {
        self.scores(features.pooled())
    }

    /// NaN where there is not one target for each `choices` rows.
    fn loss(&self, features: F, targets: Tensor<1, Int>) -> Loss {
        Self::compare(self.forward(features), targets)
    }

    fn settings(&self) -> String {
        let Self { choices, dropout, .. } = self;
        let summary = self.summary.as_ref().map(|_| format!(", {:?} of a dense layer", self.activation));
        format!("{choices} choices, dropout {}{}", dropout.prob(), summary.unwrap_or_default())
    }

    fn score(&self, features: F, targets: Tensor<1, Int>, scores: &mut Scores) {
        let outputs = self.forward(features);
        let loss = Self::compare(outputs.clone(), targets.clone());
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        RowLoss::score(&ClassLoss::default(), outputs, targets, scores);
    }
}
