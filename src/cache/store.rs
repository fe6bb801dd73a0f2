//! Records by key, in memory and in the segments of one prefix.

use super::segment::{At, EXTENSION, Segment, Writer, remove_orphans};
use super::{Cache, CacheDtype, CacheError, CacheReport, Key};
use crate::file::write_atomically;
use crate::rows::Record;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A segment is closed when it has so many bytes: what a killed run loses at most.
const SEGMENT: u64 = 128 << 20;
pub(super) const ABOUT: &str = "about.txt";

/// Where a record is kept.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Memory(Record),
    Disk(Disk),
    Nowhere,
}

/// A record in a segment, which may still be being written.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    segment: Arc<OnceLock<Segment>>,
    at: At,
}

impl Disk {
    fn read(&self) -> Option<Record> {
        Record::from_bytes(&self.segment.get()?.read(&self.at)?)
    }
}

impl Slot {
    /// The record, if it is as it was written.
    pub(crate) fn record(&self) -> Option<Cow<'_, Record>> {
        match self {
            Self::Memory(record) => Some(Cow::Borrowed(record)),
            Self::Disk(disk) => disk.read().map(Cow::Owned),
            Self::Nowhere => None,
        }
    }

    /// Whether it can be asked for.
    pub(crate) fn is_kept(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Disk(disk) => disk.segment.get().is_some(),
            Self::Nowhere => false,
        }
    }

    pub(crate) fn is_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }
}

/// Keeps records in memory while the budget lasts, and all of them in a folder if there is one.
#[derive(Debug)]
pub(crate) struct Store {
    dtype: CacheDtype,
    memory_left: usize,
    folder: Option<Folder>,
    pub(crate) report: CacheReport,
    /// Why nothing more is written, once.
    pub(crate) broken: Option<CacheError>,
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    prefix: Key,
    /// The newest first.
    found: HashMap<Key, Vec<Disk>>,
    writer: Option<Writer>,
    writes: bool,
}

impl Store {
    /// Opens what the folder holds of a prefix. `about` says what that is.
    pub(crate) fn open(cache: &Cache, prefix: impl FnOnce() -> Key, about: &str) -> Result<Self, CacheError> {
        let memory_left = match cache {
            Cache::None => 0,
            Cache::Memory { bytes: memory, .. } | Cache::Folder { memory, .. } => *memory,
        };
        let dtype = cache.dtype();
        let mut store = Self { dtype, memory_left, folder: None, report: CacheReport::default(), broken: None };
        if let Cache::Folder { path, .. } = cache {
            std::fs::create_dir_all(path).map_err(CacheError::io("make the folder", path))?;
            let prefix = prefix();
            let dir = path.join(blake3::Hash::from(prefix).to_hex().as_str());
            let (found, damaged) = read_segments(&dir, &prefix);
            store.report.damaged = damaged;
            store.folder = Some(Folder { dir, prefix, found, writer: None, writes: true });
            store.describe(about);
        }
        Ok(store)
    }

    /// Makes the prefix's folder, with a file for people.
    fn describe(&mut self, about: &str) {
        let Some(Folder { dir, .. }) = &self.folder else { return };
        remove_orphans(dir);
        let path = dir.join(ABOUT);
        if path.exists() {
            return;
        }
        let text = format!("{about}\n");
        let made = std::fs::create_dir_all(dir);
        if let Err(error) = made.and_then(|()| write_atomically(&path, |file| file.write_all(text.as_bytes()))) {
            self.give_up(CacheError::io("write", &path)(error));
        }
    }

    pub(crate) fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// Bytes that memory still takes.
    pub(crate) fn memory_left(&self) -> usize {
        self.memory_left
    }

    /// The record as it is kept.
    pub(crate) fn narrowed(&self, record: Record) -> Record {
        match self.dtype {
            CacheDtype::F32 => record,
            CacheDtype::Bf16 => record.narrowed(),
        }
    }

    /// The bytes that a record takes when it is kept.
    pub(crate) fn bytes(&self, record: &Record) -> usize {
        match self.dtype {
            CacheDtype::F32 => record.bytes(),
            CacheDtype::Bf16 => record.clone().narrowed().bytes(),
        }
    }

    /// As [`find`](Self::find), to be looked at only.
    pub(crate) fn peek(&self, key: &Key) -> Option<Record> {
        self.folder.as_ref()?.found.get(key)?.iter().find_map(Disk::read)
    }

