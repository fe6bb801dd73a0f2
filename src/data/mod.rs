//! Files to examples, examples to token ids, and the seeded order in which batches visit them. No tensor appears here.
//!
//! The way through: [`read_text`] reads a file, [`Labels`] numbers the classes, [`stratified_split`] sets rows aside,
//! [`TextTokenizer`] makes token ids, [`BatchOrder`] says which rows make a batch, and [`pad_rows`] pads those rows.

mod bert;
mod collate;
mod error;
mod esm;
mod json;
mod labels;
mod order;
mod packing;
mod pair;
mod quotes;
mod special;
mod split;
mod squad;
mod tagged;
mod text;
mod token_file;
mod token_header;
mod token_row;
mod token_writer;
mod tokenize;
mod tokenizer_files;
mod windows;
mod wordpiece;

pub use collate::{PaddedRows, pad_documents, pad_rows};
pub use error::DataError;
pub use labels::{Labelled, Labels};
pub use order::{BatchLimit, BatchOrder};
pub use packing::{PackedRow, pack};
pub use pair::{PairColumns, PairExample, read_pairs};
pub use split::{sample_per_class, stratified_split};
pub use squad::{ContextAnswer, QuestionExample, read_squad};
pub use tagged::{TaggedExample, read_conll, read_tagged};
pub use text::{Columns, TextExample, read_csv, read_jsonl, read_lines, read_text};
pub use token_file::{TokenBlock, TokenFile};
pub use token_row::{Encodings, TokenRow};
pub use token_writer::DocumentEnd;
pub use tokenize::TextTokenizer;
pub use windows::{QuestionWindows, WindowRow, Windows};
pub use wordpiece::train_wordpiece;
