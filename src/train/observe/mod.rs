//! Observers that come with the crate, beside [`ProgressLine`](super::ProgressLine) and
//! [`StopOnSignal`](super::StopOnSignal).

mod csv_log;
mod curves;
#[cfg(feature = "tui")]
mod dashboard;
mod energy;
mod event_file;
mod plots;
mod tensor_board;
mod throughput;

pub use csv_log::CsvLog;
#[cfg(feature = "tui")]
pub use dashboard::Dashboard;
pub use energy::{Energy, EnergyError, EnergyEstimate, GRAMS_PER_KWH, WATTS_PER_CORE};
pub use plots::Plots;
pub use tensor_board::TensorBoard;
pub use throughput::{Speed, Throughput};

use super::ObserverError;
use std::io;
use std::path::Path;

/// What is said when a file of an observer cannot be read or written.
fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> ObserverError {
    move |source| format!("cannot write `{}`: {source}; check the path and the space left", path.display()).into()
}
