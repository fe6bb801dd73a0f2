//! What a trained model says about new texts: [`Predictor`] labels them, [`Tagger`] their words, [`Answerer`] finds answers
//! in them, [`Embedder`] makes vectors of them.

mod answerer;
mod embedder;
mod tagger;

pub use answerer::{AnswerCandidate, Answered, Answerer};
pub use embedder::Embedder;
pub use tagger::{FoundEntity, TaggedWords, Tagger, WordTag};

use crate::backbone::{AutoText, Backbone, TextInput};
use crate::checkpoint::{FromPretrained, load_classifier};
use crate::data::{BatchOrder, Encodings, Labels, TextTokenizer, TokenRow, pad_rows};
use crate::error::Error;
use crate::head::{Classifier, TaskHead};
use crate::model::Model;
use crate::nn::ReuseScope;
use crate::objective::{TextClassification, text_input};
use crate::train::plain_device;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use std::path::Path;

/// What a classifier says about a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prediction {
    /// The most probable label.
    pub label: String,
    /// Its probability, 0 to 1.
    pub probability: f64,
    /// The probability of every label, in the order of the label map.
    pub probabilities: Vec<f64>,
    /// Whether the text was longer than the model reads, so that its end was left out.
    pub truncated: bool,
}

/// A text classifier ready to answer: model, tokenizer and labels.
#[derive(Debug)]
pub struct Predictor<B = AutoText> {
    model: Model<B, Classifier>,
    task: TextClassification,
    batch_size: usize,
}

impl Predictor {
    /// From a folder that [`save_classifier`](crate::checkpoint::save_classifier) or Transformers wrote, whatever its
    /// architecture is, as far as [`AutoText`] knows it.
    ///
    /// # Errors
    /// As [`load_classifier`].
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Self::load_as(folder, device)
    }
}

impl<B> Predictor<B>
where
    B: FromPretrained + Backbone<Input = TextInput>,
    Classifier: TaskHead<B::Features, Output = Tensor<2>>,
{
    /// From a model that is in memory.
    pub fn new(model: &Model<B, Classifier>, task: TextClassification) -> Self {
        Self { model: model.valid(), task, batch_size: 32 }
    }

    /// As [`load`](Predictor::load), with the backbone that the type names: `Predictor::<Mine>::load_as(folder, &device)`.
    ///
    /// # Errors
    /// As [`load_classifier`].
    pub fn load_as(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let saved = load_classifier::<B>(folder, device)?;
        Ok(Self::new(&saved.model, saved.task))
    }

    /// The label map, whose order the probabilities are in.
    pub fn labels(&self) -> &Labels {
        self.task.labels()
    }

    /// The same predictor, reading at most so many texts at once (32 unless said otherwise; 0 counts as 1).
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
    }

    /// Labels texts, in their order. They are run in batches of similar length.
    ///
    /// # Errors
    /// A head with another number of classes than there are labels; a text that the tokenizer cannot encode; tokens that the network has no place for, if the two do not belong
    /// together.
    pub fn predict<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Prediction>, Error> {
        let rows = self.rows(texts)?;
        Ok(rows.into_iter().map(|(logits, truncated)| self.prediction(&logits, truncated)).collect())
    }

    /// What the head says before the softmax, for texts in their order: a row of one value a label, in the order of the
    /// label map, without a unit. For comparing, calibrating and averaging models; [`predict`](Self::predict) names labels.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn logits<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Vec<f64>>, Error> {
        Ok(self.rows(texts)?.into_iter().map(|(logits, _)| logits).collect())
    }

    /// Labels pairs of texts, in their order, read as [`TextClassification::encode_pairs`] reads them.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_pairs<A, Z>(&self, pairs: &[(A, Z)]) -> Result<Vec<Prediction>, Error>
    where
        A: AsRef<str> + Sync,
        Z: AsRef<str> + Sync,
    {
        let rows = self.run(self.task.tokenizer().encode_pairs(pairs, self.task.max_length())?)?;
        Ok(rows.into_iter().map(|(logits, truncated)| self.prediction(&logits, truncated)).collect())
    }

    fn rows<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<(Vec<f64>, bool)>, Error> {
        self.run(self.task.tokenizer().encode(texts, self.task.max_length())?)
    }

    /// The logits of each row and whether it was cut.
    fn run(&self, encodings: Encodings) -> Result<Vec<(Vec<f64>, bool)>, Error> {
        self.task.labels().check_count(self.model.head.num_labels())?;
        let rows: Vec<&TokenRow> = encodings.rows.iter().collect();
        let mut logits = vec![(vec![], false); rows.len()];
        in_batches(&self.model, &rows, self.task.tokenizer(), self.batch_size, |indices, output| {
            let classes = output.dims()[1].max(1);
            let values: Vec<f64> = output.into_data().iter::<f64>().collect();
            for (row, index) in values.chunks_exact(classes).zip(indices) {
                logits[*index] = (row.to_vec(), rows[*index].truncated);
            }
        })?;
        Ok(logits)
    }

    fn prediction(&self, logits: &[f64], truncated: bool) -> Prediction {
        let probabilities = softmax(logits);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
        Prediction {
            label: self.task.labels().name(best).unwrap_or_default().into(),
            probability: probabilities.get(best).copied().unwrap_or(0.0),
            probabilities,
            truncated,
        }
    }
}

/// Runs rows in batches of similar length; `read` gets a batch's indices and what the head gave.
fn in_batches<B, H>(
    model: &Model<B, H>,
    rows: &[&TokenRow],
    tokenizer: &TextTokenizer,
    batch_size: usize,
    mut read: impl FnMut(&[usize], H::Output),
) -> Result<(), Error>
where
    B: Backbone<Input = TextInput>,
    H: TaskHead<B::Features>,
{
    by_length(rows, tokenizer, batch_size, &plain_device(model), |indices, input| {
        model.backbone.check(&input)?;
        read(indices, model.forward(input));
        Ok(())
    })
}

/// Makes batches of rows of similar length; `run` gets a batch's indices and its input.
pub(crate) fn by_length(
    rows: &[&TokenRow],
    tokenizer: &TextTokenizer,
    batch_size: usize,
    device: &Device,
    mut run: impl FnMut(&[usize], TextInput) -> Result<(), Error>,
) -> Result<(), Error> {
    let pad_id = tokenizer.require_pad_id()?;
    let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
    let order = BatchOrder::by_length(batch_size);
    let _reuse = ReuseScope::new();
    for indices in order.batches(&lengths, 0) {
        let batch: Vec<&TokenRow> = indices.iter().map(|index| rows[*index]).collect();
        run(&indices, text_input(pad_rows(&batch, pad_id), device))?;
    }
    Ok(())
}

/// Probabilities from logits.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponents: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = exponents.iter().sum();
    exponents.iter().map(|exponent| exponent / sum).collect()
}
