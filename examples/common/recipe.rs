//! The flags of recipes that train once, and that training.

use super::ahead::{Ahead, Result, draw, make_folder_of, write_json};
use super::flags::Flags;
use burn::tensor::Device;
use clap::Args;
use rekindle::Model;
use rekindle::backbone::{AutoText, AutoTextConfig, Backbone, Pooling};
use rekindle::checkpoint::{Checkpoint, check_model_folder};
use rekindle::head::TaskHead;
use rekindle::objective::Objective;
use rekindle::params::{Freeze, Rates};
use rekindle::train::{Data, Fit, Keep, Monitor, Report, StopReason, fit};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a recipe is given.
#[derive(Args, Debug)]
pub(crate) struct Recipe {
    /// Folder of a text checkpoint (BERT, RoBERTa, LLaMA, ..) in Hugging Face's layout.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-bert"))]
    pub(crate) model: PathBuf,
    /// Folder with the files of training, validation and test.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// What stays fixed: nothing, backbone, bottom:N, gradual[:EPOCHS], gradual-plateau:VALIDATIONS, lp-ft[:EPOCHS],
    /// chain-thaw:EPOCHS, bitfit, norm, every:N, surgical:STAGES, except:SELECTOR[;SELECTOR], or several in turn, such as
    /// "backbone@2 > nothing".
    #[arg(long, default_value = "nothing")]
    pub(crate) freeze: Freeze,
    /// Passes over the training examples.
    #[arg(long, default_value_t = 3)]
    pub(crate) epochs: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 1e-4)]
    pub(crate) lr: f64,
    /// Rows of a micro-batch, at most.
    #[arg(long, default_value_t = 32)]
    pub(crate) batch_size: usize,
    /// Uses so many examples of each file, drawn by the seed.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Where the model goes.
    #[arg(long, default_value = concat!("runs/", env!("CARGO_CRATE_NAME")))]
    pub(crate) out: PathBuf,
    /// Writes the figures.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// What a run starts from.
pub(crate) struct Start {
    pub(crate) device: Device,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) config: AutoTextConfig,
}

impl Recipe {
    /// Opens the checkpoint, after a look whether the model can be saved.
    pub(crate) fn start(&self) -> Result<Start> {
        check_model_folder(&self.out)?;
        make_folder_of(self.json.as_deref())?;
        let device = rekindle::device(&self.flags.device)?;
        let checkpoint = Checkpoint::open(&self.model)?;
        let config = checkpoint.config::<AutoText>()?;
        Ok(Start { device, checkpoint, config })
    }

    /// The checkpoint's body.
    pub(crate) fn body(&self, start: &Start, pooling: Pooling) -> Result<AutoText> {
        let body = start.checkpoint.backbone::<AutoText>(pooling, &start.device)?;
        println!("{}: {}", self.model.display(), body.report);
        Ok(body.module)
    }

    /// At most `limit` examples drawn by the seed, in the order of the file.
    pub(crate) fn draw<E: Clone>(&self, examples: Vec<E>) -> Vec<E> {
        draw(examples, self.limit, self.flags.seed)
    }

    /// How to train: the weights of the last step stay.
    fn fit(&self) -> Fit {
        let recipe = Fit {
            epochs: self.epochs,
            batch_size: self.batch_size,
            rates: Rates::new(self.lr),
            monitor: Monitor::Loss,
            keep: Keep::Last,
            ..Fit::default()
        };
        self.flags.apply(recipe, &self.out)
    }

    /// Looks ahead as far as the flags ask, or trains; `None` where there is nothing to measure yet.
    pub(crate) fn train<B, H, O>(
        &self,
        model: &mut Model<B, H>,
        task: &O,
        data: Data<'_, O::Example>,
    ) -> Result<Option<Report>>
    where
        B: Backbone,
        H: TaskHead<B::Features>,
        O: Objective<Input = B::Input, Targets = H::Targets>,
    {
        let ahead = Ahead { flags: &self.flags, task, freeze: &self.freeze };
        let mut fit = self.fit();
        ahead.print_plan(model, data, &fit)?;
        if ahead.look(model, data, &[], &fit)? {
            return Ok(None);
        }
        ahead.choose_batch_size(model, data, &mut fit)?;
        run(&self.flags, &self.out, model, task, data, &self.freeze, &fit)
    }

    /// Writes the figures where the flags say.
    pub(crate) fn write(&self, figures: &Value) -> Result<()> {
        self.json.as_deref().map_or(Ok(()), |path| write_json(path, figures))
    }
}

/// Trains, watched as the flags say; `None` where a signal stopped a run that can go on.
pub(crate) fn run<B, H, O>(
    flags: &Flags,
    out: &Path,
    model: &mut Model<B, H>,
    task: &O,
    data: Data<'_, O::Example>,
    freeze: &Freeze,
    config: &Fit,
) -> Result<Option<Report>>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    let mut watchers = flags.watchers(out)?;
    let report = fit(model, task, data, freeze, config, &mut watchers.list())?;
    watchers.print();
    if report.stop == StopReason::Observer && flags.keeps() {
        println!("stopped after step {}; --resume goes on", report.steps);
        return Ok(None);
    }
    Ok(Some(report))
}
