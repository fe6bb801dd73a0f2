use super::{IGNORED, Loss, TaskHead};
use crate::backbone::{InputError, Tokens};
use crate::loss::binary_cross_entropy;
use crate::metric::Scores;
use crate::nn::{Activation, Init, Linear, linear};
use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// Whether each token was put there by a generator, ELECTRA's pretraining task ([Clark et al.,
/// 2020](https://arxiv.org/abs/2003.10555)): a dense layer, an activation and one logit a token, as in
/// `ElectraForPreTraining`.
#[derive(Module, Debug)]
pub struct ReplacedToken {
    detector: Detector,
}

#[derive(Module, Debug)]
struct Detector {
    dense: Linear,
    #[module(skip)]
    activation: Activation,
    output: Linear,
}

impl ReplacedToken {
    /// A fresh head, initialised from `seed` as `torch.nn.Linear` is.
    pub fn new(hidden_size: usize, activation: Activation, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed ^ 0xE1EC_72A0, 0.02, device);
        let dense = init.uniform_linear(hidden_size, hidden_size);
        Self { detector: Detector { dense, activation, output: init.uniform_linear(hidden_size, 1) } }
    }

    /// `[rows, hidden]` to `[rows, 1]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let Detector { dense, activation, output } = &self.detector;
        linear(output, activation.after(dense, hidden))
    }

    /// Logits and labels of the real tokens that have a label, `[counted, 1]`, and whether they were replaced; `None` where
    /// there is none, or not one label a token.
    fn counted(
        &self,
        hidden: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
        labels: Tensor<2, Int>,
    ) -> Option<(Tensor<2>, Vec<bool>)> {
        let [batch, seq, width] = hidden.dims();
        if labels.dims() != [batch, seq] {
            return None;
        }
        let real = mask.map_or_else(|| vec![true; batch * seq], |mask| mask.into_data().iter::<bool>().collect());
        let labels = labels.into_data();
        let labelled = labels.iter::<i64>().zip(real).enumerate();
        let counted = labelled.filter(|(_, (label, real))| *real && *label != IGNORED);
        let (places, replaced): (Vec<i64>, Vec<bool>) =
            counted.map(|(place, (label, _))| (place as i64, label == 1)).unzip();
        if places.is_empty() {
            return None;
        }
        let count = [places.len()];
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, count), &hidden.device().inner());
        Some((self.logits(hidden.reshape([batch * seq, width]).select(0, places)), replaced))
    }
}

/// Binary cross-entropy of logits `[rows, 1]`.
fn loss_of(logits: Tensor<2>, replaced: &[bool]) -> Loss {
    let targets: Vec<f32> = replaced.iter().map(|replaced| f32::from(u8::from(*replaced))).collect();
    let targets = Tensor::from_data(TensorData::new(targets, [replaced.len(), 1]), &logits.device().inner());
    binary_cross_entropy(logits, targets, None)
}

impl<F: Tokens> TaskHead<F> for ReplacedToken {
    /// Logits that a token was replaced, `[batch, seq]`.
    type Output = Tensor<2>;
    /// 1 where a token was replaced and 0 where it was not, `[batch, seq]`; [`IGNORED`] for tokens that count nothing.
    /// Padding counts nothing whatever its label is.
    type Targets = Tensor<2, Int>;

    fn check(&self, targets: &Tensor<2, Int>) -> Result<(), InputError> {
        let tokens = targets.shape().num_elements();
        InputError::check_classes_except(&targets.clone().reshape([tokens]), 2, Some(IGNORED))
    }

    fn forward(&self, features: F) -> Tensor<2> {
        let hidden = features.hidden();
        let [batch, seq, width] = hidden.dims();
        self.logits(hidden.reshape([batch * seq, width])).reshape([batch, seq])
    }

    /// Binary cross-entropy over the real tokens; 0 of weight 0 where none counts, NaN for targets of another shape.
    fn loss(&self, features: F, targets: Tensor<2, Int>) -> Loss {
        let hidden = features.hidden();
        let [batch, seq, _] = hidden.dims();
        let fits = targets.dims() == [batch, seq];
        match self.counted(hidden.clone(), features.mask(), targets) {
            Some((logits, replaced)) => loss_of(logits, &replaced),
            None if fits => Loss { sum: hidden.sum() * 0.0, weight: 0.0 },
            None => Loss { sum: hidden.sum() * f64::NAN, weight: 1.0 },
        }
    }

    fn settings(&self) -> String {
        "replaced tokens".into()
    }

    /// The loss, and as accuracy the share of tokens that are told right: a logit above 0 says replaced.
    fn score(&self, features: F, targets: Tensor<2, Int>, scores: &mut Scores) {
        let counted = self.counted(features.hidden(), features.mask(), targets.clone());
        let loss = match &counted {
            Some((logits, replaced)) => loss_of(logits.clone(), replaced),
            None => self.loss(features, targets),
        };
        scores.add_loss(loss.sum.into_scalar::<f32>() as f64, loss.weight);
        if let Some((logits, replaced)) = counted {
            let said = logits.into_data();
            let right = said.iter::<f32>().zip(&replaced).filter(|(logit, replaced)| (*logit > 0.0) == **replaced);
            scores.add_hits(right.count(), replaced.len());
        }
    }
}
