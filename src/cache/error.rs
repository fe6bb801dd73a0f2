use std::path::{Path, PathBuf};
use thiserror::Error;

/// What can be wrong with a cache folder.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The system refused an operation.
    #[error(
        "cannot {action} `{}` of the cache: {source}; check the path, its permissions and the free space, or keep states in memory",
        path.display()
    )]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl CacheError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
