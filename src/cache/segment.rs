//! A file of records: magic, prefix key, records, then an index of them and its checksum.
//!
//! It is written under a hidden name, synced and renamed, and never changed after that, so that processes share a folder
//! without waiting for each other. Nothing is believed without its checksum.

use super::Key;
use crate::file::{BUFFER, beside, sync_folder};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

const MAGIC: [u8; 8] = *b"RKCACHE\x01";
const HEAD: u64 = 8 + 32;
const ENTRY: u64 = 32 + 8 + 8 + 32;
const FOOT: u64 = 32 + 8 + 8;
pub(super) const EXTENSION: &str = "segment";
/// Of the hidden name of a file that is being written.
const PART: &str = ".part.segment.";

/// Where a record stands in a segment, and its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) key: Key,
    offset: u64,
    pub(super) len: u64,
    sum: Key,
}

impl At {
    fn new(key: Key, offset: u64, record: &[u8]) -> Self {
        Self { key, offset, len: record.len() as u64, sum: checksum(&key, record) }
    }

    fn to_bytes(self) -> Vec<u8> {
        [&self.key[..], &self.offset.to_le_bytes(), &self.len.to_le_bytes(), &self.sum].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (len, sum) = rest.split_first_chunk()?;
        let [offset, len] = [offset, len].map(|bytes| u64::from_le_bytes(*bytes));
        Some(Self { key: *key, offset, len, sum: sum.try_into().ok()? })
    }
}

/// A record and the key that it is found by.
fn checksum(key: &Key, record: &[u8]) -> Key {
    blake3::Hasher::new().update(key).update(record).finalize().into()
}

/// A segment that is open to be read.
#[derive(Debug)]
pub(super) struct Segment {
    file: Mutex<File>,
}

impl Segment {
    /// Opens a segment of this prefix and reads its index; `InvalidData` where it is not whole.
    pub(super) fn open(path: &Path, prefix: &Key) -> io::Result<(Self, Vec<At>)> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let body = len.checked_sub(HEAD + FOOT).ok_or_else(damaged)?;
        let head = read(&mut file, 0, HEAD)?;
        let foot = read(&mut file, len - FOOT, FOOT)?;
        let count = u64::from_le_bytes(foot[32..40].try_into().unwrap_or_default());
        if head[..8] != MAGIC || head[8..] != *prefix || foot[40..] != MAGIC || count > body / ENTRY {
            return Err(damaged());
        }
        let index = read(&mut file, len - FOOT - count * ENTRY, count * ENTRY)?;
        if checksum(prefix, &index) != foot[..32] {
            return Err(damaged());
        }
        let entries = index.chunks_exact(ENTRY as usize).map(At::from_bytes);
        let entries = entries.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        if entries.iter().any(|at| at.offset.checked_add(at.len).is_none_or(|end| end > HEAD + body)) {
            return Err(damaged());
        }
        Ok((Self { file: Mutex::new(file) }, entries))
    }

    /// The bytes of a record; `None` if they are not those that were written.
    pub(super) fn read(&self, at: &At) -> Option<Vec<u8>> {
        let read = {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            read(&mut file, at.offset, at.len)
        };
        read.ok().filter(|record| checksum(&at.key, record) == at.sum)
    }
}

fn read(file: &mut File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    file: BufWriter<NamedTempFile>,
    folder: PathBuf,
    prefix: Key,
    entries: Vec<At>,
    len: u64,
    /// Filled when the segment is whole.
    pub(super) segment: Arc<OnceLock<Segment>>,
}

impl Writer {
    pub(super) fn create(folder: &Path, prefix: Key) -> io::Result<Self> {
        let name = PART.trim_matches('.');
        let file = beside(&folder.join(name), 0o666, |builder, folder| builder.tempfile_in(folder))?;
        // Tells other processes that somebody still writes here.
        file.as_file().try_lock().ok();
        let mut file = BufWriter::with_capacity(BUFFER, file);
        file.write_all(&MAGIC)?;
        file.write_all(&prefix)?;
        Ok(Self { file, folder: folder.into(), prefix, entries: vec![], len: HEAD, segment: Arc::default() })
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn put(&mut self, key: Key, record: &[u8]) -> io::Result<At> {
        let at = At::new(key, self.len, record);
        self.file.write_all(record)?;
        self.len += at.len;
        self.entries.push(at);
        Ok(at)
    }

    /// Writes the index and makes the file visible; gives the size of its records.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let index: Vec<u8> = self.entries.iter().flat_map(|at| at.to_bytes()).collect();
        self.file.write_all(&index)?;
        self.file.write_all(&checksum(&self.prefix, &index))?;
        self.file.write_all(&(self.entries.len() as u64).to_le_bytes())?;
        self.file.write_all(&MAGIC)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        let file = file.persist_noclobber(self.folder.join(name()))?;
        file.unlock().ok();
        sync_folder(&self.folder)?;
        self.segment.set(Segment { file: Mutex::new(file) }).ok();
        Ok(self.len - HEAD)
    }
}

/// A name that no other segment has; later ones sort behind earlier ones.
fn name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let (count, process) = (COUNT.fetch_add(1, Ordering::Relaxed), std::process::id());
    format!("{now:024}-{process}-{count}.{EXTENSION}")
}

/// Removes the files of processes that ended while they wrote.
pub(super) fn remove_orphans(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let parts = entries.flatten().filter(|entry| is_part(&entry.file_name().to_string_lossy()));
    for path in parts.map(|entry| entry.path()) {
        // One that is younger may not have its lock yet.
        let age = path.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        let old = age.is_some_and(|age| age > Duration::from_secs(60));
        if old && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            std::fs::remove_file(&path).ok();
        }
    }
}

pub(super) fn is_part(name: &str) -> bool {
    name.starts_with(PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_beyond_the_file_is_damage() {
        let (folder, prefix) = (tempfile::tempdir().unwrap(), [7; 32]);
        for (offset, len, whole) in
            [(HEAD, 3, true), (HEAD, u64::MAX, false), (u64::MAX, 3, false), (1 << 40, 3, false)]
        {
            let mut writer = Writer::create(folder.path(), prefix).unwrap();
            writer.put([1; 32], b"abc").unwrap();
            (writer.entries[0].offset, writer.entries[0].len) = (offset, len);
            writer.finish().unwrap();
            let path = super::super::store::segments(folder.path()).remove(0);
            assert_eq!(Segment::open(&path, &prefix).map_err(|error| error.kind()).is_ok(), whole, "{offset} {len}");
        }
    }
}
