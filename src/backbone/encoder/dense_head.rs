//! Heads with a dense layer before the last linear map, as RoBERTa and later encoders have them.

use crate::head::{Classifier, MultipleChoice};
use crate::nn::{Activation, Init, Linear};
use burn::tensor::Device;

/// A dense layer of the features' width and what stands around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DenseHead {
    pub(super) hidden: usize,
    /// Deviation of its fresh weights.
    pub(super) deviation: f64,
    pub(super) activation: Activation,
    pub(super) dropout: f64,
}

impl DenseHead {
    /// A fresh classifier.
    pub(super) fn classifier(self, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let head = Classifier::new(self.hidden, num_labels, seed, device);
        head.with_dropout(self.dropout).with_dense(self.dense(seed, device), self.activation)
    }

    /// A fresh multiple-choice head.
    pub(super) fn multiple_choice(self, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        let head = MultipleChoice::new(self.hidden, choices, seed, device);
        head.with_dropout(self.dropout).with_summary(self.dense(seed, device), self.activation)
    }

    fn dense(self, seed: u64, device: &Device) -> Linear {
        Init::new(seed ^ 0xDE45_E001, self.deviation, device).linear(self.hidden, self.hidden)
    }
}
