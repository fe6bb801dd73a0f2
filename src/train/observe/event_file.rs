//! Event files as TensorBoard reads them: records of TensorFlow's TFRecord format, each a protocol buffer `Event`
//! (tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// One event file, written record by record.
#[derive(Debug)]
pub(super) struct EventFile {
    pub(super) path: PathBuf,
    file: File,
}

impl EventFile {
    /// Makes a file that sorts after every other one in the folder, since they are read in the order of their names.
    /// Readers then drop what earlier files say of step `first` and later ones.
    pub(super) fn create(folder: &Path, first: usize) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let mut begun = now;
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let second = name.strip_prefix(PREFIX).and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
            begun = begun.max(second.map_or(0, |second| second.saturating_add(1)));
        }
        let path = folder.join(format!("{PREFIX}{begun:010}.rekindle.{}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        let mut events = Self { path, file };
        events.event(first, |event| event.bytes(FILE_VERSION, b"brain.Event:2"))?;
        events.event(first, |event| event.message(SESSION_LOG, |log| log.integer(1, SESSION_START)))?;
        Ok(events)
    }

    /// Writes figures of a step by their tags.
    pub(super) fn scalars(&mut self, step: usize, scalars: &[(String, f64)]) -> io::Result<()> {
        self.event(step, |event| {
            event.message(SUMMARY, |summary| {
                for (tag, value) in scalars {
                    summary.message(1, |entry| {
                        entry.bytes(1, tag.as_bytes());
                        entry.float(2, *value as f32);
                    });
                }
            });
        })
    }

    /// Writes a text in Markdown.
    pub(super) fn text(&mut self, step: usize, tag: &str, text: &str) -> io::Result<()> {
        self.event(step, |event| {
            event.message(SUMMARY, |summary| {
                summary.message(1, |entry| {
                    entry.bytes(1, tag.as_bytes());
                    entry.message(8, |tensor| {
                        tensor.integer(1, DT_STRING);
                        tensor.message(2, |shape| shape.message(2, |dim| dim.integer(1, 1)));
                        tensor.bytes(8, text.as_bytes());
                    });
                    entry.message(9, |metadata| metadata.message(1, |plugin| plugin.bytes(1, b"text")));
                });
            });
        })
    }

    fn event(&mut self, step: usize, fill: impl FnOnce(&mut Message)) -> io::Result<()> {
        let mut event = Message::default();
        event.double(1, SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()));
        event.integer(2, step as u64);
        fill(&mut event);
        // In one call, so that a killed process leaves a whole record or none as far as the system allows.
        self.file.write_all(&record(&event.0))
    }
}

const PREFIX: &str = "events.out.tfevents.";
/// Fields of `Event`.
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;
/// `SessionLog.SessionStatus.START`.
const SESSION_START: u64 = 1;
/// `DataType.DT_STRING`.
const DT_STRING: u64 = 7;

/// A protocol buffer message under construction (<https://protobuf.dev/programming-guides/encoding>).
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// Length, its checksum, the bytes, their checksum.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(masked_crc(bytes).to_le_bytes());
    record
}

/// CRC-32C, turned and shifted as in TFRecord, so that the checksum of data that hold checksums stays a good one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| TABLE[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            // Castagnoli's polynomial, bits reversed.
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn numbers_are_encoded_as_protocol_buffers() {
        let mut message = Message::default();
        message.integer(1, 150);
        message.message(2, |inner| inner.bytes(2, b"testing"));
        assert_eq!(message.0, *b"\x08\x96\x01\x12\x09\x12\x07testing");
    }

    #[test]
    fn files_sort_in_the_order_in_which_they_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..12).map(|step| EventFile::create(folder.path(), step).unwrap().path).collect();
        assert!(paths.is_sorted_by(|a, b| a < b), "{paths:?}");
    }
}
