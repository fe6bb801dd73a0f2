//! Text examples from JSONL, CSV and TSV files, and lines from plain text files.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::DataError;
use super::json::{kind, object};
use super::quotes;

/// One text, with its label where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextExample {
    /// The text as it stands in the file.
    pub text: String,
    /// The name of its class.
    pub label: Option<String>,
}

/// The names of the columns (CSV) or keys (JSONL) to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The column of the text.
    pub text: String,
    /// The column of the label; `None` reads no labels.
    pub label: Option<String>,
}

impl Columns {
    /// Columns of these names.
    pub fn new(text: &str, label: Option<&str>) -> Self {
        Self { text: text.into(), label: label.map(Into::into) }
    }
}

impl Default for Columns {
    /// `text` and `label`.
    fn default() -> Self {
        Self::new("text", Some("label"))
    }
}

/// Reads examples in the format that the file's name says: `.jsonl` and `.json` (one object a line), `.csv`, or `.tsv`.
///
/// # Errors
/// [`DataError::UnknownFormat`] for another name; otherwise as [`read_jsonl`] and [`read_csv`].
pub fn read_text(path: impl AsRef<Path>, columns: &Columns) -> Result<Vec<TextExample>, DataError> {
    let rows = read_rows(path.as_ref(), [&columns.text], columns.label.as_deref())?;
    Ok(rows.into_iter().map(TextExample::from).collect())
}

/// Some texts of a row and its label.
pub(super) type Row<const N: usize> = ([String; N], Option<String>);

impl From<Row<1>> for TextExample {
    fn from(([text], label): Row<1>) -> Self {
        Self { text, label }
    }
}

/// Reads some columns of texts in the format that the file's name says.
pub(super) fn read_rows<const N: usize>(
    path: &Path,
    texts: [&str; N],
    label: Option<&str>,
) -> Result<Vec<Row<N>>, DataError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "jsonl" | "json" => read_objects(path, texts, label),
        "csv" => read_separated(path, texts, label, b','),
        "tsv" => read_separated(path, texts, label, b'\t'),
        _ => Err(DataError::UnknownFormat { path: path.to_owned() }),
    }
}

/// Reads one JSON object a line; blank lines are skipped. Labels may be strings, whole numbers or booleans.
///
/// # Errors
/// Errors name the file, the line and the column or key; a file without rows is [`DataError::Empty`].
pub fn read_jsonl(path: impl AsRef<Path>, columns: &Columns) -> Result<Vec<TextExample>, DataError> {
    let rows = read_objects(path.as_ref(), [&columns.text], columns.label.as_deref())?;
    Ok(rows.into_iter().map(TextExample::from).collect())
}

fn read_objects<const N: usize>(path: &Path, texts: [&str; N], label: Option<&str>) -> Result<Vec<Row<N>>, DataError> {
    let mut rows = Vec::new();
    for (line, text) in lines(path, &read_bytes(path)?)? {
        rows.push(json_row(At { path, line }, text, texts, label)?);
    }
    if rows.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(rows) }
}

/// Reads a comma-separated file whose first line names the columns (RFC 4180: fields may be quoted and hold line breaks).
///
/// # Errors
/// Errors name the file, the line and the column; a file without rows is [`DataError::Empty`].
pub fn read_csv(path: impl AsRef<Path>, columns: &Columns) -> Result<Vec<TextExample>, DataError> {
    let rows = read_separated(path.as_ref(), [&columns.text], columns.label.as_deref(), b',')?;
    Ok(rows.into_iter().map(TextExample::from).collect())
}

/// Reads a plain text file: its lines, trimmed, without the blank ones.
///
/// # Errors
/// [`DataError::BadLine`] for a line that is not UTF-8, [`DataError::Empty`] where no line is left.
pub fn read_lines(path: impl AsRef<Path>) -> Result<Vec<String>, DataError> {
    let path = path.as_ref();
    let bytes = read_bytes(path)?;
    let lines: Vec<String> = lines(path, &bytes)?.into_iter().map(|(_, line)| line.trim().to_owned()).collect();
    if lines.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(lines) }
}

/// A place in a file, for errors.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a Path,
    line: u64,
}

