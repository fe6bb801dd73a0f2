//! What an optimizer step is made of.

mod schedule;

pub use schedule::{Schedule, ScheduleError, Warmup};
