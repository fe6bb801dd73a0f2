//! Which parameters train: [`Inventory`] lists them, a [`Selector`] names some, a [`FreezePolicy`] decides, and a
//! [`TrainPlan`] is the decision, printed and checked before anything is applied.

mod apply;
mod contract;
mod freeze;
mod inventory;
mod plan;
mod selector;

pub(crate) use apply::{apply_plan, is_container, missing_gradients};
pub use contract::check_stages;
pub use freeze::{Freeze, FreezeError, FreezePolicy, Progress};
pub(crate) use inventory::list;
pub use inventory::{Entry, Inventory, InventoryError, Kind};
pub use plan::{GroupRule, PlanRow, Rates, TrainPlan};
pub(crate) use plan::{short, thousands};
pub use selector::{Selector, SelectorError};
