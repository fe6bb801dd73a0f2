use super::{ClassCounts, ClassScores, MetricError};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// One class of a [`ClassificationReport`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// Its name.
    pub name: String,
    /// Its scores.
    #[serde(flatten)]
    pub scores: ClassScores,
    /// How many rows have it.
    pub support: u64,
}

/// Precision, recall and F1 of every class that occurs, and their averages. Prints as scikit-learn's table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassificationReport {
    /// The classes that occur among predictions or references, in the order of the label map.
    pub classes: Vec<ClassReport>,
    /// The share of rows that were predicted right.
    pub accuracy: f64,
    /// The plain mean over the classes.
    pub macro_average: ClassScores,
    /// The mean over the classes, each weighing its rows.
    pub weighted_average: ClassScores,
    /// Matthews' correlation coefficient.
    pub mcc: f64,
    /// The mean recall.
    pub balanced_accuracy: f64,
    /// Cohen's kappa.
    pub cohen_kappa: f64,
    /// How many rows there are.
    pub support: u64,
}

impl ClassCounts {
    /// The scores of every class by name, and their averages.
    ///
    /// # Errors
    /// [`MetricError::Names`] for fewer names than classes, [`MetricError::Empty`] without rows.
    pub fn report(&self, names: &[String]) -> Result<ClassificationReport, MetricError> {
        let names = self.names(names)?;
        if self.total() == 0 {
            return Err(MetricError::Empty);
        }
        let per_class = self.per_class();
        let row = |class: usize| ClassReport {
            name: names[class].clone(),
            scores: per_class[class],
            support: self.actual(class),
        };
        Ok(ClassificationReport {
            classes: self.seen().map(row).collect(),
            accuracy: self.accuracy(),
            macro_average: self.macro_average(),
            weighted_average: self.weighted_average(),
            mcc: self.mcc(),
            balanced_accuracy: self.balanced_accuracy(),
            cohen_kappa: self.cohen_kappa(),
            support: self.total(),
        })
    }
}

impl Display for ClassificationReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let longest = self.classes.iter().map(|class| class.name.chars().count()).max();
        let width = longest.unwrap_or(0).max("weighted avg".len());
        writeln!(f, "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n", "", "precision", "recall", "f1-score", "support")?;
        let row = |f: &mut Formatter<'_>, name: &str, scores: ClassScores, support: u64| {
            let ClassScores { precision, recall, f1 } = scores;
            writeln!(f, "{name:>width$}  {precision:>9.2} {recall:>9.2} {f1:>9.2} {support:>9}")
        };
        for class in &self.classes {
            row(f, &class.name, class.scores, class.support)?;
        }
        writeln!(f, "\n{:>width$}  {:>9} {:>9} {:>9.2} {:>9}", "accuracy", "", "", self.accuracy, self.support)?;
        row(f, "macro avg", self.macro_average, self.support)?;
        row(f, "weighted avg", self.weighted_average, self.support)
    }
}
