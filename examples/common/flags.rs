//! The flags that the recipes share, and what they stand for.

use clap::{Args, ValueEnum};
use rekindle::cache::Cache;
use rekindle::nn::Precision;
use rekindle::optim::{Adafactor, AdamW, Averaging, Lion, OptimizerConfig, Schedule, Sgd, Warmup};
use rekindle::train::{
    CsvLog, Energy, Fit, L2Sp, Observer, Plots, ProgressLine, Regularisation, SaveEvery, StopOnSignal, TensorBoard,
};
use std::error::Error;
use std::path::{Path, PathBuf};

/// How to train, besides what a recipe decides itself.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// Micro-batches of an optimizer step.
    #[arg(long, default_value_t = 1)]
    pub(crate) accumulate: usize,
    /// Padded tokens of a micro-batch, at most; it still has at most `--batch-size` rows. A longer text is a batch of its own.
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Makes micro-batches smaller until the run fits these bytes, or 80 % of the free memory; a step keeps its texts.
    #[arg(long, value_name = "BYTES", num_args = 0..=1, default_missing_value = "0", conflicts_with = "max_tokens")]
    pub(crate) auto_batch_size: Option<usize>,
    /// Keeps the states between stages alone, and runs each stage again in the backward pass: less memory, more time.
    #[arg(long)]
    pub(crate) gradient_checkpointing: bool,
    /// What updates the weights.
    #[arg(long, value_enum, default_value_t = OptimizerName::Adamw)]
    pub(crate) optimizer: OptimizerName,
    /// Shape of the learning rate after the warm-up.
    #[arg(long, value_enum, default_value_t = ScheduleName::Linear)]
    pub(crate) schedule: ScheduleName,
    /// Share of the steps in which the learning rate rises.
    #[arg(long, default_value_t = 0.1)]
    pub(crate) warmup_ratio: f64,
    /// Weight decay of weights and embeddings; biases and norms have none.
    #[arg(long, default_value_t = 0.01)]
    pub(crate) weight_decay: f64,
    /// Each layer below the head has the rate of the one above times this.
    #[arg(long)]
    pub(crate) layer_decay: Option<f64>,
    /// Steps in which what thaws gets to its full rate.
    #[arg(long, default_value_t = 0)]
    pub(crate) rewarm_steps: usize,
    /// Largest norm of all gradients together.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) clip_norm: f64,
    /// Largest absolute value of each gradient.
    #[arg(long)]
    pub(crate) clip_value: Option<f64>,
    /// Measures and keeps an exponential average of the weights with this decay.
    #[arg(long, value_name = "DECAY")]
    pub(crate) ema: Option<f64>,
    /// Strength of L2-SP, which draws weights to where they started; it takes the place of weight decay.
    #[arg(long, value_name = "ALPHA")]
    pub(crate) l2_sp: Option<f64>,
    /// Share of the weights that mixout puts back to where they started in a step.
    #[arg(long, value_name = "SHARE")]
    pub(crate) mixout: Option<f64>,
    /// Draws batches without regard to length; slower, for there is more padding.
    #[arg(long)]
    pub(crate) no_bucket: bool,
    /// Order, masking, dropout and fresh weights are functions of it.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// flex, ndarray, wgpu or cuda.
    #[arg(long, default_value = "flex")]
    pub(crate) device: String,
    /// In what linear layers multiply: f32, or bf16 where the processor has it.
    #[arg(long, default_value_t = Precision::F32)]
    pub(crate) precision: Precision,
    /// Where the results of frozen stages are kept: memory, none, or a folder that runs share.
    #[arg(long, value_name = "memory|none|DIR", default_value = "memory")]
    pub(crate) cache: Cache,
    /// Saves a checkpoint after every so many steps, in `run` under `--out`.
    #[arg(long, value_name = "STEPS")]
    pub(crate) checkpoint_every: Option<usize>,
    /// Goes on with the run in `--out` from its newest checkpoint.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Who else watches; they write into `run` under `--out`. May be given more than once.
    #[arg(long, value_enum)]
    pub(crate) observer: Vec<ObserverName>,
    /// Looks for a learning rate, draws the search into the file, and stops.
    #[arg(long, value_name = "SVG", num_args = 0..=1, default_missing_value = "lr-finder.svg")]
    pub(crate) lr_finder: Option<PathBuf>,
    /// Says what the run would take, and stops.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OptimizerName {
    Adamw,
    Sgd,
    /// With the given rate instead of one of its own.
    Adafactor,
    Lion,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScheduleName {
    Linear,
    Cosine,
    Constant,
    InverseSqrt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObserverName {
    Tensorboard,
    Plots,
    Csv,
    Energy,
    #[cfg(feature = "tui")]
    Tui,
}

impl Flags {
    /// Whether the run is kept, to go on with.
    pub(crate) fn keeps(&self) -> bool {
        self.resume || self.checkpoint_every.is_some()
    }

    fn run(out: &Path) -> PathBuf {
        out.join("run")
    }

    /// The recipe with what the flags say.
    pub(crate) fn apply(&self, recipe: Fit, out: &Path) -> Fit {
        let warmup = Warmup::Ratio(self.warmup_ratio);
        let writes = self.keeps() || !self.observer.is_empty();
        let mut rates = recipe.rates.clone();
        (rates.weight_decay, rates.layer_decay) = (self.weight_decay, self.layer_decay);
        if self.l2_sp.is_some() {
            rates.weight_decay = 0.0;
        }
        Fit {
            accumulation: self.accumulate,
            gradient_checkpointing: self.gradient_checkpointing,
            max_tokens: self.max_tokens,
            rates,
            optimizer: match self.optimizer {
                OptimizerName::Adamw => AdamW::default().into(),
                OptimizerName::Sgd => Sgd { momentum: 0.9, ..Sgd::default() }.into(),
                OptimizerName::Adafactor => fixed_rate(),
                OptimizerName::Lion => Lion::default().into(),
            },
            schedule: match self.schedule {
                ScheduleName::Linear => Schedule::Linear { warmup },
                ScheduleName::Cosine => Schedule::Cosine { warmup },
                ScheduleName::Constant => Schedule::Constant { warmup },
                ScheduleName::InverseSqrt => Schedule::InverseSqrt { warmup, timescale: None },
            },
            rewarm_steps: self.rewarm_steps,
            clip_norm: Some(self.clip_norm),
            clip_value: self.clip_value,
            averaging: self.ema.map(Averaging::ema),
            regularisation: Regularisation {
                l2_sp: self.l2_sp.map(L2Sp::new),
                mixout: self.mixout,
                ..recipe.regularisation
            },
            seed: self.seed,
            precision: self.precision,
            bucket: !self.no_bucket,
            cache: self.cache.clone(),
            folder: writes.then(|| Self::run(out)),
            save_every: self.keeps().then(|| self.checkpoint_every.map_or(SaveEvery::Minutes(5.0), SaveEvery::Steps)),
            resume: self.resume,
            ..recipe
        }
    }

    /// Who watches the run: a bar or lines, signals, and whom the flags name.
    pub(crate) fn watchers(&self, out: &Path) -> Result<Watchers, Box<dyn Error>> {
        let folder = Self::run(out);
        let mut all: Vec<Box<dyn Observer>> = vec![Box::new(StopOnSignal::new()?)];
        let named = |name| self.observer.contains(&name);
        #[cfg(feature = "tui")]
        let dashboard = named(ObserverName::Tui);
        #[cfg(not(feature = "tui"))]
        let dashboard = false;
        match dashboard {
            #[cfg(feature = "tui")]
            true => all.push(Box::new(rekindle::train::Dashboard::new())),
            _ => all.push(Box::new(ProgressLine::new())),
        }
        if named(ObserverName::Tensorboard) {
            all.push(Box::new(TensorBoard::new(folder.join("tensorboard"))));
        }
        if named(ObserverName::Plots) {
            all.push(Box::new(Plots::new(folder.join("plots")).at_each_validation()));
        }
        if named(ObserverName::Csv) {
            all.push(Box::new(CsvLog::new(folder)));
        }
        Ok(Watchers { all, energy: named(ObserverName::Energy).then(Energy::new) })
    }
}

/// The settings with which Transformers' `Adafactor` takes its rate from outside.
fn fixed_rate() -> OptimizerConfig {
    Adafactor { relative_step: false, scale_parameter: false, ..Adafactor::default() }.into()
}

/// Observers of a run.
pub(crate) struct Watchers {
    all: Vec<Box<dyn Observer>>,
    energy: Option<Energy>,
}

impl Watchers {
    /// What `fit` takes.
    pub(crate) fn list(&mut self) -> Vec<&mut dyn Observer> {
        let all = self.all.iter_mut().map(|observer| &mut **observer as &mut dyn Observer);
        all.chain(self.energy.iter_mut().map(|energy| energy as &mut dyn Observer)).collect()
    }

    /// Prints what they gathered.
    pub(crate) fn print(&self) {
        if let Some(energy) = &self.energy {
            println!("{}", energy.estimate());
        }
    }
}
