//! What the crate promises, on small fresh networks: what freezing keeps, what a run does, what files hold, and what is
//! said when something is wrong. One binary, for linking Burn takes longer than most of these tests.
#![allow(clippy::unwrap_used)]

mod accumulation;
mod averaging;
mod cache;
mod cache_faults;
mod damage;
mod data_faults;
mod distillation;
mod event_files;
mod extractor;
mod files;
mod folders;
mod forecast;
mod foreign;
mod formats;
mod freezing;
mod input_faults;
mod kill;
mod logs;
mod loss_values;
mod losses;
mod masking;
mod measuring;
mod observers;
mod optimizers;
mod plain;
mod policies;
mod pooled;
mod pretraining;
mod probe;
mod rates;
mod regularisers;
mod resume;
mod roberta;
mod run;
mod run_faults;
mod run_files;
mod support;
mod tagging;
mod task_heads;
mod thaw_plans;
mod thaw_runs;
