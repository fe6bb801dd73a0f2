//! Heads with a dense layer before the last linear map, as RoBERTa and later encoders have them.

use crate::head::Classifier;
use crate::nn::{Activation, Init};
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
        let Self { hidden, deviation, activation, dropout } = self;
        let dense = Init::new(seed ^ 0xDE45_E001, deviation, device).linear(hidden, hidden);
        Classifier::new(hidden, num_labels, seed, device).with_dropout(dropout).with_dense(dense, activation)
    }
}
