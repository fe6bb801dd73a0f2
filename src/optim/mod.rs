//! What an optimizer step is made of: the schedule, the gradients' norm, the update.

mod adamw;
mod finite;
mod gradients;
mod moments;
mod schedule;
mod stable_decay;

pub use adamw::{AdamW, Optimizer, Update};
pub(crate) use finite::not_finite;
pub use gradients::{GradientNorms, clip_factor};
pub use schedule::{Schedule, ScheduleError, Warmup};
pub use stable_decay::{Ramp, WarmupStableDecay};
