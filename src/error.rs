//! [`Error`]: every module's error, for those who handle them in one place.

use crate::backbone::InputError;
use crate::cache::CacheError;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::hub::HubError;
use crate::data::DataError;
use crate::device::DeviceError;
use crate::loss::LossError;
use crate::metric::MetricError;
use crate::params::{FreezeError, InventoryError, SelectorError};
use crate::plot::PlotError;
use crate::train::TrainError;
use thiserror::Error;

/// What can go wrong, by module; [`source`](std::error::Error::source) and `Display` pass through.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Choosing a device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Reading or encoding data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An input that a backbone cannot read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Choosing a loss.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// Listing a model's parameters.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Deciding what trains.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// Reading a selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Keeping what frozen stages make.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Loading or saving.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Finding or downloading a model by its name.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Measuring.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// Drawing a picture.
    #[error(transparent)]
    Plot(#[from] PlotError),
}
