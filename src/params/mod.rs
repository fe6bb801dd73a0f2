//! Which parameters train: [`Inventory`] lists them, a [`Selector`] names some, a [`FreezePolicy`] decides, and a
//! [`TrainPlan`] is the decision, printed and checked before anything is applied.

mod apply;
mod change;
mod contract;
mod flow;
mod freeze;
mod freeze_error;
mod freeze_text;
mod inventory;
mod on_signal;
mod phase;
mod plan;
mod policy;
mod relative;
mod selector;

pub(crate) use apply::{apply_plan, is_container, missing_gradients};
pub use change::{ChangedGroup, PlanChange};
pub use contract::check_stages;
pub use freeze::Freeze;
pub use freeze_error::FreezeError;
pub(crate) use inventory::list;
pub use inventory::{Entry, Inventory, InventoryError, Kind};
pub use on_signal::{OnSignal, Signal};
pub use phase::{Phase, Span};
pub use plan::{GroupRule, PlanRow, Rates, TrainPlan};
pub(crate) use plan::{short, thousands};
pub use policy::{FreezePolicy, Merit, Progress};
pub use relative::{RelativeGradient, RelativeGradients};
pub use selector::{Selector, SelectorError};
