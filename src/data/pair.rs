//! Pairs of texts from JSONL, CSV and TSV files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::text::read_rows;
use super::{DataError, Labelled};

/// Two texts, with a label where they have one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairExample {
    /// The first text, such as a premise.
    pub first: String,
    /// The second text, such as a hypothesis.
    pub second: String,
    /// The name of the class of both together.
    pub label: Option<String>,
}

impl Labelled for PairExample {
    fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }
}

/// The names of the columns (CSV) or keys (JSONL) of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairColumns {
    /// The column of the first text.
    pub first: String,
    /// The column of the second text.
    pub second: String,
    /// The column of the label; `None` reads no labels.
    pub label: Option<String>,
}

impl PairColumns {
    /// Columns of these names.
    pub fn new(first: &str, second: &str, label: Option<&str>) -> Self {
        Self { first: first.into(), second: second.into(), label: label.map(Into::into) }
    }
}

/// Reads pairs in the format that the file's name says: `.jsonl` and `.json` (one object a line), `.csv`, or `.tsv`.
///
/// # Errors
/// As [`read_text`](super::read_text).
pub fn read_pairs(path: impl AsRef<Path>, columns: &PairColumns) -> Result<Vec<PairExample>, DataError> {
    let rows = read_rows(path.as_ref(), [&columns.first, &columns.second], columns.label.as_deref())?;
    Ok(rows.into_iter().map(|([first, second], label)| PairExample { first, second, label }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &str, columns: &PairColumns) -> Result<Vec<PairExample>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read_pairs(path, columns)
    }

    #[test]
    fn both_texts_are_read_from_either_format() {
        let expected =
            [PairExample { first: "a man sleeps".into(), second: "he rests".into(), label: Some("yes".into()) }];
        let columns = PairColumns::new("premise", "hypothesis", Some("label"));
        let json = r#"{"label": "yes", "hypothesis": "he rests", "premise": "a man sleeps"}"#;
        assert_eq!(read("a.jsonl", json, &columns).unwrap(), expected);
        let csv = "hypothesis,label,premise\nhe rests,yes,a man sleeps\n";
        assert_eq!(read("a.csv", csv, &columns).unwrap(), expected);
        let unlabelled = read("a.csv", csv, &PairColumns { label: None, ..columns }).unwrap();
        assert_eq!(unlabelled[0].label, None);
    }

    #[test]
    fn a_column_that_is_missing_or_no_text_is_named() {
        let columns = PairColumns::new("a", "b", None);
        match read("x.jsonl", r#"{"a": "one"}"#, &columns) {
            Err(DataError::MissingColumn { column, line: 1, .. }) => assert_eq!(column, "b"),
            other => panic!("{other:?}"),
        }
        match read("x.jsonl", r#"{"a": "one", "b": 3}"#, &columns) {
            Err(DataError::BadValue { column, .. }) => assert_eq!(column, "b"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(read("x.csv", "a,c\n1,2\n", &columns), Err(DataError::MissingColumn { .. })));
    }
}
