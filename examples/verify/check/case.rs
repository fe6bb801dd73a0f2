//! A class of Transformers: which backbone under which head.

use super::Result;
use super::findings::Row;
use super::inputs::Inputs;
use super::task::{Named, Task, Traced, load_body, load_whole};
use super::training::Base;
use super::{Options, gradients, outputs, saved};
use rekindle::checkpoint::{Checkpoint, Loaded, SaveFormat, save_backbone, save_pretrained};
use std::marker::PhantomData;
use std::path::Path;

/// What can be compared of a class.
pub(crate) trait Case {
    /// The outputs for a batch, by name.
    fn outputs(&self, checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<Named>;

    /// Compares what is saved of the loaded model with the checkpoint.
    fn saved(&self, checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<Vec<Row>>;

    /// Compares the gradients that a file holds.
    fn gradients(&self, checkpoint: &Checkpoint, inputs: &Inputs, path: &Path, options: &Options) -> Result<Vec<Row>>;

    /// Repeats the training run that a file holds.
    fn training(&self, base: &Base<'_>, path: &Path) -> Result<Vec<Row>>;
}

/// A bare backbone.
pub(crate) struct Body<B>(pub(crate) PhantomData<B>);

/// A backbone under a head.
pub(crate) struct With<B, H>(pub(crate) PhantomData<(B, H)>);

const NO_LOSS: &str = "a bare body has no loss, so it has no gradients and does not train; remove that file";

impl<B: Traced> Case for Body<B> {
    fn outputs(&self, checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<Named> {
        let body = load_body::<B>(checkpoint, &options.device)?.module;
        let input = B::input(inputs, &inputs.all(), &options.device)?;
        body.check(&input)?;
        Ok(body.trace(input).0)
    }
    fn saved(&self, checkpoint: &Checkpoint, _: &Inputs, options: &Options) -> Result<Vec<Row>> {
        let (Loaded { module, report }, config) =
            (load_body::<B>(checkpoint, &options.device)?, checkpoint.config::<B>()?);
        saved::check(checkpoint, &report, |folder, _| {
            Ok(save_backbone(folder, &module, &config, (), &SaveFormat::default())?)
        })
    }
    fn gradients(&self, _: &Checkpoint, _: &Inputs, _: &Path, _: &Options) -> Result<Vec<Row>> {
        Err(NO_LOSS.into())
    }
    fn training(&self, _: &Base<'_>, _: &Path) -> Result<Vec<Row>> {
        Err(NO_LOSS.into())
    }
}

impl<B: Traced, H: Task<B>> Case for With<B, H> {
    fn outputs(&self, checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<Named> {
        match H::instead(checkpoint, inputs) {
            Some(case) => case.outputs(checkpoint, inputs, options),
            None => outputs::run::<B, H>(checkpoint, inputs, options),
        }
    }
    fn saved(&self, checkpoint: &Checkpoint, inputs: &Inputs, options: &Options) -> Result<Vec<Row>> {
        if let Some(case) = H::instead(checkpoint, inputs) {
            return case.saved(checkpoint, inputs, options);
        }
        let config = checkpoint.config::<B>()?;
        let Loaded { module, report } = load_whole::<B, H>(checkpoint, &config, &options.device)?;
        saved::check(checkpoint, &report, |folder, class| Ok(save_pretrained(folder, &module, &config, class, ())?))
    }
    fn gradients(&self, checkpoint: &Checkpoint, inputs: &Inputs, path: &Path, options: &Options) -> Result<Vec<Row>> {
        match H::instead(checkpoint, inputs) {
            Some(case) => case.gradients(checkpoint, inputs, path, options),
            None => gradients::check::<B, H>(checkpoint, inputs, path, options),
        }
    }
    fn training(&self, base: &Base<'_>, path: &Path) -> Result<Vec<Row>> {
        match H::instead(&base.checkpoint, &base.inputs) {
            Some(case) => case.training(base, path),
            None => base.check::<B, H>(path),
        }
    }
}

/// A table from Transformers' class names to what they are here: `"BertModel" => Body<AutoText>`.
macro_rules! classes {
    ($($name:literal => $case:ident<$($part:ty),*>),* $(,)?) => {
        /// The names of the classes.
        pub(crate) const NAMES: &[&str] = &[$($name),*];

        /// The class of this name.
        pub(crate) fn case(name: &str) -> Option<Box<dyn $crate::check::case::Case>> {
            match name {
                $($name => Some(Box::new($crate::check::case::$case::<$($part),*>(std::marker::PhantomData))),)*
                _ => None,
            }
        }
    };
}
pub(crate) use classes;
