use super::binary::power;
use super::divergence::{row_distillation, row_symmetric_kl};
use super::soft::weighted_cross_entropy;
use super::{Loss, constant, cross_entropy};
use burn::tensor::{Int, Tensor, activation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a classifier of one class a row turns logits `[rows, classes]` and class indices `[rows]` into a loss. The default
/// is the plain cross-entropy.
///
/// With `p` the probabilities of a row, `y` its class, `w` the class weights (1 without), `K` the number of classes:
///
/// - without `focal`, a row's loss is `(1 - e) * w[y] * -log p[y] + e / K * sum over c of w[c] * -log p[c]`, with `e` the
///   label smoothing;
/// - with `focal`, it is `w[y] * alpha[y] * (1 - p[y])^gamma * -log p[y]`;
/// - `z_loss` adds `w[y] * z_loss * log(sum exp(logits))^2`.
///
/// The mean divides by the sum of `w[y]` over the rows that are not ignored, as PyTorch's `cross_entropy(weight=,
/// label_smoothing=, ignore_index=)` does; over micro-batches, by the sum over all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassLoss {
    /// The share of each row that is spread over all classes evenly ([Szegedy et al.,
    /// 2016](https://arxiv.org/abs/1512.00567)), from 0 to below 1.
    pub label_smoothing: f64,
    /// One weight a class, such as [`balanced_weights`](super::balanced_weights).
    pub class_weights: Option<Vec<f64>>,
    /// Counts rows less that are already right.
    pub focal: Option<Focal>,
    /// Draws the logarithm of the softmax's denominator towards 0; PaLM used 1e-4 ([Chowdhery et al.,
    /// 2022](https://arxiv.org/abs/2204.02311)). 0 does nothing.
    pub z_loss: f64,
    /// The class index of rows that count nothing, -100 in PyTorch. Without one, every row must have a class.
    pub ignore_index: Option<i64>,
}

/// Focal loss ([Lin et al., 2017](https://arxiv.org/abs/1708.02002)) in its softmax form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Focal {
    /// The power of `1 - p[y]`; 0 changes nothing, 2 is usual.
    pub gamma: f64,
    /// One factor a class, which (unlike class weights) is not in what the mean divides by.
    pub alpha: Option<Vec<f64>>,
}

/// What cannot be meant by a loss.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LossError {
    /// An option that means nothing.
    #[error("{option} is {value}; give {mend}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What can be given.
        mend: &'static str,
    },
    /// A list that is not as long as there are classes.
    #[error("{option} has {found} values, the head has {classes} classes; give one value a class")]
    WrongCount {
        /// The list.
        option: &'static str,
        /// Its length.
        found: usize,
        /// Classes of the head.
        classes: usize,
    },
    /// A class that cannot be balanced.
    #[error(
        "class {class} has no example, so there is no weight that balances it; give weights, or leave the class out"
    )]
    NoExamples {
        /// The class.
        class: usize,
    },
    /// A label that is not a class.
    #[error("label {class} is not one of {classes} classes")]
    NoClass {
        /// The label.
        class: usize,
        /// The number of classes.
        classes: usize,
    },
}

