use super::NoCache;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a cache did in a run, all changes of plan together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheReport {
    /// Examples whose states are kept, under the last plan.
    pub rows: usize,
    /// Examples whose states were found, so that no frozen stage was run for them.
    pub hits: usize,
    /// Examples whose states were computed.
    pub misses: usize,
    /// Stored states that were not as they were written, or that frozen stages no longer give; they were computed again.
    /// A file whose index cannot be read counts once and is removed.
    pub damaged: usize,
    /// Memory of what is kept, in bytes, under the last plan.
    pub memory_bytes: u64,
    /// Size in files of what is kept, in bytes, under the last plan.
    pub disk_bytes: u64,
    /// Why nothing is kept under the last plan; `None` where something is.
    pub unused: Option<NoCache>,
    /// Why states were no longer written to the folder; the run went on without that.
    pub write_error: Option<String>,
}

impl CacheReport {
    /// Adds what happened under another plan; what is kept now replaces what was.
    pub(crate) fn add(&mut self, next: Self) {
        *self = Self {
            hits: self.hits + next.hits,
            misses: self.misses + next.misses,
            damaged: self.damaged + next.damaged,
            write_error: self.write_error.take().or(next.write_error.clone()),
            ..next
        };
    }
}

/// A line, without what was not written.
impl fmt::Display for CacheReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frozen stages: {} examples computed, {} found", self.misses, self.hits)?;
        if self.damaged > 0 {
            write!(f, ", {} damaged before", self.damaged)?;
        }
        write!(f, "; {} in memory, {} in files", size(self.memory_bytes), size(self.disk_bytes))
    }
}

/// Bytes to three digits or so: `71.8 MB`.
pub(super) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        1e9.. => format!("{:.1} GB", bytes / 1e9),
        1e6.. => format!("{:.1} MB", bytes / 1e6),
        1e3.. => format!("{:.1} kB", bytes / 1e3),
        _ => format!("{bytes} B"),
    }
}
