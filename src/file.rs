//! Files that are whole or absent, never half written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Large enough that a weight matrix goes out in few system calls.
pub(crate) const BUFFER: usize = 1 << 20;

/// Writes a file by way of a temporary one beside it, which is synced and then renamed: a reader, or a machine that
/// loses power, sees the old file or the new one. The folder must exist; the file gets the permissions of a new file.
pub(crate) fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let temporary = beside(path, 0o666, |builder, folder| builder.tempfile_in(folder))?;
    let mut file = BufWriter::with_capacity(BUFFER, temporary);
    fill(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(parent(path))
}

/// Makes a hidden temporary file or folder beside `path`, with the permissions `mode` less the umask: tempfile's own
/// default shuts out other users.
pub(crate) fn beside<T>(
    path: &Path,
    mode: u32,
    make: impl FnOnce(&tempfile::Builder<'_, '_>, &Path) -> io::Result<T>,
) -> io::Result<T> {
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut builder = tempfile::Builder::new();
    allow(builder.prefix(&prefix), mode);
    make(&builder, parent(path))
}

#[cfg(unix)]
fn allow(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
}

#[cfg(not(unix))]
fn allow(_: &mut tempfile::Builder<'_, '_>, _: u32) {}

/// The folder that `path` is in; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes renames within a folder last; where folders cannot be opened as files, the system does it by itself.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir).and_then(|folder| folder.sync_all())?;
    }
    Ok(())
}

/// Syncs a file that was written by somebody else.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    // Windows flushes only through a handle that may write.
    OpenOptions::new().read(true).write(cfg!(windows)).open(path).and_then(|file| file.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomically(&path, |file| file.write_all(b"one")).unwrap();
        write_atomically(&path, |file| file.write_all(b"two")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_atomically(&folder.path().join("none/a.json"), |_| Ok(())).is_err());
    }

    #[test]
    fn a_bare_name_is_in_the_current_folder() {
        assert_eq!(parent(Path::new("a")), Path::new("."));
        assert_eq!(parent(Path::new("b/a")), Path::new("b"));
    }
}