impl ClassLoss {
    /// Refuses options that mean nothing for `classes` classes.
    ///
    /// # Errors
    /// [`LossError`] names the option.
    pub fn check(&self, classes: usize) -> Result<(), LossError> {
        let bad = |option, value: f64, mend| Err(LossError::BadOption { option, value: value.to_string(), mend });
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return bad("label_smoothing", self.label_smoothing, "a number from 0 to below 1");
        }
        if !(self.z_loss.is_finite() && self.z_loss >= 0.0) {
            return bad("z_loss", self.z_loss, "0 or a number above 0");
        }
        if let Some(index) = self.ignore_index.filter(|index| (0..classes as i64).contains(index)) {
            return bad("ignore_index", index as f64, "a number that is no class, such as -100");
        }
        check_list("class_weights", self.class_weights.as_deref(), classes)?;
        let Some(Focal { gamma, alpha }) = &self.focal else { return Ok(()) };
        if !(gamma.is_finite() && *gamma >= 0.0) {
            return bad("focal.gamma", *gamma, "0 or a number above 0");
        }
        if self.label_smoothing > 0.0 {
            return bad(
                "label_smoothing",
                self.label_smoothing,
                "either it or focal: neither paper defines both together",
            );
        }
        check_list("focal.alpha", alpha.as_deref(), classes)
    }

    /// The loss of logits `[rows, classes]` for class indices `[rows]`. Where [`check`](Self::check) would fail or a class
    /// does not exist, it is NaN.
    pub fn of(&self, logits: Tensor<2>, labels: Tensor<1, Int>) -> Loss {
        if self.is_plain() {
            return cross_entropy(logits, labels);
        }
        let labels = classes(labels);
        let weights = self.row_weights(&labels, logits.dims()[1]);
        Loss { sum: self.weighted(logits, &labels, &weights), weight: total(&weights) }
    }

    /// R-Drop ([Liang et al., 2021](https://arxiv.org/abs/2106.14448)) of two passes over the same rows, whose dropout
    /// differs: logits `first` and `second`, `[rows, classes]`, give `(loss(first) + loss(second)) / 2 + alpha *
    /// (KL(p || q) + KL(q || p)) / 2` with `p` and `q` their softmax, as the authors' program computes it (their equation 4
    /// adds the two losses). A row's divergence counts with its class weight.
    pub fn r_drop(&self, first: Tensor<2>, second: Tensor<2>, labels: Tensor<1, Int>, alpha: f64) -> Loss {
        let divergence = row_symmetric_kl(first.clone(), second.clone());
        let (apart, _) = self.weigh(divergence, labels.clone(), first.dims()[1]);
        let (first, second) = (self.of(first, labels.clone()), self.of(second, labels));
        Loss { sum: (first.sum + second.sum) / 2.0 + apart * alpha, weight: first.weight }
    }

    /// Distillation ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)): `alpha * temperature^2 * KL(softmax(teacher
    /// / temperature) || softmax(logits / temperature)) + (1 - alpha) * loss(logits)`, logits of both `[rows, classes]`. A
    /// row's divergence counts with its class weight.
    pub fn distilled(
        &self,
        logits: Tensor<2>,
        teacher: Tensor<2>,
        labels: Tensor<1, Int>,
        temperature: f64,
        alpha: f64,
    ) -> Loss {
        let divergence = row_distillation(logits.clone(), teacher, temperature);
        let (apart, _) = self.weigh(divergence, labels.clone(), logits.dims()[1]);
        let hard = self.of(logits, labels);
        Loss { sum: apart * alpha + hard.sum * (1.0 - alpha), weight: hard.weight }
    }

    fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The weight of each row: 0 where it is ignored, NaN where its class does not exist.
    fn row_weights(&self, labels: &[i64], classes: usize) -> Vec<f32> {
        let weight = |label: &i64| match usize::try_from(*label) {
            _ if Some(*label) == self.ignore_index => 0.0,
            Ok(class) if class < classes => factor(self.class_weights.as_deref(), class),
            _ => f32::NAN,
        };
        labels.iter().map(weight).collect()
    }

    /// The weighted sum of one value a row, `[rows, 1]`, and the sum of the weights.
    fn weigh(&self, values: Tensor<2>, labels: Tensor<1, Int>, classes_of_head: usize) -> (Tensor<1>, f64) {
        if self.class_weights.is_none() && self.ignore_index.is_none() {
            let weight = values.dims()[0] as f64;
            return (values.sum(), weight);
        }
        let weights = self.row_weights(&classes(labels), classes_of_head);
        let weight = total(&weights);
        let weights = constant(weights, values.dims(), &values);
        ((values * weights).sum(), weight)
    }

    fn weighted(&self, logits: Tensor<2>, labels: &[i64], weights: &[f32]) -> Tensor<1> {
        let z_loss = (self.z_loss > 0.0).then(|| {
            let weights = constant(weights.to_vec(), [weights.len(), 1], &logits);
            (log_sum_exp(logits.clone()).square() * weights).sum() * self.z_loss
        });
        let loss = match &self.focal {
            Some(focal) => self.focused(focal, logits, labels, weights),
            None => {
                let targets = self.targets(labels, weights, logits.dims()[1]);
                let targets = constant(targets, logits.dims(), &logits);
                weighted_cross_entropy(logits, targets)
            }
        };
        match z_loss {
            Some(z_loss) => loss + z_loss,
            None => loss,
        }
    }

    /// What multiplies `-log p` of every row and class: weights and smoothing in one.
    fn targets(&self, labels: &[i64], weights: &[f32], classes: usize) -> Vec<f32> {
        let spread = self.label_smoothing / classes as f64;
        let spread = |class| (spread * f64::from(factor(self.class_weights.as_deref(), class))) as f32;
        let everywhere: Vec<f32> = (0..classes).map(spread).collect();
        let mut targets = vec![0.0; labels.len() * classes];
        for ((row, label), weight) in targets.chunks_exact_mut(classes).zip(labels).zip(weights) {
            if Some(*label) == self.ignore_index {
                continue;
            }
            row.copy_from_slice(&everywhere);
            match usize::try_from(*label).ok().and_then(|class| row.get_mut(class)) {
                Some(own) => *own += ((1.0 - self.label_smoothing) * f64::from(*weight)) as f32,
                None => row.fill(f32::NAN),
            }
        }
        targets
    }

    fn focused(&self, focal: &Focal, logits: Tensor<2>, labels: &[i64], weights: &[f32]) -> Tensor<1> {
        let (rows, classes) = (labels.len(), logits.dims()[1]);
        let (mut own, mut others) = (vec![0.0; rows * classes], vec![1.0; rows * classes]);
        for (row, (label, weight)) in labels.iter().zip(weights).enumerate() {
            // A class that does not exist has a weight of NaN, and an ignored one of 0, wherever it stands.
            let class = usize::try_from(*label).ok().filter(|class| *class < classes).unwrap_or(0);
            own[row * classes + class] = weight * factor(focal.alpha.as_deref(), class);
            others[row * classes + class] = 0.0;
        }
        let [own, others] = [own, others].map(|values| constant(values, [rows, classes], &logits));
        let log_probabilities = activation::log_softmax(logits, 1);
        // 1 - p as the sum of the other probabilities: a difference would lose its digits where p is near 1.
        let wrong = (log_probabilities.clone().exp() * others).sum_dim(1);
        -((own * log_probabilities).sum_dim(1) * power(wrong, focal.gamma)).sum()
    }
}

