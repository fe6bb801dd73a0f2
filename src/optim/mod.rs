//! What an optimizer step is made of: the schedule, clipping, the update, and averages of the weights.

mod adafactor;
mod adamw;
mod averaging;
mod clip;
mod finite;
mod gradients;
mod l2_sp;
mod lion;
mod mixout;
mod moments;
mod optimizer;
mod schedule;
mod sgd;
mod stable_decay;

pub use adafactor::Adafactor;
pub use adamw::AdamW;
pub use averaging::{Averager, Averaging, EmaForm, Start};
pub use clip::{Clipping, NormType};
pub(crate) use finite::not_finite;
pub use gradients::{GradientNorms, clip_factor};
pub(crate) use l2_sp::{Pull, l2_sp};
pub use lion::Lion;
pub(crate) use mixout::Mixout;
pub use optimizer::{Optimizer, OptimizerConfig, Update};
pub use schedule::{Schedule, ScheduleError, Warmup};
pub use sgd::Sgd;
pub use stable_decay::{Ramp, WarmupStableDecay};
