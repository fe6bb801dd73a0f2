//! Sentences with a tag a word, from column files and JSON lines.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DataError;
use super::json::object;
use super::text::read_bytes;

/// A sentence in words, with a tag a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedExample {
    /// The words.
    pub tokens: Vec<String>,
    /// One tag a word, such as `O`, `B-PER`, `I-PER`.
    pub tags: Vec<String>,
}

/// Reads a column file as the CoNLL shared tasks have them: a word a line, its columns apart by tabs or spaces, the word
/// first and the tag last; a blank line ends a sentence. Lines of `-DOCSTART-` are left out.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::BadLine`] for a line without a tag, that has more or fewer columns than the first one
/// (its last column would be taken for a tag), or that is not UTF-8; [`DataError::Empty`].
pub fn read_conll(path: impl AsRef<Path>) -> Result<Vec<TaggedExample>, DataError> {
    let path = path.as_ref();
    let mut width = None;
    let (mut examples, mut open) = (vec![], TaggedExample { tokens: vec![], tags: vec![] });
    for (line, text) in lines(path)? {
        let columns = columns(&text);
        if columns.is_empty() || columns[0] == "-DOCSTART-" {
            if !open.tokens.is_empty() {
                examples.push(std::mem::replace(&mut open, TaggedExample { tokens: vec![], tags: vec![] }));
            }
            continue;
        }
        let (word, tag) = match columns[..] {
            [word, .., tag] if !word.is_empty() && !tag.is_empty() => (word, tag),
            _ => return Err(bad_line(path, line, 1, "a word and a tag are expected")),
        };
        let (found, (first, expected)) = (columns.len(), *width.get_or_insert((line, columns.len())));
        if found != expected {
            let reason = format!("{found} columns where line {first} has {expected}");
            return Err(bad_line(path, line, 1, reason));
        }
        open.tokens.push(word.to_owned());
        open.tags.push(tag.to_owned());
    }
    if !open.tokens.is_empty() {
        examples.push(open);
    }
    if examples.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(examples) }
}

/// The columns of a line, none of a blank one. Of white space, tabs and spaces part columns; the others may be in words.
fn columns(line: &str) -> Vec<&str> {
    let blank = |letter: char| letter.is_ascii_whitespace();
    match line.trim_end_matches(blank) {
        "" => vec![],
        line if line.contains('\t') => line.split('\t').map(|column| column.trim_matches(blank)).collect(),
        line => line.split_ascii_whitespace().collect(),
    }
}

/// Reads one JSON object a line, whose lists `tokens` and `tags` hold words and tags under these keys; blank lines are
/// skipped. Tags may be strings or whole numbers.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::BadLine`] for a line that is not such an object, or whose lists differ in length or are
/// empty; [`DataError::Empty`].
pub fn read_tagged(path: impl AsRef<Path>, tokens: &str, tags: &str) -> Result<Vec<TaggedExample>, DataError> {
    let path = path.as_ref();
    let mut examples = vec![];
    for (line, text) in lines(path)?.into_iter().filter(|(_, text)| !text.trim().is_empty()) {
        let bad = |column, reason: String| bad_line(path, line, column, reason);
        let row = object(&text).map_err(|(column, reason)| bad(column, reason))?;
        let list = |key: &str, item: fn(&Value) -> Option<String>, of: &str| -> Result<Vec<String>, DataError> {
            let value = row.get(key).ok_or_else(|| DataError::MissingColumn {
                path: path.to_owned(),
                line,
                column: key.to_owned(),
                available: row.keys().cloned().collect(),
            })?;
            let items = value.as_array().and_then(|items| items.iter().map(item).collect());
            items.ok_or_else(|| bad(1, format!("`{key}` must be a list of {of}")))
        };
        let tokens = list(tokens, word, "strings")?;
        let example = TaggedExample { tokens, tags: list(tags, tag, "strings or whole numbers")? };
        let (words, count) = (example.tokens.len(), example.tags.len());
        if words != count || words == 0 {
            return Err(bad(1, format!("{words} words have {count} tags; give one tag for each of at least one word")));
        }
        examples.push(example);
    }
    if examples.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(examples) }
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(Into::into)
}

