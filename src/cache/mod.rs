//! [`Cache`]: what wholly frozen stages make of an example is computed once and kept, in memory or in a folder that runs
//! share.
//!
//! In a folder, states are found by content: a key made from the weights of the frozen stages, what is computed with them
//! and where, and for each example its tokens. Labels, the head, seeds, rates and batch sizes are no part of it, so that
//! other runs find what one has computed, and nothing that has changed is ever found. Every record has a checksum; what is
//! not as it was written is computed again.

mod error;
mod folder;
mod key;
mod plan;
mod record;
mod report;
mod segment;
mod store;

pub use error::CacheError;
pub use folder::{Prefix, clear, list};
pub(crate) use key::{Key, prefix_key, row_key};
pub use plan::{CachePlan, NoCache};
pub use report::CacheReport;
pub(crate) use store::{Slot, Store};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;

/// Where the states after wholly frozen stages are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Nowhere: they are computed in every epoch.
    None,
    /// In memory, for one run; nowhere if they need more than `bytes`.
    Memory {
        /// Memory for states, in bytes.
        bytes: usize,
        /// What floats are kept as.
        dtype: CacheDtype,
    },
    /// In files of a folder, which outlive the run and which several processes may use at once.
    Folder {
        /// The folder; it is made where it does not exist.
        path: PathBuf,
        /// Memory for states, in bytes; the rest is read from the files each time.
        memory: usize,
        /// What floats are kept as.
        dtype: CacheDtype,
    },
}

/// What the f32 values of a kept state are stored as. Integers and booleans are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheDtype {
    /// As they are.
    #[default]
    F32,
    /// Rounded to the nearest bf16, ties to even: half the room, 8 bits of precision.
    Bf16,
}

/// Memory for states unless said otherwise.
const MEMORY: usize = 2 << 30;

impl Cache {
    /// In memory, up to 2 GiB.
    pub fn memory() -> Self {
        Self::Memory { bytes: MEMORY, dtype: CacheDtype::F32 }
    }

    /// In a folder, of which up to 2 GiB are held in memory.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::Folder { path: path.into(), memory: MEMORY, dtype: CacheDtype::F32 }
    }

    /// The same with another budget of memory, in bytes.
    pub fn with_memory(mut self, budget: usize) -> Self {
        if let Self::Memory { bytes: memory, .. } | Self::Folder { memory, .. } = &mut self {
            *memory = budget;
        }
        self
    }

    /// The same with floats kept as `dtype`.
    pub fn with_dtype(mut self, wanted: CacheDtype) -> Self {
        if let Self::Memory { dtype, .. } | Self::Folder { dtype, .. } = &mut self {
            *dtype = wanted;
        }
        self
    }

    /// What floats are kept as.
    pub fn dtype(&self) -> CacheDtype {
        match self {
            Self::None => CacheDtype::F32,
            Self::Memory { dtype, .. } | Self::Folder { dtype, .. } => *dtype,
        }
    }

    /// What of it a run's numbers depend on.
    pub(crate) fn arithmetic(&self) -> Self {
        match self.dtype() {
            CacheDtype::F32 => Self::None,
            dtype => Self::memory().with_dtype(dtype),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::memory()
    }
}

/// `none`, `memory`, or a folder.
impl FromStr for Cache {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "memory" => Ok(Self::memory()),
            "" => Err("the cache has no name; give a folder, memory or none".into()),
            folder => Ok(Self::folder(folder)),
        }
    }
}
