use std::path::{Path, PathBuf};

use super::token_header::{HEADER, Header};
use super::{DataError, TextTokenizer, TokenRow};
use crate::checkpoint::{CheckpointError, MappedFile};

/// Bytes that are hashed at a time.
const CHUNK: usize = 8 << 20;
/// Bytes of the end of a document.
const END: usize = 8;

/// The token ids of a text on disk, for corpora that are larger than memory: nanoGPT's `train.bin`, which says what it is.
/// [`create`](Self::create) writes one.
///
/// Only the part that is asked for is mapped, and leaves memory with the rows that are made of it. A header tells the format,
/// the vocabulary and the tokenizer; a checksum tells a file that is not as it was written. Nobody may write into the file
/// while it is open (replacing it is safe).
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    file: MappedFile,
    header: Header,
}

/// A run of tokens of a [`TokenFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenBlock {
    /// Its first token, counted through the file.
    pub start: usize,
    /// How many tokens it has.
    pub length: usize,
}

impl TokenFile {
    /// Opens a file and reads all of it once, to compare it with its checksum.
    ///
    /// # Errors
    /// [`DataError::BadTokenFile`] for a file of another kind or version, or one that is not as it was written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let file = MappedFile::open(path).map_err(|error| unread(path, error))?;
        let bad = |reason: String| DataError::BadTokenFile { path: path.to_owned(), reason };
        if file.len() < HEADER {
            return Err(bad(format!("it has {} bytes, a header has {HEADER}", file.len())));
        }
        let start = file.range(0..HEADER).map_err(|error| unread(path, error))?;
        let header = Header::read(&start).map_err(bad)?;
        let expected = header.tokens.checked_mul(header.width).and_then(|tokens| {
            header.documents.checked_mul(END).and_then(|ends| tokens.checked_add(ends)?.checked_add(HEADER))
        });
        if expected != Some(file.len()) {
            return Err(bad(format!("it has {} bytes, which is not what its header says", file.len())));
        }
        let mut content = blake3::Hasher::new();
        for start in (HEADER..file.len()).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(file.len());
            content.update(&file.range(range).map_err(|error| unread(path, error))?);
        }
        if header.checksum(&content.finalize()) != header.checksum {
            return Err(bad("its checksum is another".into()));
        }
        Ok(Self { path: path.to_owned(), file, header })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.header.tokens
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.header.documents
    }

    /// One more than the largest id that the tokenizer could give: the rows that an embedding table needs.
    pub fn vocab_size(&self) -> usize {
        self.header.vocab_size
    }

    /// A number that changes with any byte of the file.
    pub fn fingerprint(&self) -> u64 {
        self.header.checksum[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Says whether this tokenizer made the file.
    ///
    /// # Errors
    /// [`DataError::OtherTokenizer`].
    pub fn check(&self, tokenizer: &TextTokenizer) -> Result<(), DataError> {
        let same = blake3::hash(tokenizer.to_json()?.as_bytes()) == self.header.tokenizer;
        if same { Ok(()) } else { Err(DataError::OtherTokenizer { path: self.path.clone() }) }
    }

    /// The whole file in blocks of `length` tokens, one after the other. The last one may be shorter; one of a single token
    /// is left out, for nothing is to be predicted in it.
    pub fn blocks(&self, length: usize) -> Vec<TokenBlock> {
        let starts = (0..self.len()).step_by(length.max(1));
        let block = |start| TokenBlock { start, length: length.min(self.len() - start) };
        starts.map(block).filter(|block| block.length > 1 || length == 1).collect()
    }

    /// The ids of a block.
    ///
    /// # Errors
    /// [`DataError::NoBlock`] for one that is not in the file, [`DataError::BadTokenFile`] if the file was cut since.
    pub fn ids(&self, block: TokenBlock) -> Result<Vec<u32>, DataError> {
        let end = block.start.checked_add(block.length).filter(|end| *end <= self.len());
        let end = end.ok_or(DataError::NoBlock { block, tokens: self.len() })?;
        let width = self.header.width;
        let range = HEADER + block.start * width..HEADER + end * width;
        let bytes = self.file.range(range).map_err(|error| unread(&self.path, error))?;
        Ok(self.header.ids(&bytes))
    }

    /// The documents of a block, those at its ends cut there.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn rows(&self, block: TokenBlock) -> Result<Vec<TokenRow>, DataError> {
        let ids = self.ids(block)?;
        let (mut rows, mut from) = (vec![], 0);
        for end in self.ends_after(block.start)? {
            let to = (end - block.start).min(ids.len());
            if to > from {
                rows.push(TokenRow { ids: ids[from..to].to_vec(), ..TokenRow::default() });
            }
            from = to;
            if from == ids.len() {
                break;
            }
        }
        Ok(rows)
    }

    /// Where the documents end that end after this token, in order, read as they are asked for.
    fn ends_after(&self, token: usize) -> Result<impl Iterator<Item = usize>, DataError> {
        let start = HEADER + self.len() * self.header.width;
        let ends = self.file.untouched().map_err(|error| unread(&self.path, error))?;
        let end = move |index: usize| {
            let bytes = ends[start + index * END..].first_chunk::<END>().copied().unwrap_or_default();
            u64::from_le_bytes(bytes) as usize
        };
        let (mut low, mut high) = (0, self.documents());
        while low < high {
            let middle = (low + high) / 2;
            if end(middle) <= token { low = middle + 1 } else { high = middle }
        }
        Ok((low..self.documents()).map(end))
    }
}

/// What went wrong with a file of tokens.
fn unread(path: &Path, error: CheckpointError) -> DataError {
    match error {
        CheckpointError::Io { source, .. } => DataError::Io { path: path.to_owned(), source },
        other => DataError::BadTokenFile { path: path.to_owned(), reason: other.to_string() },
    }
}
