//! The batch that Transformers was given.

use super::Result;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rekindle::backbone::TextInput;
use rekindle::checkpoint::Tensors;
use std::path::Path;

const KNOWN: [&str; 5] = ["input_ids", "attention_mask", "token_type_ids", "labels", "next_sentence_label"];

/// A batch on the host, `[rows, seq]`.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) rows: usize,
    pub(crate) seq: usize,
    ids: Vec<i64>,
    type_ids: Vec<i64>,
    mask: Vec<bool>,
    /// One a row or one a token.
    labels: Option<Vec<i64>>,
    next_sentence: Option<Vec<i64>>,
}

impl Inputs {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let tensors = Tensors::open_file(path)?;
        if let Some(other) = tensors.keys().find(|key| !KNOWN.contains(key)) {
            return Err(format!("`{}` holds `{other}`; read are {}", path.display(), KNOWN.join(", ")).into());
        }
        let [rows, seq] = *tensors.shape("input_ids")? else {
            return Err(format!("`input_ids` of `{}` is not [rows, tokens]", path.display()).into());
        };
        let optional = |key: &str| tensors.contains(key).then(|| tensors.i64(key)).transpose();
        let a_token = |key: &str, default: i64| -> Result<Vec<i64>> {
            match optional(key)? {
                Some(values) if values.len() != rows * seq => Err(format!("`{key}` is not {rows} x {seq}").into()),
                values => Ok(values.unwrap_or_else(|| vec![default; rows * seq])),
            }
        };
        let mask = a_token("attention_mask", 1)?;
        if let Some(value) = mask.iter().find(|value| !(0..=1).contains(*value)) {
            return Err(format!("`attention_mask` holds {value}; it may hold 0 and 1").into());
        }
        Ok(Self {
            rows,
            seq,
            ids: tensors.i64("input_ids")?,
            type_ids: a_token("token_type_ids", 0)?,
            mask: mask.into_iter().map(|value| value == 1).collect(),
            labels: optional("labels")?,
            next_sentence: optional("next_sentence_label")?,
        })
    }

    /// The indices of all rows.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.rows).collect()
    }

    /// Whether a loss can be computed.
    pub(crate) fn has_labels(&self) -> bool {
        self.labels.is_some()
    }

    /// What the backbone reads of some rows.
    pub(crate) fn text(&self, rows: &[usize], device: &Device) -> TextInput {
        let shape = [rows.len(), self.seq];
        TextInput {
            ids: Tensor::from_data(TensorData::new(pick(&self.ids, rows, self.seq), shape), device),
            type_ids: Tensor::from_data(TensorData::new(pick(&self.type_ids, rows, self.seq), shape), device),
            mask: Tensor::from_data(TensorData::new(pick(&self.mask, rows, self.seq), shape), device),
        }
    }

    /// Labels of some rows, one a row.
    pub(crate) fn row_labels(&self, rows: &[usize], device: &Device) -> Result<Tensor<1, Int>> {
        let labels = self.some(&self.labels, "labels", 1, rows)?;
        match labels.iter().find(|label| **label < 0) {
            Some(label) => Err(format!("`labels` holds {label}; a class is 0 or more").into()),
            None => Ok(index_tensor(labels, device)),
        }
    }

    /// Next-sentence labels of some rows.
    pub(crate) fn next_sentence(&self, rows: &[usize], device: &Device) -> Result<Tensor<1, Int>> {
        Ok(index_tensor(self.some(&self.next_sentence, "next_sentence_label", 1, rows)?, device))
    }

    /// The places of some rows whose label is not -100, flat in `[rows * seq]`, and their labels.
    pub(crate) fn token_labels(&self, rows: &[usize], device: &Device) -> Result<(Tensor<1, Int>, Tensor<1, Int>)> {
        let labels = self.some(&self.labels, "labels", self.seq, rows)?;
        let counted = labels.into_iter().enumerate().filter(|(_, label)| *label != -100);
        let (at, tokens): (Vec<i64>, Vec<i64>) = counted.map(|(at, label)| (at as i64, label)).unzip();
        if at.is_empty() {
            return Err(format!("rows {rows:?} have no label but -100").into());
        }
        Ok((index_tensor(at, device), index_tensor(tokens, device)))
    }

    fn some(&self, values: &Option<Vec<i64>>, name: &str, width: usize, rows: &[usize]) -> Result<Vec<i64>> {
        match values {
            None => Err(format!("inputs.safetensors has no `{name}`").into()),
            Some(values) if values.len() != self.rows * width => {
                let needed = format!("{} rows of {width}", self.rows);
                Err(format!("`{name}` has {} values where this head reads {needed}", values.len()).into())
            }
            Some(values) => Ok(pick(values, rows, width)),
        }
    }
}

fn pick<T: Copy>(values: &[T], rows: &[usize], width: usize) -> Vec<T> {
    rows.iter().flat_map(|row| values[row * width..(row + 1) * width].iter().copied()).collect()
}

fn index_tensor(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}
