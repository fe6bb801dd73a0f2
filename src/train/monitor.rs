use crate::metric::{Average, ClassProbabilities, MetricError, Scores};
use serde::{Deserialize, Serialize};

/// The figure that says which validation was best.
///
/// All but the loss need a head that gives classes, the last three one that gives probabilities
/// ([`Scores::add_logits`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Monitor {
    /// Lowest loss.
    Loss,
    /// Highest accuracy.
    Accuracy,
    /// Highest mean recall of the classes.
    BalancedAccuracy,
    /// Highest macro-F1.
    MacroF1,
    /// Highest mean F1 of the classes, each weighing its rows.
    WeightedF1,
    /// Highest Matthews correlation coefficient.
    Mcc,
    /// Lowest log loss: the plain one, where the loss that trains smooths labels or weighs classes.
    LogLoss,
    /// Highest area under the ROC curve: of class 1 where there are two, else the mean over the classes.
    RocAuc,
    /// Highest average precision: of class 1 where there are two, else the mean over the classes.
    AveragePrecision,
}

impl Monitor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Loss => "the loss",
            Self::Accuracy => "the accuracy",
            Self::BalancedAccuracy => "the balanced accuracy",
            Self::MacroF1 => "the macro-F1",
            Self::WeightedF1 => "the weighted F1",
            Self::Mcc => "the Matthews correlation",
            Self::LogLoss => "the log loss",
            Self::RocAuc => "the ROC-AUC",
            Self::AveragePrecision => "the average precision",
        }
    }

    /// The figure of an evaluation; `None` where the head does not give it.
    pub(super) fn figure(self, scores: &Scores) -> Result<Option<f64>, MetricError> {
        let summary = scores.summary();
        let counts = || scores.all_counts();
        Ok(match self {
            Self::Loss => Some(summary.loss),
            Self::Accuracy => summary.accuracy,
            Self::BalancedAccuracy => counts().map(|counts| counts.balanced_accuracy()),
            Self::MacroF1 => summary.macro_f1,
            Self::WeightedF1 => counts().map(|counts| counts.weighted_average().f1),
            Self::Mcc => counts().map(|counts| counts.mcc()),
            Self::LogLoss | Self::RocAuc | Self::AveragePrecision => match scores.probabilities() {
                Err(MetricError::NoLogits) => None,
                probabilities => Some(self.of_probabilities(&probabilities?)?),
            },
        })
    }

    fn of_probabilities(self, found: &ClassProbabilities) -> Result<f64, MetricError> {
        match (self, found.classes()) {
            (Self::RocAuc, 2) => found.one_against_rest(1)?.roc_auc(),
            (Self::RocAuc, _) => found.roc_auc_ovr(Average::Macro),
            (Self::AveragePrecision, 2) => found.one_against_rest(1)?.average_precision(),
            (Self::AveragePrecision, _) => found.average_precision(Average::Macro),
            _ => Ok(found.log_loss()),
        }
    }

    /// The figure, turned so that more is better.
    pub(super) fn merit(self, figure: f64) -> f64 {
        if matches!(self, Self::Loss | Self::LogLoss) { -figure } else { figure }
    }
}
