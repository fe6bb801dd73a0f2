use super::NoCache;
use serde::{Deserialize, Serialize};

/// What a cache did in a run, all changes of plan together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
