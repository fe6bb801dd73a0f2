//! [`fit`]: one training loop for pretraining and fine-tuning; [`evaluate`] measures.

mod cache;
mod config;
mod error;
mod evaluate;
mod event;
mod fit;
mod history;
mod lock;
mod monitor;
mod observer;
mod observers;
mod progress;
mod report;
mod run_error;
mod saved;
mod signal;
mod step;

pub use config::{Fit, Keep, SaveEvery};
pub use error::TrainError;
pub use evaluate::evaluate;
pub(crate) use evaluate::plain_device;
pub use event::{Event, StepInfo, StepSeconds};
pub use fit::{Data, fit};
use history::History;
pub(crate) use lock::is_run;
pub use monitor::Monitor;
pub use observer::{Control, Observer, ObserverError};
use observers::Observers;
pub use progress::ProgressLine;
pub use report::{Evaluation, Report, StopReason};
pub use run_error::RunError;
pub use signal::StopOnSignal;