impl At<'_> {
    fn bad_line(self, column: usize, reason: impl Into<String>) -> DataError {
        DataError::BadLine { path: self.path.to_owned(), line: self.line, column, reason: reason.into() }
    }

    fn bad_value(self, column: &str, found: &'static str, expected: &'static str) -> DataError {
        DataError::BadValue { path: self.path.to_owned(), line: self.line, column: column.to_owned(), found, expected }
    }

    fn missing_column(self, column: &str, available: Vec<String>) -> DataError {
        DataError::MissingColumn { path: self.path.to_owned(), line: self.line, column: column.to_owned(), available }
    }

    fn missing_label(self, column: &str) -> DataError {
        DataError::MissingLabel { path: self.path.to_owned(), line: self.line, column: column.to_owned() }
    }
}

/// The bytes of a file, without a byte order mark. Those of other encodings say what the file is in.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let other = [(&b"\xFF\xFE"[..], "UTF-16"), (b"\xFE\xFF", "UTF-16"), (b"\x1F\x8B", "gzip"), (b"PK\x03\x04", "zip")];
    if let Some((_, form)) = other.into_iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err(DataError::NotText { path: path.to_owned(), form });
    }
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// The lines that are not blank, each with its number.
fn lines<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(u64, &'a str)>, DataError> {
    let mut lines = Vec::new();
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| At { path, line }.bad_line(error.valid_up_to() + 1, "not valid UTF-8"))?;
        if !text.trim().is_empty() {
            lines.push((line, text));
        }
    }
    Ok(lines)
}

fn json_row<const N: usize>(
    at: At<'_>,
    line: &str,
    texts: [&str; N],
    label: Option<&str>,
) -> Result<Row<N>, DataError> {
    let row = object(line).map_err(|(column, reason)| at.bad_line(column, reason))?;
    let mut values = texts.map(|_| String::new());
    for (column, value) in texts.into_iter().zip(&mut values) {
        match json_column(at, &row, column)? {
            Value::String(text) => value.clone_from(text),
            other => return Err(at.bad_value(column, kind(other), "a string")),
        }
    }
    let label = label.map(|name| json_label(at, json_column(at, &row, name)?, name)).transpose()?;
    Ok((values, label))
}

fn json_column<'a>(at: At<'_>, row: &'a Map<String, Value>, name: &str) -> Result<&'a Value, DataError> {
    row.get(name).ok_or_else(|| at.missing_column(name, row.keys().cloned().collect()))
}

fn json_label(at: At<'_>, value: &Value, column: &str) -> Result<String, DataError> {
    match value {
        Value::String(label) if !label.trim().is_empty() => Ok(label.clone()),
        Value::Bool(label) => Ok(label.to_string()),
        Value::Number(label) if label.is_i64() || label.is_u64() => Ok(label.to_string()),
        Value::Null | Value::String(_) => Err(at.missing_label(column)),
        other => Err(at.bad_value(column, kind(other), "a string, a whole number or a boolean")),
    }
}

fn read_separated<const N: usize>(
    path: &Path,
    texts: [&str; N],
    label: Option<&str>,
    separator: u8,
) -> Result<Vec<Row<N>>, DataError> {
    let bytes = read_bytes(path)?;
    quotes::check(&bytes, separator).map_err(|bad| {
        let line = 1 + bytes[..bad.byte].iter().filter(|byte| **byte == b'\n').count() as u64;
        At { path, line }.bad_line(bad.field, bad.reason)
    })?;
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(bytes.as_slice());
    let names = reader.headers().map_err(|error| csv_error(path, &bytes, &error))?.clone();
    let place = |column: &str| {
        let available = || names.iter().map(str::to_owned).collect();
        let mut found = names.iter().enumerate().filter(|(_, name)| *name == column).map(|(place, _)| place);
        let (first, second) = (found.next(), found.next());
        if let Some(second) = second {
            return Err(At { path, line: 1 }.bad_line(second + 1, format!("the heading has `{column}` twice")));
        }
        first.ok_or_else(|| At { path, line: 1 }.missing_column(column, available()))
    };
    if names.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    let mut places = [0; N];
    for (column, found) in texts.into_iter().zip(&mut places) {
        *found = place(column)?;
    }
    let label = label.map(|name| Ok((name, place(name)?))).transpose()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| csv_error(path, &bytes, &error))?;
        let label = match label.map(|(name, place)| (name, record.get(place).unwrap_or_default())) {
            Some((name, label)) if label.trim().is_empty() => {
                return Err(At { path, line: line_at(&bytes, record.position()) }.missing_label(name));
            }
            found => found.map(|(_, label)| label.to_owned()),
        };
        rows.push((places.map(|place| record.get(place).unwrap_or_default().to_owned()), label));
    }
    if rows.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(rows) }
}

