//! [`fit`]: one training loop for pretraining and fine-tuning; [`evaluate`] measures.

mod cache;
mod config;
mod error;
mod evaluate;
mod event;
mod fit;
mod history;
mod progress;
mod report;
mod step;

pub use config::{Fit, Keep, Monitor};
pub use error::TrainError;
pub use evaluate::evaluate;
pub(crate) use evaluate::plain_device;
pub use event::{Control, Event, Observer, StepInfo};
pub use fit::{Data, fit};
pub use history::History;
pub use progress::ProgressLine;
pub use report::{Evaluation, Report, StopReason};
