//! Observers that come with the crate, beside [`ProgressLine`](super::ProgressLine) and
//! [`StopOnSignal`](super::StopOnSignal).

mod csv_log;
mod event_file;
mod tensor_board;
mod throughput;

pub use csv_log::CsvLog;
pub use tensor_board::TensorBoard;
pub use throughput::{Speed, Throughput};

use super::ObserverError;
use std::io;
use std::path::Path;

/// What is said when a file of an observer cannot be read or written.
fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> ObserverError {
    move |source| format!("cannot write `{}`: {source}; check the path and the space left", path.display()).into()
}
