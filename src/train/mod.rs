//! [`fit`]: one training loop for pretraining and fine-tuning; [`evaluate`] measures.

mod batch_size;
mod cache;
mod calendar;
mod check;
mod config;
mod data;
mod error;
mod evaluate;
mod event;
mod fit;
mod forecast;
mod history;
mod identity;
mod lock;
mod lr_finder;
mod monitor;
mod observe;
mod observer;
mod observers;
mod pass;
mod planning;
mod prefetch;
mod probe;
mod process;
mod progress;
mod regularisation;
mod report;
mod run_error;
mod saved;
mod saving;
mod series;
mod signal;
mod start;
mod step;

pub use batch_size::{BatchChoice, batch_size_for};
pub use config::{Fit, Keep, SaveEvery};
pub use data::Data;
pub use error::TrainError;
pub(crate) use evaluate::plain_device;
pub use evaluate::{Evaluate, evaluate, evaluate_cached};
pub use event::{Event, StepInfo, StepSeconds};
pub use fit::fit;
use forecast::bytes;
pub use forecast::{
    BatchForecast, ClassBalance, Copies, DataForecast, Forecast, MemoryForecast, OperationForecast, SetForecast,
    TimeForecast, copies_between, forecast,
};
use history::History;
pub(crate) use lock::is_run;
pub use lr_finder::{LrCurve, LrFinder, LrPoint, LrStop};
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