fn check_list(option: &'static str, values: Option<&[f64]>, classes: usize) -> Result<(), LossError> {
    let Some(values) = values else { return Ok(()) };
    if values.len() != classes {
        return Err(LossError::WrongCount { option, found: values.len(), classes });
    }
    let sensible = |value: &&f64| !((**value as f32).is_finite() && **value >= 0.0);
    match values.iter().find(sensible) {
        Some(value) => Err(LossError::BadOption { option, value: value.to_string(), mend: "numbers of 0 or more" }),
        None if values.iter().all(|value| *value == 0.0) => {
            Err(LossError::BadOption { option, value: "0 for every class".into(), mend: "at least one above 0" })
        }
        None => Ok(()),
    }
}

/// A class's factor: 1 without a list, NaN beyond it.
fn factor(list: Option<&[f64]>, class: usize) -> f32 {
    list.map_or(1.0, |list| list.get(class).map_or(f32::NAN, |value| *value as f32))
}

/// Class indices on the host.
fn classes(labels: Tensor<1, Int>) -> Vec<i64> {
    labels.into_data().iter::<i64>().collect()
}

fn total(weights: &[f32]) -> f64 {
    weights.iter().map(|weight| f64::from(*weight)).sum()
}

/// `log(sum exp(logits))` of each row, `[rows, 1]`.
fn log_sum_exp(logits: Tensor<2>) -> Tensor<2> {
    let greatest = logits.clone().detach().max_dim(1);
    (logits - greatest.clone()).exp().sum_dim(1).log() + greatest
}
