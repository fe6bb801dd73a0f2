//! What the recipes of fine-tuning do alike before a run.

use super::flags::Flags;
use rekindle::Model;
use rekindle::backbone::Backbone;
use rekindle::checkpoint::write_file;
use rekindle::head::TaskHead;
use rekindle::objective::Objective;
use rekindle::params::Freeze;
use rekindle::random::permutation;
use rekindle::train::{Data, Fit, LrFinder, batch_size_for, copies_between, first_plan, forecast};
use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tells what went wrong.
pub(crate) fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// At most `limit` rows drawn by the seed, in the order of the file.
pub(crate) fn draw<E: Clone>(rows: Vec<E>, limit: Option<usize>, seed: u64) -> Vec<E> {
    let mut chosen = permutation(rows.len(), &[seed]);
    chosen.truncate(limit.unwrap_or(usize::MAX));
    chosen.sort_unstable();
    chosen.into_iter().map(|index| rows[index].clone()).collect()
}

/// Makes the folder of a file that is written at the end, so that nothing is trained for nothing.
pub(crate) fn make_folder_of(file: Option<&Path>) -> Result<()> {
    let folder = file.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), make_folder)
}

pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("cannot make the folder `{}`: {error}", folder.display()).into())
}

pub(crate) fn write_json(path: &Path, figures: &Value) -> Result<()> {
    Ok(write_file(path, |file| serde_json::to_writer_pretty(file, figures).map_err(Into::into))?)
}

/// What can be known of a run before its first step.
pub(crate) struct Ahead<'a, O> {
    pub(crate) flags: &'a Flags,
    pub(crate) task: &'a O,
    pub(crate) freeze: &'a Freeze,
}

impl<O: Objective> Ahead<'_, O> {
    pub(crate) fn print_plan<B, H>(&self, model: &Model<B, H>, data: Data<'_, O::Example>, fit: &Fit) -> Result<()>
    where
        B: Backbone<Input = O::Input>,
        H: TaskHead<B::Features, Targets = O::Targets>,
    {
        let plan = first_plan(model, self.task, &data, self.freeze, fit)?;
        println!("\nplan for {}\n{plan}", self.freeze);
        Ok(())
    }

    /// What the flags ask to know: what a run would take, and a learning rate. Says whether that was all.
    pub(crate) fn look<B, H>(
        &self,
        model: &Model<B, H>,
        data: Data<'_, O::Example>,
        test: &[O::Example],
        fit: &Fit,
    ) -> Result<bool>
    where
        B: Backbone<Input = O::Input>,
        H: TaskHead<B::Features, Targets = O::Targets>,
    {
        let train = data.train;
        if self.flags.dry_run {
            println!("{}", forecast(model, self.task, data, self.freeze, fit)?);
            if let Some(copies) = copies_between(self.task, train, test).filter(|copies| copies.count > 0) {
                println!("test: {} texts are training texts too, first {:?}", copies.count, copies.first);
            }
        }
        if let Some(path) = &self.flags.lr_finder {
            let curve = LrFinder::default().search(model, self.task, train, self.freeze, fit)?;
            curve.chart().save(path)?;
            println!("{curve}\ndrawn in {}", path.display());
        }
        Ok(self.flags.dry_run || self.flags.lr_finder.is_some())
    }

    /// Makes batches smaller where the flags ask for that.
    pub(crate) fn choose_batch_size<B, H>(
        &self,
        model: &Model<B, H>,
        data: Data<'_, O::Example>,
        fit: &mut Fit,
    ) -> Result<()>
    where
        B: Backbone<Input = O::Input>,
        H: TaskHead<B::Features, Targets = O::Targets>,
    {
        let Some(bytes) = self.flags.auto_batch_size else { return Ok(()) };
        let budget = Some(bytes).filter(|bytes| *bytes > 0);
        let choice = batch_size_for(model, self.task, data, self.freeze, fit, budget)?;
        (fit.batch_size, fit.accumulation) = (choice.batch_size, choice.accumulation);
        println!("{choice}");
        Ok(())
    }
}
