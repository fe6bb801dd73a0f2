use super::RunError;
use std::fs::{File, TryLockError};
use std::path::Path;

/// Held while a run writes into its folder: one run folder, one writer. The system lets go of it however the run ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Every folder that a run has written into has it.
const FILE: &str = "run.lock";

/// Whether a run has written into the folder.
pub(crate) fn is_run(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join(FILE);
        let io = |source| RunError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(RunError::Locked { folder: folder.into() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}
