use super::{Monitor, Regularisation, TrainError};
use crate::cache::Cache;
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
    /// Rows of a micro-batch.
    pub batch_size: usize,
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

/// How far a run goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    pub(super) steps_an_epoch: usize,
    pub(super) steps: usize,
    /// Epochs begun.
    pub(super) epochs: usize,
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

    /// How far a run over so many examples goes, which are at least one.
    pub(super) fn extent(&self, examples: usize) -> Extent {
        let steps_an_epoch = examples.div_ceil(self.batch_size).div_ceil(self.accumulation);
        let steps = self.max_steps.unwrap_or(self.epochs.saturating_mul(steps_an_epoch));
        Extent { steps_an_epoch, steps, epochs: steps.div_ceil(steps_an_epoch) }
    }

    /// Refuses options that mean nothing in a run of so many steps.
    pub(super) fn check_run(&self, steps: usize, steps_an_epoch: usize) -> Result<(), TrainError> {
        self.schedule.check_for(steps)?;
        match self.averaging {
            Some(averaging) if !(1..=steps).any(|step| averaging.takes(step, steps_an_epoch)) => {
                let mend = "the run ends before it takes any weights; let it begin earlier or take more of them";
                Err(TrainError::BadOption { option: "averaging", value: format!("{averaging:?}"), mend })
            }
            _ => Ok(()),
        }
    }

    /// Refuses options that mean nothing.
    pub(super) fn check(&self, coupled: bool) -> Result<(), TrainError> {
        let bad = |option, value: String, mend| Err(TrainError::BadOption { option, value, mend });
        for (option, value) in [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("accumulation", self.accumulation),
            ("max_steps", self.max_steps.unwrap_or(1)),
            ("eval_every", self.eval_every.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
        ] {
            if value == 0 {
                return bad(option, "0".into(), "give at least 1");
            }
        }
        match self.save_every {
            Some(SaveEvery::Steps(0)) => return bad("save_every", "0 steps".into(), "give at least 1"),
            Some(SaveEvery::Minutes(minutes)) if !(minutes >= 0.0) => {
                return bad("save_every", format!("{minutes} minutes"), "give 0 or more");
            }
            _ => {}
        }
        if self.folder.is_none() && (self.resume || self.save_every.is_some()) {
            return bad("folder", "missing".into(), "save_every and resume need one");
        }
        let rates = self.rates.groups.iter().filter_map(|rule| rule.lr).chain([self.rates.lr]);
        // Parameters are f32, in which 1e39 is infinite.
        if let Some(lr) = rates.into_iter().find(|lr| !(*lr as f32).is_finite() || *lr <= 0.0) {
            return bad("lr", lr.to_string(), "give a number above 0, such as 5e-5");
        }
        let decays = self.rates.groups.iter().filter_map(|rule| rule.weight_decay).chain([self.rates.weight_decay]);
        if let Some(decay) = decays.into_iter().find(|decay| !decay.is_finite() || *decay < 0.0) {
            return bad("weight_decay", decay.to_string(), "give 0 or a number above 0");
        }
        if let Some(decay) = self.rates.layer_decay.filter(|decay| !(*decay > 0.0 && *decay <= 1.0)) {
            return bad("layer_decay", decay.to_string(), "give a number above 0 and at most 1");
        }
        for (option, most) in [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)] {
            if let Some(most) = most.filter(|most| !(*most > 0.0)) {
                return bad(option, most.to_string(), "give a number above 0, or None");
            }
        }
        if !self.clip_norm_type.is_norm() {
            return bad("clip_norm_type", format!("{:?}", self.clip_norm_type), "give a p of at least 1, or Max");
        }
        self.schedule.check()?;
        self.regularisation.check()?;
        if let Some(mend) = self.optimizer.mend() {
            return bad("optimizer", format!("{:?}", self.optimizer), mend);
        }
        if self.optimizer.sets_rate() && self.rates.lr != 1.0 {
            return bad("lr", self.rates.lr.to_string(), "give 1, for Adafactor's relative_step sets the rate itself");
        }
        if let Some((averaging, mend)) = self.averaging.and_then(|averaging| Some((averaging, averaging.mend()?))) {
            return bad("averaging", format!("{averaging:?}"), mend);
        }
        if coupled && self.accumulation > 1 {
            return bad(
                "accumulation",
                self.accumulation.to_string(),
                "this head's loss couples the rows of a batch; give 1",
            );
        }
        Ok(())
    }
}
