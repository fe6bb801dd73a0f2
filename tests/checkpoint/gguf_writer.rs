//! A writer of GGUF files of version 3.

use std::fs;
use std::path::Path;

use half::f16;
use serde_json::Value;

/// How the values of matrices are stored.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Coding {
    F32,
    Q8,
}

/// A file in the making.
#[derive(Default)]
pub(super) struct Writer {
    metadata: Vec<u8>,
    fields: u64,
    infos: Vec<u8>,
    tensors: u64,
    data: Vec<u8>,
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Writer {
    /// Whole numbers are `u32`, others `f32`, lists of flags.
    pub(super) fn field(&mut self, key: &str, value: &Value) {
        let bytes = &mut self.metadata;
        text(bytes, key);
        match value {
            Value::String(value) => {
                bytes.extend(8u32.to_le_bytes());
                text(bytes, value);
            }
            Value::Array(flags) => {
                bytes.extend(9u32.to_le_bytes());
                bytes.extend(7u32.to_le_bytes());
                bytes.extend((flags.len() as u64).to_le_bytes());
                bytes.extend(flags.iter().map(|flag| u8::from(*flag == true)));
            }
            value => match value.as_u64() {
                Some(value) => {
                    bytes.extend(4u32.to_le_bytes());
                    bytes.extend((value as u32).to_le_bytes());
                }
                None => {
                    bytes.extend(6u32.to_le_bytes());
                    bytes.extend((value.as_f64().expect("a number") as f32).to_le_bytes());
                }
            },
        }
        self.fields += 1;
    }

    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32], coding: Coding) {
        text(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.infos.extend((*size as u64).to_le_bytes()));
        // Vectors stay as they are, as the converter leaves them.
        let blocks = coding == Coding::Q8 && shape.len() == 2 && shape[1].is_multiple_of(32);
        self.infos.extend((if blocks { 8u32 } else { 0 }).to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        match blocks {
            true => values.chunks(32).for_each(|block| self.block(block)),
            false => self.data.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensors += 1;
    }

    fn block(&mut self, values: &[f32]) {
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = f16::from_f32(largest / 127.0);
        self.data.extend(scale.to_le_bytes());
        let whole = |value: &f32| (value / scale.to_f32().max(f32::MIN_POSITIVE)).round().clamp(-127.0, 127.0) as i8;
        self.data.extend(values.iter().map(|value| whole(value).to_le_bytes()[0]));
    }

    pub(super) fn write(self, path: &Path) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(self.tensors.to_le_bytes());
        bytes.extend(self.fields.to_le_bytes());
        bytes.extend(self.metadata);
        bytes.extend(self.infos);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(self.data);
        fs::write(path, bytes).expect("written");
    }
}
