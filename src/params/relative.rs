use super::{Selector, SelectorError};
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How large gradients are beside the weights they belong to, as `relative_gradients` of [`train`](crate::train)
/// measures them ([Lee et al., 2023](https://arxiv.org/abs/2210.11466)).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RelativeGradients {
    /// For each trainable parameter, in the model's order.
    pub parameters: Vec<RelativeGradient>,
}

/// L2 norms of a parameter, or of several together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelativeGradient {
    /// The parameter's path, or what groups are called.
    pub name: String,
    /// The stage that owns the parameter, or `head`; a group's own name.
    pub group: String,
    /// Of the gradient of the mean loss.
    pub gradient: f64,
    /// Of the values.
    pub weight: f64,
}

impl RelativeGradient {
    /// `gradient / weight`; 0 without a gradient, infinite where a gradient stands beside zeros.
    pub fn ratio(&self) -> f64 {
        if self.gradient == 0.0 { 0.0 } else { self.gradient / self.weight }
    }
}

impl RelativeGradients {
    /// Each stage that has parameters and the head, in the model's order.
    pub fn groups(&self) -> Vec<RelativeGradient> {
        let mut names: Vec<&str> = vec![];
        for row in &self.parameters {
            if !names.contains(&row.group.as_str()) {
                names.push(&row.group);
            }
        }
        names.into_iter().filter_map(|name| self.group(name)).collect()
    }

    /// One stage or the head, its parameters taken together; `None` where none is called so.
    pub fn group(&self, name: &str) -> Option<RelativeGradient> {
        let rows: Vec<_> = self.parameters.iter().filter(|row| row.group == name).collect();
        (!rows.is_empty()).then(|| together(name, &rows))
    }

    /// The parameters that a selector matches, taken together.
    ///
    /// # Errors
    /// [`SelectorError::NoMatch`] if there are none.
    pub fn select(&self, selector: &Selector) -> Result<RelativeGradient, SelectorError> {
        let chosen = selector.select(self.parameters.iter().map(|row| row.name.as_str()))?;
        let rows: Vec<_> = self.parameters.iter().zip(chosen).filter(|(_, yes)| *yes).map(|(row, _)| row).collect();
        Ok(together(&selector.to_string(), &rows))
    }
}

fn together(name: &str, rows: &[&RelativeGradient]) -> RelativeGradient {
    let norm = |of: fn(&RelativeGradient) -> f64| rows.iter().map(|row| of(row).powi(2)).sum::<f64>().sqrt();
    RelativeGradient {
        name: name.into(),
        group: name.into(),
        gradient: norm(|row| row.gradient),
        weight: norm(|row| row.weight),
    }
}

impl fmt::Display for RelativeGradients {
    /// A table of the groups.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["group", "gradient", "weight", "ratio"]);
        for group in self.groups() {
            let numbers = [group.gradient, group.weight, group.ratio()].map(|number| format!("{number:.3e}"));
            table.add_row([group.name].into_iter().chain(numbers));
        }
        for column in 1..4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{}", table.trim_fmt())
    }
}
