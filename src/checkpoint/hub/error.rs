//! What can go wrong between a repository's name and its files.

use std::io;
use std::path::PathBuf;

/// An error of finding or downloading a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No repository can have this name.
    #[error(
        "`{repository}` is no name of a repository: {reason}; write it as on the hub, such as `google-bert/bert-base-uncased`"
    )]
    BadRepository {
        /// The name.
        repository: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No branch, tag or commit can have this name.
    #[error("`{revision}` is no revision; give a branch, a tag or a commit, such as `main`")]
    BadRevision {
        /// The name.
        revision: String,
    },
    /// Nothing says where the cache is.
    #[error("there is no home folder to keep models in; set `HF_HOME` or `HF_HUB_CACHE`")]
    NoHome,
    /// The repository is not in the local cache.
    #[error(
        "`{repository}` at `{revision}` is not in the cache `{}`; download it (`hf download {repository} --revision {revision}`, or \
         `hub::download` with the feature `hub`), or set `HF_HUB_CACHE` to the cache that has it", root.display()
    )]
    NotCached {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
        /// The cache.
        root: PathBuf,
    },
    /// A file of the cache that should name a commit does not.
    #[error("`{}` should hold the 40 digits of a commit, but does not; delete it and download again", path.display())]
    BadReference {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused an operation on a file or folder of the cache.
    #[error("cannot {action} `{}`: {source}; check the path, its permissions and the free space", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The hub cannot be reached, or the connection broke off.
    #[error(
        "cannot get `{file}` of `{repository}` at `{revision}`: {reason}; try again, or see `HF_ENDPOINT` and the network"
    )]
    Network {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
        /// The file, or what else was asked for.
        file: String,
        /// What the connection said.
        reason: String,
    },
    /// The hub does not give the file out.
    #[error("the hub answers {status} for `{file}` of `{repository}` at `{revision}`; {mend}")]
    Refused {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
        /// The file, or what else was asked for.
        file: String,
        /// The HTTP status.
        status: u16,
        /// What to do about it.
        mend: &'static str,
    },
    /// The hub's answer is not what the hub answers.
    #[error("the answer for `{file}` of `{repository}` at `{revision}` {reason}; check `HF_ENDPOINT`, or try again")]
    BadAnswer {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
        /// The file, or what else was asked for.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The repository has no weights that are read here.
    #[error(
        "`{repository}` at `{revision}` has none of {}; choose a repository with one of them, or `Hub::files`",
        looked_for.join(", ")
    )]
    NoWeights {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
        /// The files that would have done.
        looked_for: Vec<String>,
    },
}
