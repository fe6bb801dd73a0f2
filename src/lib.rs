//! Pretrain a transformer, or load a Hugging Face checkpoint; put a task head on it; freeze what should stay; train the rest; measure; save; serve.

pub mod checkpoint;
pub mod random;
