//! A reader of TensorBoard's event files that trusts nothing: every length and checksum is looked at.

use std::collections::BTreeMap;
use std::path::Path;

/// Figures by tag, then by step, as a reader shows them that honours restarts; texts likewise.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Board {
    pub(super) scalars: BTreeMap<String, BTreeMap<i64, f32>>,
    pub(super) texts: BTreeMap<String, BTreeMap<i64, String>>,
    /// A tag and a step that came twice without a restart in between.
    pub(super) twice: Vec<(String, i64)>,
}

impl Board {
    pub(super) fn read(folder: &Path) -> Self {
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
        paths.sort();
        let mut board = Self::default();
        for path in paths {
            let records = records(&std::fs::read(path).unwrap());
            let first = fields(&records[0]);
            assert!(first.iter().any(|(field, value)| *field == 3 && value.bytes() == b"brain.Event:2"));
            records.iter().for_each(|record| board.event(record));
        }
        board
    }

    fn event(&mut self, record: &[u8]) {
        let event = fields(record);
        let step = event.iter().find(|(field, _)| *field == 2).map_or(0, |(_, value)| value.integer() as i64);
        let time = event.iter().find(|(field, _)| *field == 1).unwrap().1.number();
        assert!(time > 1.6e9, "{time}");
        for (field, value) in &event {
            match field {
                5 => fields(value.bytes()).iter().for_each(|(_, entry)| self.entry(step, entry.bytes())),
                // SessionLog.START: what was said of this step and later ones is void.
                7 if fields(value.bytes())[0].1.integer() == 1 => {
                    self.scalars.values_mut().for_each(|steps| steps.retain(|other, _| *other < step));
                    self.texts.values_mut().for_each(|steps| steps.retain(|other, _| *other < step));
                }
                _ => {}
            }
        }
    }

    fn entry(&mut self, step: i64, entry: &[u8]) {
        let entry = fields(entry);
        let tag = String::from_utf8(entry[0].1.bytes().to_vec()).unwrap();
        let again = match &entry[1] {
            (2, value) => self.scalars.entry(tag.clone()).or_default().insert(step, value.number() as f32).is_some(),
            (8, tensor) => {
                let text = fields(tensor.bytes()).into_iter().find(|(field, _)| *field == 8).unwrap().1;
                let text = String::from_utf8(text.bytes().to_vec()).unwrap();
                self.texts.entry(tag.clone()).or_default().insert(step, text).is_some()
            }
            (field, _) => panic!("field {field}"),
        };
        if again {
            self.twice.push((tag, step));
        }
    }
}

/// The payloads of a TFRecord file.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = vec![];
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(8);
        let (length_sum, rest) = rest.split_at(4);
        assert_eq!(u32::from_le_bytes(length_sum.try_into().unwrap()), masked(length));
        let (payload, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let (sum, rest) = rest.split_at(4);
        assert_eq!(u32::from_le_bytes(sum.try_into().unwrap()), masked(payload));
        records.push(payload.to_vec());
        bytes = rest;
    }
    records
}

/// CRC-32C bit by bit, masked.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    (((!crc) >> 15) | ((!crc) << 17)).wrapping_add(0xA282_EAD8)
}

enum Wire {
    Integer(u64),
    Number(f64),
    Bytes(Vec<u8>),
}

impl Wire {
    fn integer(&self) -> u64 {
        let Self::Integer(value) = self else { panic!("no integer") };
        *value
    }

    fn number(&self) -> f64 {
        let Self::Number(value) = self else { panic!("no number") };
        *value
    }

    fn bytes(&self) -> &[u8] {
        let Self::Bytes(value) = self else { panic!("no bytes") };
        value
    }
}

/// The fields of a protocol buffer message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Wire)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
        let (taken, rest) = bytes.split_first_chunk().unwrap();
        *bytes = rest;
        *taken
    }
    let mut fields = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Wire::Integer(varint(&mut bytes)),
            1 => Wire::Number(f64::from_le_bytes(take(&mut bytes))),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (taken, rest) = bytes.split_at(length);
                bytes = rest;
                Wire::Bytes(taken.to_vec())
            }
            5 => Wire::Number(f64::from(f32::from_le_bytes(take(&mut bytes)))),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}
