//! What was compared, how far it differs, and how far it may.

use super::Result;
use burn::tensor::Tensor;
use rekindle::checkpoint::Tensors;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// Values with their shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Array {
    pub(crate) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        Self { shape, values: tensor.into_data().iter::<f32>().collect() }
    }

    pub(crate) fn scalar(value: f64) -> Self {
        Self { shape: vec![], values: vec![value as f32] }
    }

    pub(crate) fn list(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Self { shape: vec![values.len()], values }
    }

    pub(crate) fn read(tensors: &Tensors, key: &str) -> Result<Self> {
        Ok(Self { shape: tensors.shape(key)?.to_vec(), values: tensors.f32(key)? })
    }

    /// The largest absolute value.
    pub(crate) fn largest(&self) -> f64 {
        self.values.iter().fold(0.0, |largest, value| largest.max(f64::from(value.abs())))
    }
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    /// The largest absolute difference; a NaN on either side counts as infinite.
    difference: f64,
    limit: f64,
    /// Where it is.
    place: Vec<usize>,
    note: Option<String>,
}

impl Row {
    pub(crate) fn compare(name: impl Into<String>, ours: &Array, expected: &Array, limit: f64) -> Self {
        if ours.shape != expected.shape {
            let note = format!("its shape is {:?} here and {:?} in the file", ours.shape, expected.shape);
            return Self::failed(name, note);
        }
        let differences = ours.values.iter().zip(&expected.values).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        let differences = differences.map(|difference| if difference.is_nan() { f64::INFINITY } else { difference });
        let largest = differences.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (at, difference) = largest.unwrap_or((0, 0.0));
        Self { name: name.into(), difference, limit, place: place(at, &ours.shape), note: None }
    }

    /// Something that must not occur, and how often it did.
    pub(crate) fn count(name: impl Into<String>, count: usize, note: String) -> Self {
        Self { name: name.into(), difference: count as f64, limit: 0.0, place: vec![], note: Some(note) }
    }

    /// What could not be compared.
    pub(crate) fn failed(name: impl Into<String>, note: String) -> Self {
        Self { name: name.into(), difference: f64::INFINITY, limit: 0.0, place: vec![], note: Some(note) }
    }

    /// The same comparison under a name that says more.
    pub(crate) fn named_after(self, what: &str) -> Self {
        Self { name: format!("{what}: {}", self.name), ..self }
    }

    pub(crate) fn passed(&self) -> bool {
        self.difference <= self.limit
    }

    /// How much of what is allowed it uses.
    fn share(&self) -> f64 {
        if self.difference == 0.0 { 0.0 } else { self.difference / self.limit }
    }
}

/// Row-major index to one index an axis.
fn place(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = vec![];
    for size in shape.iter().rev() {
        place.push(at % size.max(&1));
        at /= size.max(&1);
    }
    place.reverse();
    place
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.passed() { "ok  " } else { "FAIL" };
        write!(f, "  {mark} {:<58} {:>8.1e} of {:.1e}", self.name, self.difference, self.limit)?;
        if !self.place.is_empty() {
            write!(f, " at {:?}", self.place)?;
        }
        self.note.as_ref().map_or(Ok(()), |note| write!(f, "  {note}"))
    }
}

/// All comparisons of a folder.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Findings {
    name: String,
    what: String,
    rows: Vec<Row>,
}

impl Findings {
    pub(crate) fn new(folder: &Path, what: &str) -> Self {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        Self { name, what: what.into(), rows: vec![] }
    }

    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// Whether everything is within its limit.
    pub(crate) fn passed(&self) -> bool {
        self.rows.iter().all(Row::passed)
    }

    /// What was compared, and what came closest to its limit.
    pub(crate) fn summary(&self) -> String {
        let failed = self.rows.iter().filter(|row| !row.passed()).count();
        let summary = format!("{}, {} comparisons, {failed} beyond", self.what, self.rows.len());
        match self.rows.iter().max_by(|a, b| a.share().total_cmp(&b.share())) {
            Some(row) => {
                format!("{summary}; closest to its limit: {} {:.1e} of {:.1e}", row.name, row.difference, row.limit)
            }
            None => summary,
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{}: {verdict}, {}", self.name, self.summary())
    }
}
