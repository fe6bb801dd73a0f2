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
mod observe;
mod observer;
mod observers;
mod planning;
mod probe;
mod progress;
mod regularisation;
mod report;
mod run_error;
mod saved;
mod signal;
mod start;
mod step;

pub use config::{Fit, Keep, SaveEvery};
pub use error::TrainError;
pub(crate) use evaluate::plain_device;
pub use evaluate::{Evaluate, evaluate, evaluate_cached};
pub use event::{Event, StepInfo, StepSeconds};
pub use fit::{Data, fit};
use history::History;
pub(crate) use lock::is_run;
pub use monitor::Monitor;
#[cfg(feature = "tui")]
pub use observe::Dashboard;
pub use observe::{
    CsvLog, Energy, EnergyError, EnergyEstimate, GRAMS_PER_KWH, Plots, Speed, TensorBoard, Throughput, WATTS_PER_CORE,
};
pub use observer::{Control, Observer, ObserverError};
use observers::Observers;
pub use probe::{first_plan, relative_gradients};
pub use progress::ProgressLine;
pub use regularisation::{L2Sp, Regularisation};
pub use report::{Evaluation, Report, StopReason};
pub use run_error::RunError;
pub use signal::StopOnSignal;
