//! How a text becomes a [`TokenFile`], a few documents in memory at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::token_header::{HEADER, Header};
use super::{DataError, TextTokenizer, TokenFile};
use crate::file::{BUFFER, beside, parent, sync_folder};

/// Documents that are tokenised at a time, on all threads.
const BATCH: usize = 1024;

/// Where a document ends in a text file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentEnd {
    /// At the end of each line; blank lines are skipped.
    #[default]
    Line,
    /// At a line that is blank; the document keeps its other line breaks.
    BlankLine,
}

impl TokenFile {
    /// Tokenises the text file `text` and writes the ids to `path`, whole or not at all. One batch of documents is in memory
    /// at a time. The frame that the tokenizer puts around texts is kept; `end`, if any, follows each document
    /// (GPT-2's `<|endoftext|>`, [`TextTokenizer::token_id`]).
    ///
    /// # Errors
    /// [`DataError::BadLine`] for a line that is not UTF-8, [`DataError::Empty`] for a text without a token,
    /// [`DataError::NoToken`] for an `end` outside the vocabulary, [`DataError::Io`], [`DataError::Tokenizer`].
    pub fn create(
        path: impl AsRef<Path>,
        text: impl AsRef<Path>,
        tokenizer: &TextTokenizer,
        by: DocumentEnd,
        end: Option<u32>,
    ) -> Result<Self, DataError> {
        let (path, text) = (path.as_ref(), text.as_ref());
        let vocab_size = tokenizer.vocab_size();
        if let Some(id) = end.filter(|id| *id as usize >= vocab_size) {
            return Err(DataError::NoToken { id, vocab_size });
        }
        let unwritten = |source| DataError::Io { path: path.to_owned(), source };
        let header = Header {
            width: Header::width_for(vocab_size),
            tokens: 0,
            documents: 0,
            vocab_size,
            tokenizer: blake3::hash(tokenizer.to_json()?.as_bytes()),
            checksum: [0; 24],
        };
        let temporary = beside(path, 0o666, |builder, folder| builder.tempfile_in(folder)).map_err(unwritten)?;
        let mut writer = Writer::new(header, temporary.as_file()).map_err(unwritten)?;
        let mut documents = Documents::open(text, by)?;
        loop {
            let batch = documents.take(BATCH)?;
            if batch.is_empty() {
                break;
            }
            for row in tokenizer.encode(&batch, usize::MAX)?.rows {
                writer.put(&row.ids, end).map_err(unwritten)?;
            }
        }
        if writer.header.tokens == 0 {
            return Err(DataError::Empty { path: text.to_owned() });
        }
        writer.finish().map_err(unwritten)?;
        temporary.persist(path).map_err(|error| unwritten(error.error))?;
        sync_folder(parent(path)).map_err(unwritten)?;
        Self::open(path)
    }
}

/// Writes tokens, then the ends of documents, and then the header before them.
struct Writer<'a> {
    header: Header,
    file: BufWriter<&'a File>,
    content: blake3::Hasher,
    /// Ends of documents, which stand after all tokens.
    ends: BufWriter<File>,
}

impl<'a> Writer<'a> {
    fn new(header: Header, file: &'a File) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(BUFFER, file);
        file.write_all(&[0; HEADER])?;
        let ends = BufWriter::new(tempfile::tempfile()?);
        Ok(Self { header, file, content: blake3::Hasher::new(), ends })
    }

    fn put(&mut self, ids: &[u32], end: Option<u32>) -> io::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        for ids in [ids, end.as_slice()] {
            let bytes = self.header.bytes(ids);
            self.content.update(&bytes);
            self.file.write_all(&bytes)?;
            self.header.tokens += ids.len();
        }
        self.header.documents += 1;
        self.ends.write_all(&(self.header.tokens as u64).to_le_bytes())
    }

    fn finish(mut self) -> io::Result<()> {
        let mut ends = self.ends.into_inner().map_err(io::IntoInnerError::into_error)?;
        ends.seek(SeekFrom::Start(0))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = ends.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.content.update(&buffer[..count]);
            self.file.write_all(&buffer[..count])?;
        }
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.header.write(&self.content.finalize()))?;
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

/// The documents of a text file, one after the other.
struct Documents<'a> {
    path: &'a Path,
    file: BufReader<File>,
    by: DocumentEnd,
    line: u64,
}

impl<'a> Documents<'a> {
    fn open(path: &'a Path, by: DocumentEnd) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        Ok(Self { path, file: BufReader::with_capacity(BUFFER, file), by, line: 0 })
    }

    /// Up to `count` documents; none at the end of the file.
    fn take(&mut self, count: usize) -> Result<Vec<String>, DataError> {
        let mut documents = vec![];
        while documents.len() < count {
            let Some(document) = self.next()? else { break };
            documents.push(document);
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<Option<String>, DataError> {
        let mut document = String::new();
        while let Some(line) = self.line()? {
            let blank = line.trim().is_empty();
            match self.by {
                DocumentEnd::Line if !blank => return Ok(Some(line.trim().to_owned())),
                DocumentEnd::BlankLine if !blank => document += &line,
                DocumentEnd::BlankLine if !document.is_empty() => break,
                _ => {}
            }
        }
        document.truncate(document.trim_end().len());
        Ok(Some(document).filter(|document| !document.is_empty()))
    }

    /// The next line with its break.
    fn line(&mut self) -> Result<Option<String>, DataError> {
        let mut bytes = vec![];
        let read = self.file.read_until(b'\n', &mut bytes);
        let count = read.map_err(|source| DataError::Io { path: self.path.to_owned(), source })?;
        self.line += 1;
        if count == 0 {
            return Ok(None);
        }
        // A byte-order mark is no part of the text.
        let start = if self.line == 1 && bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        String::from_utf8(bytes.split_off(start)).map(Some).map_err(|error| DataError::BadLine {
            path: self.path.to_owned(),
            line: self.line,
            column: error.utf8_error().valid_up_to() + 1,
            reason: "it is not UTF-8".into(),
        })
    }
}
