//! Downloads into the cache.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::HeaderMap;

use super::cache::{home, variable};
use super::listing::Listing;
use super::name::{check_repository, check_revision, is_commit, is_relative};
use super::request::{Client, Subject, escaped};
use super::{Cache, HubError};
use crate::checkpoint::index;
use crate::checkpoint::tensors::LOOKED_FOR;
use crate::file::{beside, parent, write_atomically};

const ENDPOINT: &str = "https://huggingface.co";
/// Bytes that are read from the network at once.
const PIECE: usize = 1 << 16;

/// A hub, and the cache that its files go to.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    cache: Cache,
    offline: bool,
}

/// What the hub says of a file.
struct Told {
    /// Its name among the blobs: a hash of its bytes.
    etag: String,
    size: Option<u64>,
}

impl Hub {
    /// The hub, cache and token that the environment names: see [`download`](super::download).
    ///
    /// # Errors
    /// [`HubError::NoHome`] when there is no place for the cache.
    pub fn from_env() -> Result<Self, HubError> {
        let token = variable("HF_TOKEN").or_else(|| {
            let path = variable("HF_TOKEN_PATH").map(PathBuf::from);
            let path = path.or_else(|| Some(home(variable, std::env::home_dir())?.join("token")))?;
            fs::read_to_string(path).ok().map(|token| token.trim().to_string()).filter(|token| !token.is_empty())
        });
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let offline = variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        Ok(Self { client: Client::new(&endpoint, token), cache: Cache::from_env()?, offline })
    }

    /// The hub at an address, with a cache of its own.
    pub fn at(endpoint: &str, token: Option<String>, cache: Cache) -> Self {
        Self { client: Client::new(endpoint, token), cache, offline: false }
    }

    /// Configuration, tokenizer and weights of a repository, in the folder that is given: safetensors where it has them, else
    /// PyTorch's own files.
    ///
    /// # Errors
    /// [`HubError`] names repository, revision and file. What was downloaded before stays.
    pub fn model(&self, repository: &str, revision: &str) -> Result<PathBuf, HubError> {
        self.fetch(repository, revision, |listing, get| {
            let weights = listing.weights().ok_or_else(|| HubError::NoWeights {
                repository: repository.into(),
                revision: revision.into(),
                looked_for: LOOKED_FOR.map(String::from).to_vec(),
            })?;
            for file in listing.settings() {
                get(file)?;
            }
            let path = get(weights)?;
            if weights.ends_with(".index.json") {
                let subject = Subject { repository, revision, file: weights };
                let shards = index::read(&path).map_err(|error| subject.bad_answer(format!("is no index: {error}")))?;
                for shard in shards.keys() {
                    get(shard)?;
                }
            }
            Ok(())
        })
    }

