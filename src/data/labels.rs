//! The map between label names and class indices.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{DataError, TextExample};
use crate::nearest::nearest;

/// An example that may have a label.
pub trait Labelled {
    /// The name of its class.
    fn label(&self) -> Option<&str>;
}

impl Labelled for TextExample {
    fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }
}

/// Label names in a stable order; a name's place is its class index. Stored as the list of names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Labels {
    names: Vec<String>,
    index: HashMap<String, usize>,
}

impl Labels {
    /// The labels that occur in `examples`, sorted by name, or by value where every name is a whole number.
    ///
    /// # Errors
    /// [`DataError::NoLabel`] names the first example without a label; [`DataError::NoExamples`] and
    /// [`DataError::OneClass`] say that there is nothing to tell apart.
    pub fn from_examples<E: Labelled>(examples: &[E]) -> Result<Self, DataError> {
        let mut seen = BTreeSet::new();
        for (index, example) in examples.iter().enumerate() {
            seen.insert(example.label().ok_or(DataError::NoLabel { index })?);
        }
        let mut names: Vec<String> = seen.into_iter().map(str::to_owned).collect();
        // Without this, class "10" would come before class "2" and no index would equal its own name.
        let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
        if numbers.is_some() {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
        }
        Self::from_names(names)
    }

    /// Labels in the given order.
    ///
    /// # Errors
    /// [`DataError::DuplicateLabel`] for a name that comes twice; [`DataError::NoExamples`] for no name and
    /// [`DataError::OneClass`] for one.
    pub fn from_names(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, DataError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let mut index = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            if index.insert(name.clone(), place).is_some() {
                return Err(DataError::DuplicateLabel { label: name.clone() });
            }
        }
        match names.as_slice() {
            [] => Err(DataError::NoExamples),
            [label] => Err(DataError::OneClass { label: label.clone() }),
            _ => Ok(Self { names, index }),
        }
    }

    /// The class index of a label.
    ///
    /// # Errors
    /// [`DataError::UnknownLabel`] names the known label with the nearest spelling.
    pub fn index(&self, label: &str) -> Result<usize, DataError> {
        self.index.get(label).copied().ok_or_else(|| DataError::UnknownLabel {
            label: label.to_owned(),
            nearest: nearest(label, self.names.iter().map(String::as_str)).unwrap_or_default().to_owned(),
            known: self.names.len(),
        })
    }

    /// The class index of each example's label, in order.
    ///
    /// # Errors
    /// [`DataError::NoLabel`] or [`DataError::UnknownLabel`] for the first example that has no class here.
    pub fn indices<E: Labelled>(&self, examples: &[E]) -> Result<Vec<usize>, DataError> {
        let label = |(index, example): (usize, &E)| self.index(example.label().ok_or(DataError::NoLabel { index })?);
        examples.iter().enumerate().map(label).collect()
    }

    /// 1 for each of these labels and 0 for all others, in the order of the class index: the targets of an example that has
    /// several labels or none.
    ///
    /// # Errors
    /// [`DataError::UnknownLabel`].
    pub fn hot<S: AsRef<str>>(&self, labels: &[S]) -> Result<Vec<f32>, DataError> {
        let mut targets = vec![0.0; self.len()];
        for label in labels {
            targets[self.index(label.as_ref())?] = 1.0;
        }
        Ok(targets)
    }

    /// Says whether a head of `classes` classes has one for each label.
    ///
    /// # Errors
    /// [`DataError::ClassCount`].
    pub fn check_count(&self, classes: usize) -> Result<(), DataError> {
        let labels = self.names.len();
        if labels == classes { Ok(()) } else { Err(DataError::ClassCount { labels, classes }) }
    }

    /// The label of a class index.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    /// How many classes there are; two or more.
    #[allow(clippy::len_without_is_empty)] // Never empty: every constructor refuses fewer than two labels.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// All labels in the order of their class index.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for Labels {}

impl TryFrom<Vec<String>> for Labels {
    type Error = DataError;

    fn try_from(names: Vec<String>) -> Result<Self, DataError> {
        Self::from_names(names)
    }
}

impl From<Labels> for Vec<String> {
    fn from(labels: Labels) -> Self {
        labels.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(labels: &[&str]) -> Vec<TextExample> {
        labels.iter().map(|label| TextExample { text: "x".into(), label: Some((*label).into()) }).collect()
    }

    #[test]
    fn names_are_sorted_and_round_trip() {
        let labels = Labels::from_examples(&examples(&["spam", "ham", "spam"])).unwrap();
        assert_eq!(labels.names(), ["ham", "spam"]);
        assert_eq!((labels.len(), labels.index("spam").unwrap(), labels.name(0)), (2, 1, Some("ham")));
        assert_eq!(labels.name(2), None);
        let json = serde_json::to_string(&labels).unwrap();
        assert_eq!(json, r#"["ham","spam"]"#);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
        assert!(serde_json::from_str::<Labels>(r#"["a","a"]"#).is_err());
        assert_eq!(labels.indices(&examples(&["spam", "ham"])).unwrap(), [1, 0]);
        assert_eq!((labels.hot(&["spam"]).unwrap(), labels.hot::<&str>(&[]).unwrap()), (vec![0.0, 1.0], vec![0.0; 2]));
        assert!(matches!(labels.hot(&["span"]), Err(DataError::UnknownLabel { .. })));
    }

    #[test]
    fn numbers_sort_by_value_and_given_order_stays() {
        let labels = Labels::from_examples(&examples(&["10", "2", "-1"])).unwrap();
        assert_eq!(labels.names(), ["-1", "2", "10"]);
        let given = Labels::from_names(["z", "a"]).unwrap();
        assert_eq!(given.index("z").unwrap(), 0);
    }

    #[test]
    fn errors_name_the_thing() {
        let mut rows = examples(&["a", "b"]);
        rows.push(TextExample { text: "x".into(), label: None });
        assert!(matches!(Labels::from_examples(&rows), Err(DataError::NoLabel { index: 2 })));
        assert!(
            matches!(Labels::from_examples(&examples(&["a", "a"])), Err(DataError::OneClass { label }) if label == "a")
        );
        assert!(matches!(Labels::from_examples::<TextExample>(&[]), Err(DataError::NoExamples)));
        let twice = Labels::from_names(["a", "b", "a"]);
        assert!(matches!(twice, Err(DataError::DuplicateLabel { label }) if label == "a"));
        let labels = Labels::from_names(["card_arrival", "lost_card"]).unwrap();
        let message = labels.index("card_arival").unwrap_err().to_string();
        assert_eq!(message, "unknown label `card_arival`; the nearest of the 2 known labels is `card_arrival`");
    }
}
