//! The confusion matrix as shares, text and picture.

use super::{ClassCounts, MetricError};
use crate::plot::Heatmap;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// What the cells of a confusion matrix are shares of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Nothing: they are counts.
    #[default]
    Nothing,
    /// The rows that have the class, so that the diagonal holds the recall.
    Actual,
    /// The predictions of the class, so that the diagonal holds the precision.
    Predicted,
    /// All rows.
    All,
}

/// A class taken for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The true class.
    pub actual: usize,
    /// The predicted one.
    pub predicted: usize,
    /// How often.
    pub count: u64,
}

impl ClassCounts {
    /// The confusion matrix as shares, `[actual][predicted]`; 0 where the whole is.
    pub fn confusion_shares(&self, normalise: Normalise) -> Vec<Vec<f64>> {
        let classes = 0..self.classes();
        let (actual, predicted) =
            (self.support(), classes.clone().map(|class| self.predicted(class)).collect::<Vec<_>>());
        let total = self.total();
        let share = |row: usize, column: usize| {
            let whole = match normalise {
                Normalise::Nothing => 1,
                Normalise::Actual => actual[row],
                Normalise::Predicted => predicted[column],
                Normalise::All => total,
            };
            if whole == 0 { 0.0 } else { self.cell(row, column) as f64 / whole as f64 }
        };
        classes.clone().map(|row| classes.clone().map(|column| share(row, column)).collect()).collect()
    }

    /// The classes that are taken for one another, the most frequent first.
    pub fn confusions(&self) -> Vec<Confusion> {
        let mut all = vec![];
        for actual in 0..self.classes() {
            let wrong = (0..self.classes()).filter(|predicted| *predicted != actual);
            let counts = wrong.map(|predicted| Confusion { actual, predicted, count: self.cell(actual, predicted) });
            all.extend(counts.filter(|confusion| confusion.count > 0));
        }
        // Stable: equal counts stay in the order of the classes.
        all.sort_by_key(|confusion| std::cmp::Reverse(confusion.count));
        all
    }

    /// The confusion matrix as text: a row for each true class, a column for each predicted one.
    ///
    /// # Errors
    /// [`MetricError::Names`] for fewer names than classes.
    pub fn confusion_table(&self, names: &[String], normalise: Normalise) -> Result<String, MetricError> {
        let names = self.names(names)?;
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["actual \\ predicted"].into_iter().chain(names.iter().map(String::as_str)));
        for (name, shares) in names.iter().zip(self.confusion_shares(normalise)) {
            let digits = if normalise == Normalise::Nothing { 0 } else { 2 };
            table.add_row([name.clone()].into_iter().chain(shares.iter().map(|share| format!("{share:.digits$}"))));
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        Ok(table.trim_fmt())
    }

    /// The confusion matrix as a picture: a row for each true class, a column for each predicted one.
    ///
    /// # Errors
    /// [`MetricError::Names`] for fewer names than classes.
    pub fn heatmap(&self, names: &[String], normalise: Normalise) -> Result<Heatmap, MetricError> {
        let names = self.names(names)?;
        let title = match normalise {
            Normalise::Nothing => "Confusion matrix, rows",
            Normalise::Actual => "Confusion matrix, share of the actual class",
            Normalise::Predicted => "Confusion matrix, share of the predicted class",
            Normalise::All => "Confusion matrix, share of all rows",
        };
        Ok(Heatmap {
            title: title.into(),
            x_label: "predicted".into(),
            y_label: "actual".into(),
            x_names: names.to_vec(),
            y_names: names.to_vec(),
            cells: self.confusion_shares(normalise),
        })
    }

    /// One name for each class.
    pub(super) fn names<'a>(&self, names: &'a [String]) -> Result<&'a [String], MetricError> {
        names.get(..self.classes()).ok_or(MetricError::Names { names: names.len(), classes: self.classes() })
    }
}
