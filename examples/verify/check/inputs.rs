//! The batch that Transformers was given.

use super::Result;
use burn::tensor::{Device, Element, Int, Tensor, TensorData};
use rekindle::backbone::{Bart, DecoderStart, ImageInput, T5, TextInput, Whisper};
use rekindle::checkpoint::{Checkpoint, Dtype, NumberType, Tensors};
use std::collections::BTreeMap;
use std::path::Path;

/// Floats, as the sound is; all others are whole numbers.
const PIXELS: &str = "pixel_values";
pub(super) const SOUND: &str = "input_features";
const KNOWN: [&str; 12] = [
    PIXELS,
    SOUND,
    "input_ids",
    "attention_mask",
    "position_ids",
    "decoder_input_ids",
    "decoder_attention_mask",
    "token_type_ids",
    "labels",
    "next_sentence_label",
    "start_positions",
    "end_positions",
];

/// Numbers on the host, their first axis the row.
#[derive(Debug)]
pub(super) struct Values<T> {
    shape: Vec<usize>,
    values: Vec<T>,
}

/// A batch on the host.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) rows: usize,
    named: BTreeMap<String, Values<i64>>,
    /// Labels that are numbers, with their shape.
    numbers: Option<(Vec<usize>, Vec<f32>)>,
    pixels: Option<Values<f32>>,
    pub(super) sound: Option<Values<f32>>,
    /// What a decoder's input begins with, where the model has one.
    pub(super) start: Option<DecoderStart>,
}

