//! Records as bytes.

use crate::rows::{Part, Record, Values};
use half::bf16;

impl Record {
    /// The same with values of f32 rounded to bf16.
    pub(crate) fn narrowed(self) -> Self {
        let narrow = |part: &Part| match part.values {
            Values::F32 => {
                let values = f32s(&part.bytes).into_iter();
                let bytes = values.flat_map(|value| bf16::from_f32(value).to_ne_bytes()).collect();
                Part { values: Values::Bf16, shape: part.shape.clone(), bytes }
            }
            _ => part.clone(),
        };
        Self::from_tensors(self.tensors().iter().map(narrow).collect())
    }

    /// For each tensor: how its values are stored, its rank, its sizes, its number of bytes, and they.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 64 * self.tensors().len());
        for part in self.tensors() {
            let values = match part.values {
                Values::Exact => 0,
                Values::F32 => 1,
                Values::Bf16 => 2,
            };
            out.extend([values, part.shape.len() as u8]);
            let sizes = part.shape.iter().copied().chain([part.bytes.len()]);
            out.extend(sizes.flat_map(|size| (size as u64).to_le_bytes()));
            out.extend(&part.bytes);
        }
        out
    }

    /// What [`to_bytes`](Self::to_bytes) was given; `None` for anything else.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut parts = vec![];
        while !bytes.is_empty() {
            let values = match take(&mut bytes, 1)?[0] {
                0 => Values::Exact,
                1 => Values::F32,
                2 => Values::Bf16,
                _ => return None,
            };
            let rank = take(&mut bytes, 1)?[0];
            let shape = (0..rank).map(|_| size(&mut bytes)).collect::<Option<_>>()?;
            let len = size(&mut bytes)?;
            parts.push(Part { values, shape, bytes: take(&mut bytes, len)?.to_vec() });
        }
        Some(Self::from_tensors(parts))
    }

    /// Whether two records are of the same shapes and their values as near as another order of additions would bring them.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let (a, b) = (self.tensors(), other.tensors());
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| parts_agree(a, b))
    }
}

fn parts_agree(a: &Part, b: &Part) -> bool {
    if (a.values, &a.shape, a.bytes.len()) != (b.values, &b.shape, b.bytes.len()) {
        return false;
    }
    let (a_values, b_values, tolerance) = match a.values {
        Values::Exact => return a.bytes == b.bytes,
        Values::F32 => (f32s(&a.bytes), f32s(&b.bytes), 1e-4),
        Values::Bf16 => (bf16s(&a.bytes), bf16s(&b.bytes), 1e-2),
    };
    let greatest = a_values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let near = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a - b).abs() <= tolerance * greatest;
    a_values.iter().zip(&b_values).all(near)
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

fn bf16s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|bytes| bf16::from_ne_bytes([bytes[0], bytes[1]]).to_f32()).collect()
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn size(bytes: &mut &[u8]) -> Option<usize> {
    let taken = take(bytes, 8)?;
    usize::try_from(u64::from_le_bytes(taken.try_into().ok()?)).ok()
}
