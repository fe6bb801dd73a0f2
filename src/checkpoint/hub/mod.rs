//! Models of the Hugging Face Hub by their names: found in the cache that `huggingface_hub` keeps, or downloaded into it (feature
//! `hub`).
//!
//! The cache is a folder for each repository, `models--org--name`, with the files by their hash in `blobs`, links to them under the
//! file names in `snapshots/<commit>`, and the commit of each branch or tag in `refs`. Python's programs find what is downloaded
//! here, and the other way round.
//!
//! ```no_run
//! use rekindle::checkpoint::{Checkpoint, hub};
//! let checkpoint = Checkpoint::open(hub::cached("google-bert/bert-base-uncased", "main")?)?;
//! # Ok::<(), rekindle::Error>(())
//! ```

mod cache;
#[cfg(feature = "hub")]
mod download;
mod error;
#[cfg(feature = "hub")]
mod listing;
mod name;
#[cfg(feature = "hub")]
mod request;

use std::path::PathBuf;

pub use cache::Cache;
#[cfg(feature = "hub")]
pub use download::Hub;
pub use error::HubError;

/// The folder of a repository's files in the local cache, without any network: `revision` is a branch, a tag (`main`) or a commit.
///
/// The cache is where `HF_HUB_CACHE` says, else in `hub` of `HF_HOME`, else `~/.cache/huggingface/hub`.
///
/// # Errors
/// [`HubError::NotCached`] where it was never downloaded; a name that cannot be one.
pub fn cached(repository: &str, revision: &str) -> Result<PathBuf, HubError> {
    Cache::from_env()?.snapshot(repository, revision)
}

/// Downloads what [`Checkpoint`](super::Checkpoint) reads of a repository into the local cache, unless it is there, and gives its folder.
/// With `HF_HUB_OFFLINE=1` it is [`cached`].
///
/// `HF_ENDPOINT` names another hub than `https://huggingface.co`; `HF_TOKEN` (or the file `token` of `HF_HOME`) opens private and gated
/// repositories.
///
/// # Errors
/// [`HubError`] names repository, revision and file.
#[cfg(feature = "hub")]
pub fn download(repository: &str, revision: &str) -> Result<PathBuf, HubError> {
    Hub::from_env()?.model(repository, revision)
}