impl Inputs {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let tensors = Tensors::open_file(path)?;
        if let Some(other) = tensors.keys().find(|key| !KNOWN.contains(key)) {
            return Err(format!("`{}` holds `{other}`; read are {}", path.display(), KNOWN.join(", ")).into());
        }
        let first = ["input_ids", SOUND].into_iter().find(|key| tensors.contains(key));
        let rows = tensors.shape(first.unwrap_or(PIXELS))?.first().copied().unwrap_or(0);
        let mut named = BTreeMap::new();
        let (mut numbers, mut pixels, mut sound) = (None, None, None);
        for key in tensors.keys() {
            let shape = tensors.shape(key)?.to_vec();
            if key == "labels" && !matches!(tensors.dtype(key)?, NumberType::Plain(Dtype::I64 | Dtype::I32)) {
                numbers = Some((shape, tensors.f32(key)?));
                continue;
            }
            if shape.first() != Some(&rows) {
                return Err(format!("`{key}` of `{}` has the shape {shape:?}, not {rows} rows", path.display()).into());
            }
            match key {
                PIXELS => pixels = Some(Values { shape, values: tensors.f32(key)? }),
                SOUND => sound = Some(Values { shape, values: tensors.f32(key)? }),
                _ => _ = named.insert(key.to_string(), Values { shape, values: tensors.i64(key)? }),
            }
        }
        let mask = named.get("attention_mask").map_or(&[][..], |mask| &mask.values);
        if let Some(value) = mask.iter().find(|value| !(0..=1).contains(*value)) {
            return Err(format!("`attention_mask` holds {value}; it may hold 0 and 1").into());
        }
        Ok(Self { rows, named, numbers, pixels, sound, start: None })
    }

    /// The same batch for this model, whose decoder begins as its configuration says.
    pub(crate) fn of(self, checkpoint: &Checkpoint) -> Self {
        let start = match checkpoint.model_type() {
            Some("bart" | "marian") => checkpoint.config::<Bart>().ok().and_then(|config| config.decoder_start().ok()),
            Some("t5") => checkpoint.config::<T5>().ok().and_then(|config| config.decoder_start().ok()),
            Some("whisper") => checkpoint.config::<Whisper>().ok().and_then(|config| config.decoder_start().ok()),
            _ => None,
        };
        Self { start, ..self }
    }

    /// The indices of all rows.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.rows).collect()
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// How many axes a tensor of whole numbers has.
    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        self.named.get(name).map(|values| values.shape.len())
    }

    /// Whether a loss can be computed.
    pub(crate) fn has_labels(&self) -> bool {
        self.has("labels") || self.numbers.is_some() || self.has("start_positions")
    }

    /// Whether the labels are numbers that are not whole: those of regression and of several labels a row.
    pub(crate) fn has_number_labels(&self) -> bool {
        self.numbers.is_some()
    }

    /// Labels of some rows as numbers, `[rows, outputs]`.
    pub(crate) fn number_labels(&self, rows: &[usize], device: &Device) -> Result<Tensor<2>> {
        let Some((shape, values)) = &self.numbers else {
            return Err("`labels` of inputs.safetensors are missing or whole numbers; this model reads float32".into());
        };
        let width: usize = shape.iter().skip(1).product();
        let picked = rows.iter().flat_map(|row| values.iter().skip(row * width).take(width).copied()).collect();
        Ok(Tensor::from_data(TensorData::new::<f32, _>(picked, [rows.len(), width]), device))
    }

    /// Whole numbers of some rows.
    pub(crate) fn int<const D: usize>(&self, name: &str, rows: &[usize], device: &Device) -> Result<Tensor<D, Int>> {
        Ok(Tensor::from_data(data::<D, i64>(self.named.get(name), name, rows)?, device))
    }

    /// What a text backbone reads of some rows; of `[batch, choices, seq]`, each choice is a row.
    pub(crate) fn text(&self, rows: &[usize], device: &Device) -> Result<TextInput> {
        let flat = |name: &str| -> Result<Tensor<2, Int>> {
            match self.named.get(name).map(|values| values.shape.len()) {
                Some(3) => Ok(self.int::<3>(name, rows, device)?.flatten(0, 1)),
                _ => self.int(name, rows, device),
            }
        };
        let ids = flat("input_ids")?;
        let or = |name: &str, value: i64| match self.has(name) {
            true => flat(name),
            false => Ok(ids.full_like(value)),
        };
        Ok(TextInput {
            type_ids: or("token_type_ids", 0)?,
            mask: or("attention_mask", 1)?.equal_elem(1),
            documents: self.documents(rows, device)?,
            ids,
        })
    }

    /// The documents of rows whose positions begin anew; `None` where there is one a row.
    fn documents(&self, rows: &[usize], device: &Device) -> Result<Option<Tensor<2, Int>>> {
        let Some(Values { shape, values }) = self.named.get("position_ids") else { return Ok(None) };
        let seq = shape.get(1).copied().unwrap_or(0);
        let (mut documents, mut are_packed) = (vec![], false);
        for row in rows {
            let (mut document, mut next) = (0, 0);
            for position in &values[row * seq..(row + 1) * seq] {
                if *position == 0 {
                    (document, next) = (document + 1, 0);
                }
                if *position != next {
                    return Err(
                        format!("`position_ids` of row {row} holds {position} where {next} or 0 follows").into()
                    );
                }
                next += 1;
                documents.push(document);
            }
            are_packed |= document > 1;
        }
        let documents = || Tensor::from_data(TensorData::new::<i64, _>(documents, [rows.len(), seq]), device);
        Ok(are_packed.then(documents))
    }

    /// What a vision backbone reads of some rows.
    pub(crate) fn images(&self, rows: &[usize], device: &Device) -> Result<ImageInput> {
        Ok(ImageInput { pixels: Tensor::from_data(data::<4, f32>(self.pixels.as_ref(), PIXELS, rows)?, device) })
    }

    /// Labels of some rows, one a row.
    pub(crate) fn row_labels(&self, rows: &[usize], device: &Device) -> Result<Tensor<1, Int>> {
        let labels = self.int::<1>("labels", rows, device)?;
        match labels.to_data().iter::<i64>().find(|label| *label < 0) {
            Some(label) => Err(format!("`labels` holds {label}; a class is 0 or more").into()),
            None => Ok(labels),
        }
    }

    /// The places of some rows whose label is not -100, flat in `[rows * seq]`, and their labels.
    pub(crate) fn token_labels(&self, rows: &[usize], device: &Device) -> Result<(Tensor<1, Int>, Tensor<1, Int>)> {
        let labels: Vec<i64> = self.int::<2>("labels", rows, device)?.into_data().iter::<i64>().collect();
        let counted = labels.into_iter().enumerate().filter(|(_, label)| *label != -100);
        let (at, tokens): (Vec<i64>, Vec<i64>) = counted.map(|(at, label)| (at as i64, label)).unzip();
        if at.is_empty() {
            return Err(format!("rows {rows:?} have no label but -100").into());
        }
        let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, [tokens.len()]), device);
        Ok((tensor(at), tensor(tokens.clone())))
    }
}

/// Some rows of a tensor of rank `D`.
pub(super) fn data<const D: usize, T: Element>(
    values: Option<&Values<T>>,
    name: &str,
    rows: &[usize],
) -> Result<TensorData> {
    let Some(Values { shape, values }) = values else {
        return Err(format!("inputs.safetensors has no `{name}`").into());
    };
    if shape.len() != D {
        return Err(format!("`{name}` has the shape {shape:?} where this model reads {D} axes").into());
    }
    let width: usize = shape[1..].iter().product();
    let picked: Vec<T> = rows.iter().flat_map(|row| values[row * width..(row + 1) * width].iter().copied()).collect();
    Ok(TensorData::new(picked, [&[rows.len()], &shape[1..]].concat()))
}
