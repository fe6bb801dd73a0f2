use super::{Monitor, Regularisation};
use crate::cache::Cache;
use crate::data::{BatchLimit, BatchOrder};
use crate::nn::Precision;
use crate::optim::{Averaging, Clipping, NormType, OptimizerConfig, Schedule, Warmup};
use crate::params::Rates;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How to train. The defaults are Transformers' usual fine-tuning recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Passes over the training examples.
    pub epochs: usize,
    /// Trains for this many optimizer steps, over as many epochs as that takes, whatever `epochs` says.
    pub max_steps: Option<usize>,
    /// Rows of a micro-batch; at most so many, where `max_tokens` limits it too.
    pub batch_size: usize,
    /// Padded tokens of a micro-batch, at most: its rows times the length of the longest one
    /// ([`Objective::length`](crate::objective::Objective::length)). A longer row is a micro-batch of its own; the
    /// [`Forecast`](super::Forecast) counts those. `batch_size` still limits the rows, so give it a number that texts of
    /// usual length do not reach. Validations and the cache's pass keep the same limits. How many steps an epoch has then
    /// depends on the epoch; the schedule knows the sum. `None` leaves the number of rows alone to count.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// Micro-batches of an optimizer step; their loss is divided by the weight of the whole step.
    pub accumulation: usize,
    /// Keeps the states between stages instead of everything that a backward pass reads, and runs each stage again in the
    /// backward pass ([Chen et al., 2016](https://arxiv.org/abs/1604.06174)): activations take about what one stage needs,
    /// and a step about a third more time. It trains the same, to within rounding. Layers of one's own must repeat
    /// themselves: they draw from a [`RandomScope`](crate::nn::RandomScope).
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Learning rates and weight decay.
    pub rates: Rates,
    /// The optimizer, with its constants.
    pub optimizer: OptimizerConfig,
    /// Shape of the learning rate over the run, with its warm-up.
    pub schedule: Schedule,
    /// A parameter that thaws during the run has its rate multiplied by a factor that rises linearly, in this many
    /// steps, from 0 to 1; on top of the schedule. 0: it has its full rate at once.
    #[serde(default)]
    pub rewarm_steps: usize,
    /// Largest norm of all gradients together; `None` does not clip.
    pub clip_norm: Option<f64>,
    /// Which norm `clip_norm` bounds; the L2 norm unless said otherwise.
    #[serde(default)]
    pub clip_norm_type: NormType,
    /// Largest absolute value of each gradient, applied before `clip_norm`; `None` does not clip.
    #[serde(default)]
    pub clip_value: Option<f64>,
    /// Averages the weights that train. Validations measure the averaged weights, `best` and `last` are averaged ones, and
    /// `fit` leaves them in the model; training goes on from the weights themselves.
    #[serde(default)]
    pub averaging: Option<Averaging>,
    /// Terms of the loss besides the head's, and mixing of weights.
    #[serde(default)]
    pub regularisation: Regularisation,
    /// Order, masking and dropout are functions of it.
    pub seed: u64,
    /// Makes batches of rows of similar length.
    pub bucket: bool,
    /// Batches that a thread of its own makes ahead while the steps before theirs run; 0 makes each when it is needed. The
    /// run's bits are the same either way. It gains where [`Objective::batch`](crate::objective::Objective::batch) is work, as
    /// tokenising or decoding is; padding rows that are token ids already is not. It takes the memory of so many batches.
    #[serde(default)]
    pub prefetch: usize,
    /// Validates every so many steps; `None`: after every epoch.
    pub eval_every: Option<usize>,
    /// What "best" means.
    pub monitor: Monitor,
    /// Stops after this many validations without a better one.
    pub patience: Option<usize>,
    /// Which weights the model has at the end.
    pub keep: Keep,
    /// Where what wholly frozen stages make of each example is kept.
    pub cache: Cache,
    /// Where `best.safetensors`, `last.safetensors` and `history.jsonl` go; `None` writes nothing. The weights are written
    /// after every validation, or, where [`save_every`](Self::save_every) makes checkpoints that hold them, at the end.
    pub folder: Option<PathBuf>,
    /// How often everything that the next step depends on is saved under `folder`, by a thread beside the training that goes
    /// on; a checkpoint waits for the one before it. With `None` only a run that an observer stops is saved.
    pub save_every: Option<SaveEvery>,
    /// In what linear layers multiply, on the Flex device.
    pub precision: Precision,
    /// So many of the newest checkpoints are kept, at least 1.
    pub keep_checkpoints: usize,
    /// Goes on from the newest whole checkpoint under `folder`, or starts where there is none. The caller gives the same
    /// model shape, data, policy and configuration; another one is an error.
    pub resume: bool,
    /// Makes a [`Forecast`](super::Forecast) before the first step and tells it to the observers; it costs a few steps on a
    /// copy.
    pub forecast: bool,
}

/// When a run saves a checkpoint, besides at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveEvery {
    /// After every so many optimizer steps.
    Steps(usize),
    /// After the step in which so many minutes have passed since the last one.
    Minutes(f64),
}

/// Which weights a model has after `fit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those of the best validation (the last, where there was none).
    Best,
    /// Those of the last step.
    Last,
}

impl Default for Fit {
    fn default() -> Self {
        Self {
            epochs: 3,
            max_steps: None,
            batch_size: 32,
            max_tokens: None,
            accumulation: 1,
            gradient_checkpointing: false,
            rates: Rates::new(5e-5),
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::Linear { warmup: Warmup::Ratio(0.1) },
            rewarm_steps: 0,
            clip_norm: Some(1.0),
            clip_norm_type: NormType::default(),
            clip_value: None,
            averaging: None,
            regularisation: Regularisation::default(),
            seed: 0,
            bucket: true,
            prefetch: 0,
            eval_every: None,
            monitor: Monitor::Loss,
            patience: None,
            keep: Keep::Best,
            cache: Cache::memory(),
            folder: None,
            save_every: None,
            precision: Precision::F32,
            keep_checkpoints: 2,
            resume: false,
            forecast: false,
        }
    }
}

impl Fit {
    pub(super) fn clipping(&self) -> Clipping {
        Clipping { norm: self.clip_norm, norm_type: self.clip_norm_type, value: self.clip_value }
    }

    /// The same training without a trace: nothing is written, cached or foretold.
    pub(super) fn on_trial(&self) -> Self {
        let quiet = Self { folder: None, save_every: None, resume: false, ..self.clone() };
        Self { cache: Cache::None, forecast: false, patience: None, ..quiet }
    }

    /// The order of the training batches.
    pub(super) fn order(&self) -> BatchOrder {
        let Self { batch_size, max_tokens, seed, bucket, .. } = *self;
        BatchOrder { batch_size, max_tokens, seed, shuffle: true, bucket }
    }

    /// What a micro-batch may hold.
    pub(super) fn limit(&self) -> BatchLimit {
        BatchLimit { batch_size: self.batch_size, max_tokens: self.max_tokens }
    }
}
