use super::CacheError;
use super::segment::{EXTENSION, is_part};
use super::store::ABOUT;
use std::path::{Path, PathBuf};

/// What a cache folder holds for one set of frozen weights.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prefix {
    /// Its name in the folder, a hash.
    pub key: String,
    /// What it is: the network, its frozen stages, the dtype.
    pub about: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a cache folder holds, by the hash that it is found under.
///
/// # Errors
/// [`CacheError`] if the folder cannot be read.
pub fn list(folder: impl AsRef<Path>) -> Result<Vec<Prefix>, CacheError> {
    let mut all = vec![];
    for dir in prefixes(folder.as_ref())? {
        let about = std::fs::read_to_string(dir.join(ABOUT)).unwrap_or_default();
        let files = files(&dir)?;
        let bytes = files.iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum();
        all.push(Prefix { key: name(&dir), about: about.trim().into(), bytes });
    }
    Ok(all)
}

/// Deletes all that a cache folder holds; gives its size in bytes. Files that no cache wrote stay. A run that reads there
/// at the time keeps what it has open, and one that writes there goes on without.
///
/// # Errors
/// [`CacheError`] if the folder cannot be read or a file cannot be deleted.
pub fn clear(folder: impl AsRef<Path>) -> Result<u64, CacheError> {
    let mut freed = 0;
    for dir in prefixes(folder.as_ref())? {
        for path in files(&dir)? {
            let bytes = path.metadata().map_or(0, |data| data.len());
            std::fs::remove_file(&path).map_err(CacheError::io("delete", &path))?;
            freed += bytes;
        }
        // It stays where something else is in it.
        std::fs::remove_dir(&dir).ok();
    }
    Ok(freed)
}

/// The folders of prefixes, sorted.
fn prefixes(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let is_key = |path: &PathBuf| blake3::Hash::from_hex(name(path)).is_ok() && path.is_dir();
    let mut dirs: Vec<_> = entries(folder)?.into_iter().filter(is_key).collect();
    dirs.sort();
    Ok(dirs)
}

/// The files of a prefix that a cache wrote.
fn files(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let ours = |path: &PathBuf| {
        let is_segment = path.extension().is_some_and(|extension| extension == EXTENSION);
        is_segment || name(path) == ABOUT || is_part(&name(path))
    };
    Ok(entries(dir)?.into_iter().filter(ours).collect())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let entries = std::fs::read_dir(dir).map_err(CacheError::io("read the folder", dir))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(CacheError::io("read the folder", dir))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