/// A tag; whole numbers are names of their own, as labels are.
fn tag(value: &Value) -> Option<String> {
    match value {
        Value::String(tag) if !tag.trim().is_empty() => Some(tag.clone()),
        Value::Number(tag) if tag.is_i64() || tag.is_u64() => Some(tag.to_string()),
        _ => None,
    }
}

/// All lines with their numbers, without a byte order mark and carriage returns.
fn lines(path: &Path) -> Result<Vec<(u64, String)>, DataError> {
    let bytes = read_bytes(path)?;
    let line = |(number, line): (u64, &[u8])| {
        let text = std::str::from_utf8(line);
        let text = text.map_err(|error| bad_line(path, number, error.valid_up_to() + 1, "not valid UTF-8"))?;
        Ok((number, text.trim_end_matches('\r').to_owned()))
    };
    (1..).zip(bytes.split(|byte| *byte == b'\n')).map(line).collect()
}

fn bad_line(path: &Path, line: u64, column: usize, reason: impl Into<String>) -> DataError {
    DataError::BadLine { path: path.to_owned(), line, column, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn words(example: &TaggedExample) -> String {
        let pairs = example.tokens.iter().zip(&example.tags);
        pairs.map(|(word, tag)| format!("{word}/{tag}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn column_files_are_read_with_tabs_or_spaces() {
        let (_folder, path) = file(
            "\u{feff}-DOCSTART- -X- O O\r\n\r\nEU NNP B-ORG\r\nrejects VBZ O\r\n \r\n\r\nNew York\tNNP\tB-LOC\r\nnow\t\tO",
        );
        let read: Vec<String> = read_conll(path).unwrap().iter().map(words).collect();
        assert_eq!(read, ["EU/B-ORG rejects/O", "New York/B-LOC now/O"]);
    }

    #[test]
    fn spaces_of_other_scripts_stay_in_words() {
        let (_folder, path) = file("10\u{a0}000 O\n\u{3000}\u{b7} O\n");
        assert_eq!(words(&read_conll(path).unwrap()[0]), "10\u{a0}000/O \u{3000}\u{b7}/O");
        let (_folder, path) = file("\u{a0}\tO\n");
        assert_eq!(read_conll(path).unwrap()[0].tokens, ["\u{a0}"]);
    }

    #[test]
    fn lines_of_column_files_that_are_none_are_named() {
        let cases =
            [("EU O\nrejects\n", 2), ("EU\t\n", 1), ("\tO\n", 1), ("a X O\nb O\n", 2), ("EU NNP O\n\n# id 7 en\n", 3)];
        for (content, line) in cases {
            let (_folder, path) = file(content);
            match read_conll(&path) {
                Err(DataError::BadLine { line: found, .. }) => assert_eq!(found, line, "{content:?}"),
                other => panic!("{content:?}: {other:?}"),
            }
        }
        let (_folder, path) = file("\n-DOCSTART- O\n\n");
        assert!(matches!(read_conll(path), Err(DataError::Empty { .. })));
        assert!(matches!(read_conll("no/such/file"), Err(DataError::Io { .. })));
    }

    #[test]
    fn json_lines_hold_two_lists() {
        let (_folder, path) = file("{\"words\": [\"a\", \"b\"], \"ner\": [\"O\", \"B-X\"]}\n\n");
        assert_eq!(words(&read_tagged(&path, "words", "ner").unwrap()[0]), "a/O b/B-X");
        let (_folder, numbered) = file("{\"words\": [\"a\", \"b\"], \"ner\": [0, 12]}\n");
        assert_eq!(words(&read_tagged(numbered, "words", "ner").unwrap()[0]), "a/0 b/12");
        let missing = read_tagged(&path, "words", "tags");
        assert!(matches!(missing, Err(DataError::MissingColumn { line: 1, .. })), "{missing:?}");
        for content in [
            "[]",
            "{\"t\": [\"a\"], \"n\": [null]}",
            "{\"t\": [\"a\"], \"n\": [\" \"]}",
            "{\"t\": [\"a\"], \"n\": []}",
            "{\"t\": [], \"n\": []}",
            "{\"t\": [1], \"n\": [\"O\"]}",
            "{",
        ] {
            let (_folder, path) = file(content);
            let read = read_tagged(&path, "t", "n");
            assert!(matches!(read, Err(DataError::BadLine { line: 1, .. })), "{content}: {read:?}");
        }
    }
}
