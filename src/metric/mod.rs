//! How well a model does, over a whole set and in float64; never a mean over batches.
//!
//! | what a model gave | figures |
//! |---|---|
//! | a class a row | [`ClassCounts`]: accuracy, precision, recall, F1, Matthews, kappa, confusion; [`ClassificationReport`] |
//! | a probability a class | [`ClassProbabilities`]: log loss, top-k, ROC-AUC, average precision, Brier, calibration |
//! | a score for yes or no | [`BinaryScores`]: ROC and precision-recall curves and their areas |
//! | a score a label, several may hold | [`MultiLabelScores`] and [`MultiLabelDecisions`] |
//! | a number | [`RegressionScores`] |
//! | a tag a token | [`EntityScores`]: entity precision, recall, F1; token accuracy |
//! | words of a text | [`AnswerScores`]: exact match and F1 of SQuAD |
//! | a probability a token | [`perplexity()`], [`bits_per_token`] |
//!
//! [`Scores`] holds what [`evaluate`](crate::train::evaluate) saw and gives the first two. [`mcnemar`] compares two models on
//! the same rows. Values are those of scikit-learn and scipy (tested to 1e-9); where these warn and give a number that means
//! nothing, such as the ROC-AUC of one class, there is a [`MetricError`].

mod answers;
mod binary;
mod calibration;
mod compare;
mod confusion;
mod counts;
mod entities;
mod error;
mod multi_label;
mod probabilities;
mod rank;
mod regression;
mod report;
mod scores;

pub use answers::{AnswerScores, normalise_answer};
pub use binary::{BinaryScores, PrecisionRecallPoint, RocPoint};
pub use calibration::{CalibrationBin, fit_temperature};
pub use compare::{McNemar, mcnemar};
pub use confusion::{Confusion, Normalise};
pub use counts::{ClassCounts, ClassScores};
pub use entities::{Entity, EntityScheme, EntityScores, entities};
pub use error::MetricError;
pub use multi_label::{MultiLabelDecisions, MultiLabelScores};
pub use probabilities::{Average, ClassProbabilities};
pub use regression::RegressionScores;
pub use report::{ClassReport, ClassificationReport};
pub use scores::{Scores, Summary};

/// Perplexity from the mean negative log-likelihood of a token in nats: its exponential.
pub fn perplexity(mean_loss: f64) -> f64 {
    mean_loss.exp()
}

/// The mean negative log-likelihood of a token in bits, from that in nats.
pub fn bits_per_token(mean_loss: f64) -> f64 {
    mean_loss / std::f64::consts::LN_2
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}