    /// The named files of a repository, in the folder that is given.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub fn files(&self, repository: &str, revision: &str, files: &[&str]) -> Result<PathBuf, HubError> {
        self.fetch(repository, revision, |_, get| files.iter().try_for_each(|file| get(file).map(drop)))
    }

    fn fetch(
        &self,
        repository: &str,
        revision: &str,
        choose: impl FnOnce(&Listing, &dyn Fn(&str) -> Result<PathBuf, HubError>) -> Result<(), HubError>,
    ) -> Result<PathBuf, HubError> {
        check_repository(repository)?;
        check_revision(revision)?;
        if self.offline {
            return self.cache.snapshot(repository, revision);
        }
        let listing = Listing::of(&self.client, repository, revision)?;
        let folder = self.cache.repository(repository)?;
        let snapshot = folder.join("snapshots").join(&listing.commit);
        let get = |file: &str| {
            let subject = Subject { repository, revision, file };
            self.file(&folder, &snapshot, &listing.commit, subject)
        };
        choose(&listing, &get)?;
        // Last, so that a branch names no commit of which nothing is there.
        if !is_commit(revision) {
            let path = folder.join("refs").join(revision);
            make(parent(&path))?;
            write_atomically(&path, |file| file.write_all(listing.commit.as_bytes()))
                .map_err(io_error("write", &path))?;
        }
        Ok(snapshot)
    }

    /// The path of a file in its snapshot, where it is now.
    fn file(&self, folder: &Path, snapshot: &Path, commit: &str, subject: Subject<'_>) -> Result<PathBuf, HubError> {
        if !is_relative(subject.file) {
            return Err(subject.bad_answer("would leave its folder"));
        }
        let link = snapshot.join(subject.file);
        if link.is_file() {
            return Ok(link);
        }
        let path = format!("/{}/resolve/{commit}/{}", subject.repository, escaped(subject.file));
        let told = told(self.client.head(&path, subject)?.headers(), subject)?;
        let blob = folder.join("blobs").join(&told.etag);
        if !blob.is_file() {
            make(parent(&blob))?;
            self.blob(&path, &blob, &told, subject)?;
        }
        make(parent(&link))?;
        connect(&blob, &link, subject.file).map_err(io_error("link", &link))?;
        Ok(link)
    }

    /// Downloads into a temporary file, and gives it its name when size and hash are right.
    fn blob(&self, path: &str, blob: &Path, told: &Told, subject: Subject<'_>) -> Result<(), HubError> {
        let mut input = self.client.bytes(path, subject)?;
        let mut file = beside(blob, 0o666, |builder, folder| builder.tempfile_in(folder))
            .map_err(io_error("write beside", blob))?;
        let (size, hash) = copy(&mut input, file.as_file_mut(), blob, subject)?;
        if told.size.is_some_and(|told| told != size) {
            return Err(subject.network(format!("{size} bytes came of {}", told.size.unwrap_or_default())));
        }
        if told.etag.len() == 64 && told.etag != hash {
            return Err(subject.bad_answer(format!("has the SHA-256 {hash}, but {} was told", told.etag)));
        }
        file.as_file().sync_all().map_err(io_error("sync", blob))?;
        file.persist(blob).map_err(|error| io_error("write", blob)(error.error))?;
        Ok(())
    }
}

/// Copies to the end; how many bytes there were, and their SHA-256.
fn copy(input: &mut impl Read, file: &mut File, blob: &Path, subject: Subject<'_>) -> Result<(u64, String), HubError> {
    let (mut size, mut hash) = (0, Sha256::new());
    let mut piece = vec![0; PIECE];
    loop {
        let count = match input.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            count => count.map_err(|error| subject.network(error))?,
        };
        if count == 0 {
            let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((size, hash));
        }
        hash.update(&piece[..count]);
        file.write_all(&piece[..count]).map_err(io_error("write", blob))?;
        size += count as u64;
    }
}

fn told(headers: &HeaderMap, subject: Subject<'_>) -> Result<Told, HubError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Of a file on another host, the hub tells the hash and size under names of their own.
    let etag = text("x-linked-etag").or_else(|| text("etag"));
    let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    let sound = |etag: &&str| {
        (1..=128).contains(&etag.len()) && etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let etag = etag.filter(sound).ok_or_else(|| subject.bad_answer("does not tell its hash (`ETag`)"))?;
    let linked = text("x-linked-size").or_else(|| text("x-linked-etag").is_none().then(|| text("content-length"))?);
    Ok(Told { etag: etag.into(), size: linked.and_then(|size| size.parse().ok()) })
}

/// Makes `link` stand for `blob`, by a relative path, so that the cache may be moved.
fn connect(blob: &Path, link: &Path, file: &str) -> io::Result<()> {
    let name = blob.file_name().unwrap_or_default();
    // snapshots/<commit>/<file>: two folders, and those of the file.
    let target = "../".repeat(2 + file.matches('/').count());
    let target = Path::new(&target).join("blobs").join(name);
    // A broken link of an earlier download.
    if link.is_symlink() {
        fs::remove_file(link)?;
    }
    match symlink(&target, link) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::copy(blob, link).map(drop),
        done => done,
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need a privilege elsewhere: the file is copied.
#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn make(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(io_error("make the folder", folder))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    move |source| HubError::Io { action, path: path.into(), source }
}

/// As Python's hub reads its variables.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}
