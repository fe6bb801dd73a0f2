//! Parts that are used by themselves, held against what others compute: tokenizers, schedules, optimizers, figures,
//! pictures. One binary, for linking takes longer than its tests.
#![allow(clippy::unwrap_used)]

mod data;
mod metric;
#[cfg(feature = "flex")]
mod optim;
mod plot;
mod schedule;
