use std::path::PathBuf;
use thiserror::Error;

/// What can be wrong with a run's folder.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file cannot be read or written.
    #[error("cannot access `{}`: {source}; check the path and the space left", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process trains there.
    #[error("another run writes into `{}`; wait for it, or give another folder", folder.display())]
    Locked {
        /// The run's folder.
        folder: PathBuf,
    },
    /// A checkpoint of the run is not whole.
    #[error("checkpoint `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Every checkpoint is damaged.
    #[error(
        "none of the {count} checkpoints in `{}` is whole (the newest: {newest}); remove them to start anew",
        folder.display()
    )]
    NothingWhole {
        /// The run's folder.
        folder: PathBuf,
        /// Checkpoints there.
        count: usize,
        /// What is wrong with the newest.
        newest: String,
    },
    /// The run that is to go on is another one.
    #[error(
        "the run in `{}` had another {what}: {difference}; give the same one to go on, or another folder to start anew",
        folder.display()
    )]
    OtherRun {
        /// The run's folder.
        folder: PathBuf,
        /// What differs: configuration, freeze policy, data, model, loss or head.
        what: &'static str,
        /// Its fields that differ, each with the value there and the one here.
        difference: String,
    },
    /// A checkpoint exists, and the run was not told to go on from it.
    #[error(
        "`{}` holds the checkpoints of an earlier run; set `resume` to go on from them, or give another folder",
        folder.display()
    )]
    Unfinished {
        /// The run's folder.
        folder: PathBuf,
    },
}