    /// What the folder holds under a key, if it is as it was written.
    pub(crate) fn find(&mut self, key: &Key) -> Option<Slot> {
        let all = self.folder.as_ref()?.found.get(key)?;
        let whole = all.iter().find_map(|disk| Some((disk.read()?, disk.clone())));
        // What could not be written whole is absent, not damaged.
        if all.iter().all(|disk| disk.segment.get().is_none()) {
            return None;
        }
        match whole {
            Some((record, disk)) => {
                self.report.disk_bytes += disk.at.len;
                Some(self.hold(record, Some(disk)))
            }
            None => {
                self.report.damaged += 1;
                None
            }
        }
    }

    /// Keeps a record: in the folder, if there is one, and in memory while that lasts.
    pub(crate) fn put(&mut self, key: Option<Key>, record: Record) -> Slot {
        let record = self.narrowed(record);
        let disk = key.and_then(|key| match self.write(key, &record) {
            Ok(disk) => disk,
            Err(error) => {
                self.give_up(error);
                None
            }
        });
        self.hold(record, disk)
    }

    fn hold(&mut self, record: Record, disk: Option<Disk>) -> Slot {
        let bytes = record.bytes();
        if bytes <= self.memory_left {
            self.memory_left -= bytes;
            self.report.memory_bytes += bytes as u64;
            return Slot::Memory(record);
        }
        disk.map_or(Slot::Nowhere, Slot::Disk)
    }

    fn write(&mut self, key: Key, record: &Record) -> Result<Option<Disk>, CacheError> {
        let Some(folder) = self.folder.as_mut().filter(|folder| folder.writes) else { return Ok(None) };
        let error = |source| CacheError::Io { action: "write into", path: folder.dir.clone(), source };
        let mut writer = match folder.writer.take() {
            Some(writer) => writer,
            None => Writer::create(&folder.dir, folder.prefix).map_err(error)?,
        };
        let at = writer.put(key, &record.to_bytes()).map_err(error)?;
        let segment = writer.segment.clone();
        match writer.len() >= SEGMENT {
            true => self.report.disk_bytes += writer.finish().map_err(error)?,
            false => folder.writer = Some(writer),
        }
        let disk = Disk { segment, at };
        folder.found.entry(key).or_default().insert(0, disk.clone());
        Ok(Some(disk))
    }

    /// Makes what was put last visible.
    pub(crate) fn finish(&mut self) {
        let Some(folder) = &mut self.folder else { return };
        match folder.writer.take().map(Writer::finish) {
            Some(Ok(bytes)) => self.report.disk_bytes += bytes,
            Some(Err(source)) => {
                let error = CacheError::io("write into", &folder.dir)(source);
                self.give_up(error);
            }
            None => {}
        }
    }

    /// Forgets and removes all that the folder holds of the prefix: the stages no longer give it.
    pub(crate) fn void(&mut self) {
        let Some(folder) = &mut self.folder else { return };
        self.report.damaged += folder.found.len();
        folder.found.clear();
        segments(&folder.dir).iter().for_each(|path| drop(std::fs::remove_file(path)));
    }

    /// From now on nothing is written; what was found stays.
    fn give_up(&mut self, error: CacheError) {
        if let Some(folder) = &mut self.folder {
            (folder.writes, folder.writer) = (false, None);
        }
        self.report.write_error = Some(error.to_string());
        self.broken.get_or_insert(error);
    }
}

/// The segments of a folder, the newest first.
pub(super) fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == EXTENSION);
    let mut paths: Vec<_> = entries.filter(is_segment).collect();
    paths.sort_by(|a, b| b.cmp(a));
    paths
}

/// Where the records of a prefix are, and how many files were of no use. A file without a sound index is removed.
fn read_segments(dir: &Path, prefix: &Key) -> (HashMap<Key, Vec<Disk>>, usize) {
    let (mut found, mut damaged) = (HashMap::<Key, Vec<Disk>>::new(), 0);
    for path in segments(dir) {
        match Segment::open(&path, prefix) {
            Ok((segment, entries)) => {
                let segment = Arc::new(OnceLock::from(segment));
                for at in entries {
                    found.entry(at.key).or_default().push(Disk { segment: segment.clone(), at });
                }
            }
            Err(error) => {
                damaged += 1;
                if error.kind() == ErrorKind::InvalidData {
                    std::fs::remove_file(&path).ok();
                }
            }
        }
    }
    (found, damaged)
}
