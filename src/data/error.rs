//! What can be wrong with data, told so that the reader knows which file, line and column to mend.

use std::path::{Path, PathBuf};

/// An error in a data file, in labels, or in a tokenizer. Lines and columns count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read or written.
    #[error("cannot access `{}`: {source}; check the path and its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file holds no row.
    #[error("`{}` holds no rows; give a file with at least one", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file name ends in something that no reader takes.
    #[error("cannot tell the format of `{}` from its name; use .jsonl, .json, .csv or .tsv", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A file that is no UTF-8 text.
    #[error("`{}` is {form}, not text in UTF-8; unpack it, or save it as UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What it is by its first bytes.
        form: &'static str,
    },
    /// A line is not in the format of the file.
    #[error("{}:{line}:{column}: {reason}; mend or remove this line", path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The byte of the line where reading stopped; for a CSV file the field.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A value has a type that its column cannot hold.
    #[error("{}:{line}: column `{column}` holds {found}; it must be {expected}", path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The column's name.
        column: String,
        /// What stands there.
        found: &'static str,
        /// What should stand there.
        expected: &'static str,
    },
    /// A named column does not exist.
    #[error(
        "{}:{line}: no column `{column}`; the columns are {}; name one of them in `Columns`",
        path.display(), quoted(available)
    )]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The line (1 for the heading of a CSV file).
        line: u64,
        /// The column that was asked for.
        column: String,
        /// The columns that exist, in file order.
        available: Vec<String>,
    },
    /// A row has an empty label.
    #[error(
        "{}:{line}: the label in column `{column}` is empty; fill it in, or set `Columns::label` to `None`",
        path.display()
    )]
    MissingLabel {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The label column.
        column: String,
    },
    /// An example without a label stands where one is needed.
    #[error("example {index} has no label; label it or leave it out")]
    NoLabel {
        /// The example's place, counted from 0.
        index: usize,
    },
    /// There are no examples at all.
    #[error("there are no examples; give at least one")]
    NoExamples,
    /// A sentence has not one tag a word.
    #[error("sentence {index} has {words} words and {tags} tags; give one tag a word")]
    TagCount {
        /// The sentence's place, counted from 0.
        index: usize,
        /// Its words.
        words: usize,
        /// Its tags.
        tags: usize,
    },
    /// An example with more or fewer targets or choices than there should be.
    #[error("example {index} has {found} targets or choices, each should have {expected}; mend it or leave it out")]
    TargetCount {
        /// The example's place, counted from 0.
        index: usize,
        /// What it has.
        found: usize,
        /// What each should have.
        expected: usize,
    },
    /// Pixels that do not fill an image.
    #[error(
        "image {index} has {found} pixel values; {channels} channels of {height} x {width} have {}",
        channels * height * width
    )]
    PixelCount {
        /// The image's place, counted from 0.
        index: usize,
        /// Its values.
        found: usize,
        /// Channels of every image.
        channels: usize,
        /// Height of every image.
        height: usize,
        /// Width of every image.
        width: usize,
    },
    /// A pixel that is infinite or NaN.
    #[error("image {index} holds {value} at place {place}; mend it or leave it out")]
    BadPixel {
        /// The image's place, counted from 0.
        index: usize,
        /// The place in its values, counted from 0.
        place: usize,
        /// The value.
        value: f32,
    },
    /// An answer that its question cannot have.
    #[error("{}question `{id}`: answer `{answer}`: {reason}; mend or remove this question", of_file(path.as_deref()))]
    BadAnswer {
        /// The file, where the question was read from one.
        path: Option<PathBuf>,
        /// The question.
        id: String,
        /// The answer.
        answer: String,
        /// What is wrong.
        reason: String,
    },
    /// Windows over a text that would not move on.
    #[error(
        "questions of up to {} tokens and windows that share {} leave nothing of the {room} tokens that a row of {} has for \
        texts; raise max_length, or lower max_question (at least 1) or stride",
        windows.max_question, windows.stride, windows.max_length
    )]
    BadWindows {
        /// What was asked for.
        windows: super::Windows,
        /// Tokens of a row beside the special ones.
        room: usize,
    },
    /// A label map would have one class only.
    #[error("`{label}` is the only label; a classifier needs at least two classes")]
    OneClass {
        /// The label.
        label: String,
    },
    /// A file that is no file of tokens, or not as it was written.
    #[error("`{}` cannot be read as tokens: {reason}", path.display())]
    BadTokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of tokens that another tokenizer made.
    #[error("`{}` was made with another tokenizer; give that one, or write the file again", path.display())]
    OtherTokenizer {
        /// The file.
        path: PathBuf,
    },
    /// A block beyond the end of its file.
    #[error("there are {tokens} tokens, and no {block:?}; take blocks from `TokenFile::blocks` of the same file")]
    NoBlock {
        /// The block.
        block: super::TokenBlock,
        /// Tokens of the file.
        tokens: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("token {id} is not one of the vocabulary's {vocab_size}; look ids up with `token_id`")]
    NoToken {
        /// The token.
        id: u32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// A document that no row has room for.
    #[error(
        "document {index} has {found} tokens, a row has {length}; cut documents to {length} tokens, or make rows longer"
    )]
    DocumentTooLong {
        /// The document's place, counted from 0.
        index: usize,
        /// Its tokens.
        found: usize,
        /// Tokens of a row.
        length: usize,
    },
    /// Rows of several documents for a network that reads one text a row.
    #[error("an encoder-decoder reads one text a row, and these rows are packed; do not pack them")]
    Packed,
    /// A batch in which no token has one before it.
    #[error(
        "none of the {rows} rows of a batch has a token to predict; leave out documents of one token, or prompts without an answer"
    )]
    NothingToPredict {
        /// Rows of the batch.
        rows: usize,
    },
    /// A list of label names holds a name twice.
    #[error("label `{label}` is listed twice; list each label once")]
    DuplicateLabel {
        /// The label.
        label: String,
    },
    /// A head has another number of classes than there are labels.
    #[error("there are {labels} labels, but the head has {classes} classes; make it with `labels.len()` classes")]
    ClassCount {
        /// Labels of the map.
        labels: usize,
        /// Classes of the head.
        classes: usize,
    },
    /// A label is not in the label map.
    #[error("unknown label `{label}`; the nearest of the {known} known labels is `{nearest}`")]
    UnknownLabel {
        /// The label that was asked for.
        label: String,
        /// The known label with the smallest edit distance.
        nearest: String,
        /// How many labels are known.
        known: usize,
    },
    /// A validation share leaves nothing to train on, or nothing to validate on.
    #[error("a validation share of {share} is outside 0..1; 0.1 sets every tenth example aside")]
    BadShare {
        /// The share.
        share: f64,
    },
    /// No class has two examples, so that one side of a split would be empty.
    #[error("{examples} examples of {classes} classes cannot be split; at least one class needs two examples")]
    TooFewToSplit {
        /// How many examples there are.
        examples: usize,
        /// How many classes they have.
        classes: usize,
    },
    /// A class has fewer examples than a sample asks for.
    #[error("label `{label}` has {found} examples, {wanted} were asked for; ask for at most {found} per class")]
    TooFewToSample {
        /// The class.
        label: String,
        /// How many examples it has.
        found: usize,
        /// How many were asked for.
        wanted: usize,
    },
    /// A folder has no tokenizer file.
    #[error("`{}` holds neither tokenizer.json nor vocab.txt; download one of them with the model", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
    },
    /// A tokenizer cannot be built, read or written.
    #[error("tokenizer {origin}: {reason}")]
    Tokenizer {
        /// The file it came from, or what it was doing.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// A tokenizer lacks a special token.
    #[error("the tokenizer has no {kind} token; add one (usually `{usual}`) to it or to special_tokens_map.json")]
    NoSpecialToken {
        /// What it is for.
        kind: &'static str,
        /// Its usual name.
        usual: &'static str,
    },
    /// An input that a teacher cannot read.
    #[error("the teacher: {source}")]
    Teacher {
        /// Why.
        source: crate::backbone::InputError,
    },
    /// A teacher that computes a NaN or an infinity.
    #[error(
        "the teacher's logits for example {index} are not finite; load its weights anew, or leave this example out"
    )]
    TeacherNotFinite {
        /// The example.
        index: usize,
    },
    /// Examples of a batch whose teachers differ.
    #[error("example {index} has {found} logits of a teacher, others of its batch {classes}; ask one teacher for all")]
    Teachers {
        /// The example.
        index: usize,
        /// Its logits.
        found: usize,
        /// Logits of the first example.
        classes: usize,
    },
    /// A masking probability that is none.
    #[error("a masking probability of {probability} is outside 0..=1 or 0; 0.15 is usual")]
    BadMasking {
        /// The probability.
        probability: f64,
    },
    /// A batch holds special tokens only.
    #[error("none of the {rows} rows of a batch has a token that could be masked; leave empty texts out")]
    NothingToMask {
        /// Rows of the batch.
        rows: usize,
    },
    /// A length limit has no room for a text beside the special tokens.
    #[error("a maximum length of {max_length} leaves no room beside {special} special tokens; use at least {}", special + 1)]
    NoRoom {
        /// The limit, in tokens.
        max_length: usize,
        /// How many special tokens each row gets.
        special: usize,
    },
    /// A corpus has no word that a vocabulary could be learned from.
    #[error("the corpus holds no words; give lines of text")]
    NoWords,
    /// A vocabulary cannot hold the special tokens and the characters of the corpus.
    #[error("a vocabulary of {vocab_size} tokens is too small; the characters of this corpus alone need {needed}")]
    VocabularyTooSmall {
        /// The size that was asked for.
        vocab_size: usize,
        /// The smallest size that works.
        needed: usize,
    },
}

/// How an error in a file begins.
fn of_file(path: Option<&Path>) -> String {
    path.map_or(String::new(), |path| format!("{}: ", path.display()))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
