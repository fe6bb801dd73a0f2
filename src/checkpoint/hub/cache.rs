//! The cache of `huggingface_hub` on this machine.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::HubError;
use super::name::{check_repository, check_revision, is_commit};

/// A folder in the layout of `huggingface_hub`'s cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache of this user: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in `huggingface` of `XDG_CACHE_HOME`, else
    /// `~/.cache/huggingface/hub`.
    ///
    /// # Errors
    /// [`HubError::NoHome`] when none of them can be told.
    pub fn from_env() -> Result<Self, HubError> {
        let root = root(variable, env::home_dir());
        root.map(Self::at).ok_or(HubError::NoHome)
    }

    /// The cache in a folder, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository's files at a branch, a tag or a commit.
    ///
    /// # Errors
    /// [`HubError::NotCached`] where it was never downloaded; a name that cannot be one.
    pub fn snapshot(&self, repository: &str, revision: &str) -> Result<PathBuf, HubError> {
        check_revision(revision)?;
        let folder = self.repository(repository)?;
        let not_cached = || HubError::NotCached {
            repository: repository.into(),
            revision: revision.into(),
            root: self.root.clone(),
        };
        let commit = match self.commit(repository, revision)? {
            Some(commit) => commit,
            None if is_commit(revision) => revision.into(),
            None => return Err(not_cached()),
        };
        let snapshot = folder.join("snapshots").join(commit);
        if snapshot.is_dir() { Ok(snapshot) } else { Err(not_cached()) }
    }

    /// The folder of all that is kept of a repository.
    pub(super) fn repository(&self, repository: &str) -> Result<PathBuf, HubError> {
        check_repository(repository)?;
        Ok(self.root.join(format!("models--{}", repository.replace('/', "--"))))
    }

    /// The commit that a branch or tag was at when it was last downloaded.
    fn commit(&self, repository: &str, revision: &str) -> Result<Option<String>, HubError> {
        let path = self.repository(repository)?.join("refs").join(revision);
        match fs::read_to_string(&path) {
            Ok(text) if is_commit(text.trim()) => Ok(Some(text.trim().into())),
            Ok(_) => Err(HubError::BadReference { path }),
            // A revision such as `a/b` where `a` is a branch.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(HubError::Io { action: "read", path, source }),
        }
    }
}

/// A variable of the environment that says something.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where Python's hub keeps everything.
pub(super) fn home(variable: impl Fn(&str) -> Option<String>, user: Option<PathBuf>) -> Option<PathBuf> {
    let named = variable("HF_HOME").map(|path| expanded(&path, user.as_deref()));
    let under = |cache: PathBuf| cache.join("huggingface");
    named
        .or_else(|| variable("XDG_CACHE_HOME").map(|path| under(expanded(&path, user.as_deref()))))
        .or_else(|| user.map(|user| under(user.join(".cache"))))
}

fn root(variable: impl Fn(&str) -> Option<String>, user: Option<PathBuf>) -> Option<PathBuf> {
    // The second is the older name of the first.
    let named = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
    let named = named.map(|path| expanded(&path, user.as_deref()));
    named.or_else(|| Some(home(variable, user)?.join("hub")))
}

fn expanded(path: &str, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix('~'), user) {
        (Some(""), Some(user)) => user.into(),
        (Some(rest), Some(user)) if rest.starts_with('/') => user.join(&rest[1..]),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_python_are_heeded_in_its_order() {
        let of = |set: &[(&str, &str)]| {
            let get = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
            root(get, Some("/home/a".into())).expect("a home")
        };
        assert_eq!(of(&[]), Path::new("/home/a/.cache/huggingface/hub"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        let home = ("HF_HOME", "~/hf");
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/home/a/hf/hub"));
        assert_eq!(of(&[home, ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        assert_eq!(of(&[home, ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")]), Path::new("/new"));
        assert_eq!(root(|_| None, None), None);
    }
}
