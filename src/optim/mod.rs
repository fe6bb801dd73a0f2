//! What an optimizer step is made of: the schedule, the gradients' norm, the update.

mod adamw;
mod finite;
mod gradients;
mod l2_sp;
mod mixout;
mod moments;
mod schedule;

pub use adamw::{AdamW, Optimizer, Update};
pub(crate) use finite::not_finite;
pub use gradients::{GradientNorms, clip_factor};
pub(crate) use l2_sp::{Pull, l2_sp};
pub(crate) use mixout::Mixout;
pub use schedule::{Schedule, ScheduleError, Warmup};