/// The line on which a record starts. A position counts from before the line breaks and blank lines above its record, so
/// that its own line number is too small in files with CRLF.
fn line_at(bytes: &[u8], position: Option<&csv::Position>) -> u64 {
    let start = position.map_or(0, |position| position.byte() as usize).min(bytes.len());
    let breaks = bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    1 + bytes[..start + breaks].iter().filter(|byte| **byte == b'\n').count() as u64
}

fn csv_error(path: &Path, bytes: &[u8], error: &csv::Error) -> DataError {
    let at = At { path, line: line_at(bytes, error.position()) };
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let column = (*len).min(*expected_len) as usize + 1;
            at.bad_line(column, format!("{len} fields where the heading has {expected_len}"))
        }
        csv::ErrorKind::Utf8 { err, .. } => at.bad_line(err.field() + 1, "not valid UTF-8"),
        _ => at.bad_line(1, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn read(name: &str, content: &[u8]) -> Result<Vec<TextExample>, DataError> {
        let (_folder, path) = file(name, content);
        read_text(path, &Columns::default())
    }

    /// The message without the folder, which differs from run to run.
    fn message(name: &str, content: &[u8]) -> String {
        let text = read(name, content).unwrap_err().to_string();
        text.split(name).skip(1).collect::<Vec<_>>().join(name)
    }

    fn pairs(examples: &[TextExample]) -> Vec<(&str, &str)> {
        examples.iter().map(|example| (example.text.as_str(), example.label.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn jsonl_reads_every_kind_of_label() {
        let content = "\u{feff}{\"text\": \"a\", \"label\": \"x\"}\r\n\n  \n{\"label\": 3, \"text\": \"b\", \"more\": []}\n\
                       {\"text\": \"c\", \"label\": true}";
        for name in ["data.jsonl", "data.json", "data.JSONL"] {
            assert_eq!(pairs(&read(name, content.as_bytes()).unwrap()), [("a", "x"), ("b", "3"), ("c", "true")]);
        }
    }

    #[test]
    fn jsonl_errors_name_line_and_column() {
        let good = "{\"text\": \"a\", \"label\": \"x\"}\n\n";
        let case = |line: &str| message("d.jsonl", format!("{good}{line}\n").as_bytes());
        assert_eq!(case("{\"text\": 1, \"label\": 2}"), ":3: column `text` holds a whole number; it must be a string");
        assert_eq!(
            case("{\"text\": \"a\", \"label\": 0.5}"),
            ":3: column `label` holds a fraction; it must be a string, a whole number or a boolean"
        );
        assert!(case("{\"text\": \"a\", \"label\": null}").starts_with(":3: the label in column `label` is empty"));
        assert!(case("{\"text\": \"a\", \"label\": \"\"}").starts_with(":3: the label in column `label` is empty"));
        assert!(case("{\"text\": \"a\", \"y\": 1}").starts_with(":3: no column `label`; the columns are `text`, `y`"));
        assert!(case("{\"sentence\": \"a\"}").starts_with(":3: no column `text`; the columns are `sentence`"));
        assert!(
            case("{\"text\" \"a\"}").starts_with(":3:9: not valid JSON: expected `:`"),
            "{}",
            case("{\"text\" \"a\"}")
        );
        assert!(case("[").contains("rewritten as one object a line"));
        assert!(case("[1]").starts_with(":3:1: a list where one JSON object a line"));
        let bytes = [good.as_bytes(), b"{\"text\": \"\xff\"}\n"].concat();
        assert!(message("d.jsonl", &bytes).starts_with(":3:11: not valid UTF-8"), "{}", message("d.jsonl", &bytes));
    }

    #[test]
    fn labels_are_read_only_where_asked() {
        let (_folder, path) = file("d.jsonl", b"{\"body\": \"a\", \"label\": [1]}");
        let columns = Columns::new("body", None);
        assert_eq!(read_jsonl(&path, &columns).unwrap(), [TextExample { text: "a".into(), label: None }]);
        let (_folder, path) = file("d.csv", b"body\na\n");
        assert_eq!(read_csv(&path, &columns).unwrap(), [TextExample { text: "a".into(), label: None }]);
    }

    #[test]
    fn csv_and_tsv_read_quotes_and_line_breaks() {
        let csv = "\u{feff}label,text\r\nx,\"one, \"\"two\"\"\nthree\"\r\ny,four\r\n";
        assert_eq!(pairs(&read("d.csv", csv.as_bytes()).unwrap()), [("one, \"two\"\nthree", "x"), ("four", "y")]);
        assert_eq!(pairs(&read("d.tsv", b"text\tid\tlabel\na, b\t1\tx\n").unwrap()), [("a, b", "x")]);
    }

    #[test]
    fn csv_errors_name_line_and_column() {
        assert!(message("d.csv", b"text,label\na,x\nb\n").starts_with(":3:2: 1 fields where the heading has 2"));
        assert!(message("d.csv", b"text,label\r\n\r\na,x\r\nb\r\n").starts_with(":4:2: 1 fields"), "CRLF");
        assert!(message("d.csv", b"text,label\n\n\"a\n\",x\n\nb,\n").starts_with(":6: the label"), "blank lines");
        assert!(message("d.csv", b"text,label\r\na,x\r\nb,\r\n").starts_with(":3: the label"), "CRLF label");
        assert!(message("d.csv", b"text,label\na,\n").starts_with(":2: the label in column `label` is empty"));
        assert!(
            message("d.csv", b"text,klass\na,x\n")
                .starts_with(":1: no column `label`; the columns are `text`, `klass`")
        );
        assert!(message("d.csv", b"text,label\na,x\nb,\xff\n").starts_with(":3:2: not valid UTF-8"));
    }

    #[test]
    fn empty_and_unknown_files_are_errors() {
        for (name, content) in
            [("d.jsonl", "\n \n"), ("d.csv", ""), ("d.csv", "text,label\n"), ("d.tsv", "text\tlabel")]
        {
            assert!(matches!(read(name, content.as_bytes()), Err(DataError::Empty { .. })), "{name} {content:?}");
        }
        assert!(matches!(read("d.parquet", b"x"), Err(DataError::UnknownFormat { .. })));
        assert!(matches!(read_lines("/no/such/file"), Err(DataError::Io { .. })));
    }

    #[test]
    fn what_a_reader_would_lose_is_an_error() {
        let twice = message("d.jsonl", b"{\"text\": \"a\", \"label\": \"x\", \"text\": \"b\"}\n");
        assert!(twice.starts_with(":1:") && twice.contains("key `text` stands here twice"), "{twice}");
        let heading = message("d.csv", b"text,label,text\na,x,b\n");
        assert!(heading.starts_with(":1:3: the heading has `text` twice"), "{heading}");
        assert_eq!(
            pairs(&read("d.csv", b"id,text,label,id\n1,a,x,2\n").unwrap()),
            [("a", "x")],
            "not one that is read"
        );
        let open = message("d.csv", b"text,label\nb,y\na,\"x\nc,y\nd,y\n");
        assert!(open.starts_with(":3:2: a field begins with a quote"), "{open}");
        let behind = message("d.tsv", b"text\tlabel\n\"a\" he said\tx\n");
        assert!(behind.starts_with(":2:1: text follows the quote"), "{behind}");
        for label in ["\" \"", "\"\\t\""] {
            let blank = message("d.jsonl", format!("{{\"text\": \"a\", \"label\": {label}}}").as_bytes());
            assert!(blank.starts_with(":1: the label in column `label` is empty"), "{blank}");
        }
        assert!(message("d.csv", b"text,label\na, \n").starts_with(":2: the label in column `label` is empty"));
    }

    #[test]
    fn files_in_another_form_are_named() {
        for (content, form) in
            [(&b"\xff\xfet\0e\0"[..], "UTF-16"), (b"\xfe\xff\0t", "UTF-16"), (b"\x1f\x8b\x08", "gzip")]
        {
            for name in ["d.jsonl", "d.csv", "d.tsv"] {
                let error = read(name, content).unwrap_err();
                assert!(matches!(error, DataError::NotText { form: found, .. } if found == form), "{error}");
            }
        }
    }

    #[test]
    fn lines_are_trimmed() {
        let (_folder, path) = file("d.txt", "\u{feff} one \r\n\n\t\ntwo".as_bytes());
        assert_eq!(read_lines(&path).unwrap(), ["one", "two"]);
        let (_folder, path) = file("d.txt", b" \n");
        assert!(matches!(read_lines(&path), Err(DataError::Empty { .. })));
    }
}
