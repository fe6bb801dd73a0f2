//! [`fit`]: one training loop for pretraining and fine-tuning; [`evaluate`] measures.

mod cache;
mod config;
mod error;
mod evaluate;
mod event;
mod fit;
mod history;
mod lock;
mod progress;
mod report;
mod run_error;
mod saved;
mod signal;
mod step;

pub use config::{Fit, Keep, Monitor, SaveEvery};
pub use error::TrainError;
pub(crate) use evaluate::plain_device;
pub use evaluate::{Evaluate, evaluate, evaluate_cached};
pub use event::{Control, Event, Observer, StepInfo};
pub use fit::{Data, fit};
use history::History;
pub use progress::ProgressLine;
pub use report::{Evaluation, Report, StopReason};
pub use run_error::RunError;
pub use signal::StopOnSignal;
