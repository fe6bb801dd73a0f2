use super::effort::Cached;
use super::probe::{Line, Measured};
use crate::params::{Inventory, TrainPlan};
use crate::train::Fit;
use serde::{Deserialize, Serialize};

/// What a run holds in memory, by part, in bytes. `None` where the part cannot be measured: the model is on a device with
/// memory of its own, or the system does not tell.
///
/// Not all parts are there at once. The peak is the process, moments and averages, best and starting weights, the cache and
/// a checkpoint that is being written, and the largest of what one moment of the run adds to them: a backward pass (what
/// it keeps and its intermediate results, or the gradients where those are more; with accumulation also the sum of
/// gradients so far), an update (gradients, and the new weights beside the old), a validation pass (intermediate results),
/// or the writing of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemoryForecast {
    /// The process before the run: program, tokenizer, data, weights.
    pub process: Option<usize>,
    /// Of that, the model's weights.
    pub weights: usize,
    /// Gradients of what trains.
    pub gradients: usize,
    /// The optimizer's state.
    pub moments: usize,
    /// Averages of what trains.
    pub averages: usize,
    /// Updated weights, while the last good ones are kept.
    pub new_weights: usize,
    /// What trains, as it was at the best validation, where there are several.
    pub best_weights: usize,
    /// The weights that training starts from, where a regulariser holds on to them.
    pub start_weights: usize,
    /// What frozen stages made of each example.
    pub cache: usize,
    /// What the largest micro-batch keeps for its backward pass; with gradient checkpointing the most of it at once, with the
    /// gradients that are there by then.
    pub activations: Option<usize>,
    /// Its intermediate results.
    pub working: Option<usize>,
    /// Copies made while a file of weights is written.
    pub saving: usize,
    /// What a checkpoint that is being written holds on to while training goes on: weights that train, moments and averages
    /// as they were.
    pub checkpoint: usize,
    /// Holes in the heap: a tenth of what the run adds. The allocator decides; up to a fifth was seen.
    pub heap: usize,
    /// The most that the process will hold.
    pub peak: Option<usize>,
}

/// What the memory of a run of any batch size follows from.
#[derive(Clone, Debug)]
pub(in crate::train) struct Parts {
    memory: MemoryForecast,
    kept: Option<Vec<Line>>,
    working: Option<Line>,
    validation_ratio: f64,
    /// The weights that mixout mixes in each step.
    mixed: usize,
}

impl Parts {
    pub(super) fn new(
        plan: &TrainPlan,
        inventory: &Inventory,
        config: &Fit,
        measured: &Measured,
        cached: Cached,
        keeps_best: bool,
    ) -> Self {
        let bytes = |values: usize| values * size_of::<f32>();
        let trainable = bytes(plan.trainable_values());
        let weights = bytes(inventory.entries.iter().filter(|entry| entry.is_float).map(|entry| entry.size()).sum());
        let entries = plan.rows.iter().map(|row| &inventory.entries[row.entry]);
        let moments = bytes(entries.map(|entry| config.optimizer.state_values(&entry.shape)).sum());
        let averages = config.averaging.map_or(0, |averaging| averaging.copies()) * trainable;
        let saving = if config.folder.is_some() { weights } else { 0 };
        let checkpoint = match (&config.folder, config.save_every) {
            (Some(_), Some(_)) => trainable + moments + averages,
            _ => 0,
        };
        let memory = MemoryForecast {
            process: measured.process,
            weights,
            gradients: trainable,
            moments,
            averages,
            new_weights: trainable,
            best_weights: if keeps_best { trainable } else { 0 },
            start_weights: if config.regularisation.needs_start() { trainable } else { 0 },
            cache: cached.bytes(),
            saving,
            checkpoint,
            ..MemoryForecast::default()
        };
        let Measured { working, validation_ratio, .. } = *measured;
        let mixed = if config.regularisation.mixout.is_some() { trainable } else { 0 };
        Self { memory, kept: measured.kept.clone(), working, validation_ratio, mixed }
    }

    /// The memory of a run with micro-batches of so many of the longest rows.
    pub(in crate::train) fn memory(&self, rows: f64, accumulation: usize) -> MemoryForecast {
        let mut memory = self.memory.clone();
        let most = |lines: &Vec<Line>| lines.iter().map(|line| line.at(rows)).max();
        memory.activations = self.kept.as_ref().and_then(most);
        memory.working = self.working.map(|line| line.at(rows));
        let validation = self.working.map(|line| line.at(rows * self.validation_ratio));
        if let Some((most, process)) = memory.moment(validation, accumulation, self.mixed).zip(memory.process) {
            let kept = memory.best_weights + memory.start_weights + memory.cache;
            let held = memory.moments + memory.averages + kept + memory.checkpoint;
            memory.heap = (held + most) / 10;
            memory.peak = Some(process + held + most + memory.heap);
        }
        memory
    }
}

impl MemoryForecast {
    /// The most that one moment of the run adds to what is always there.
    fn moment(&self, validation: Option<usize>, accumulation: usize, mixed: usize) -> Option<usize> {
        let sum = if accumulation > 1 { self.gradients } else { 0 };
        let backward = (self.activations? + self.working?).max(self.gradients) + sum + mixed;
        let update = self.gradients + self.new_weights + mixed;
        Some(backward.max(update).max(self.saving).max(validation?))
    }
}
