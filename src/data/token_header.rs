//! The first bytes of a file of tokens: what it is, what is in it, and the checksum of both.

/// Bytes of a header.
pub(super) const HEADER: usize = 112;
const MAGIC: &[u8; 8] = b"rekindle";
const KIND: &[u8; 8] = b"tokens\0\0";
/// Changes whenever the format does.
const VERSION: u64 = 1;

/// What a file says of itself. Numbers are little-endian, each of eight bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Bytes of a token: 2 or 4.
    pub(super) width: usize,
    pub(super) tokens: usize,
    /// Documents, whose ends stand after the tokens, counted in tokens.
    pub(super) documents: usize,
    pub(super) vocab_size: usize,
    /// Of the `tokenizer.json` that made the ids.
    pub(super) tokenizer: blake3::Hash,
    /// Of all that stands before it, and of the hash of what follows the header.
    pub(super) checksum: [u8; 24],
}

impl Header {
    /// What a token of a vocabulary takes.
    pub(super) fn width_for(vocab_size: usize) -> usize {
        if vocab_size <= 1 << 16 { 2 } else { 4 }
    }

    /// Reads a header, or says why it is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let (fields, checksum) = bytes.split_at_checked(HEADER - 24).ok_or("it is too short")?;
        if !fields.starts_with(MAGIC) || fields[8..16] != *KIND {
            return Err("it is no file of tokens; write one with `TokenFile::create`".into());
        }
        let number = |index: usize| {
            let bytes = fields[16 + 8 * index..].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        if number(0) != VERSION {
            return Err(format!("its version is {}, and {VERSION} is read; write it again", number(0)));
        }
        let [width, tokens, documents, vocab_size] = [1, 2, 3, 4].map(|index| number(index) as usize);
        let mut tokenizer = [0; 32];
        tokenizer.copy_from_slice(&fields[56..88]);
        let mut own = [0; 24];
        own.copy_from_slice(&checksum[..24]);
        if ![2, 4].contains(&width) {
            return Err(format!("its tokens are of {width} bytes, not of 2 or 4"));
        }
        Ok(Self { width, tokens, documents, vocab_size, tokenizer: tokenizer.into(), checksum: own })
    }

    /// The bytes of a file's start, given the hash of what follows.
    pub(super) fn write(&self, content: &blake3::Hash) -> Vec<u8> {
        let mut bytes = self.fields();
        bytes.extend(self.checksum(content));
        bytes
    }

    pub(super) fn checksum(&self, content: &blake3::Hash) -> [u8; 24] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.fields()).update(content.as_bytes());
        let mut checksum = [0; 24];
        checksum.copy_from_slice(&hasher.finalize().as_bytes()[..24]);
        checksum
    }

    /// Ids of the bytes of some tokens.
    pub(super) fn ids(&self, bytes: &[u8]) -> Vec<u32> {
        match self.width {
            2 => bytes.as_chunks().0.iter().map(|token| u32::from(u16::from_le_bytes(*token))).collect(),
            _ => bytes.as_chunks().0.iter().map(|token| u32::from_le_bytes(*token)).collect(),
        }
    }

    /// The bytes of some ids, each less than the vocabulary.
    pub(super) fn bytes(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|id| id.to_le_bytes().into_iter().take(self.width)).collect()
    }

    fn fields(&self) -> Vec<u8> {
        let numbers = [VERSION, self.width as u64, self.tokens as u64, self.documents as u64, self.vocab_size as u64];
        let mut bytes = [MAGIC.as_slice(), KIND].concat();
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(self.tokenizer.as_bytes());
        bytes
    }
}
