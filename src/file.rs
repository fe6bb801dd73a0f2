//! Files that are whole or absent, never half written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Large enough that a weight matrix goes out in few system calls.
pub(crate) const BUFFER: usize = 1 << 20;

/// Letters of a temporary name that are drawn.
const RANDOM: usize = 12;

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
    allow(builder.prefix(&prefix).rand_bytes(RANDOM), mode);
    make(&builder, parent(path))
}

/// Removes what [`beside`] made in `dir` and a killed process left there. Nobody else may be writing there.
pub(crate) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !is_temporary(&entry.file_name().to_string_lossy()) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Makes `to` a folder of the same files as `from`, linked, or copied where the file system knows no links.
pub(crate) fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true => link_tree(&from, &to)?,
            false => std::fs::hard_link(&from, &to).or_else(|_| std::fs::copy(&from, &to).map(drop))?,
        }
    }
    Ok(())
}

/// Whether a name is `.<name>.<random>`, as [`beside`] makes them.
fn is_temporary(name: &str) -> bool {
    let Some((name, random)) = name.strip_prefix('.').and_then(|name| name.rsplit_once('.')) else { return false };
    !name.is_empty() && random.len() == RANDOM && random.chars().all(|letter| letter.is_ascii_alphanumeric())
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
    fn only_temporary_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.json.0123456789ab", ".gitignore", "a.json", ".a.json.short"] {
            std::fs::write(folder.path().join(name), b"a").unwrap();
        }
        std::fs::create_dir(folder.path().join(".step-1.abcdefABCDEF")).unwrap();
        remove_unfinished(folder.path()).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, [".a.json.short", ".gitignore", "a.json"]);
        remove_unfinished(&folder.path().join("none")).unwrap();
    }

    #[test]
    fn a_bare_name_is_in_the_current_folder() {
        assert_eq!(parent(Path::new("a")), Path::new("."));
        assert_eq!(parent(Path::new("b/a")), Path::new("b"));
    }
}
