//! Heads as Transformers' classes have them.

use crate::check::Result;
use crate::check::case::{Case, With};
use crate::check::findings::Array;
use crate::check::inputs::Inputs;
use crate::check::task::{Task, Traced};
use burn::tensor::Device;
use rekindle::backbone::{AutoText, AutoTextConfig, Electra, Pooled, Pooling, Tokens};
use rekindle::checkpoint::{Checkpoint, CheckpointError, FromPretrained, Tensors};
use rekindle::head::{
    CausalLm, Classifier, LabelLoss, MaskedLm, MaskedTargets, MultiLabel, MultipleChoice, NumberLoss, Pretraining,
    PretrainingTargets, Regressor, ReplacedToken, SpanHead, SpanTargets, TokenClassifier,
};
use std::marker::PhantomData;

impl<B: Traced> Task<B> for Classifier
where
    B::Features: Pooled,
{
    /// Transformers takes the problem from the labels where the configuration does not name it.
    fn instead(checkpoint: &Checkpoint, inputs: &Inputs) -> Option<Box<dyn Case>> {
        let named = checkpoint.field("problem_type").and_then(|problem| problem.as_str());
        let one = || rows_of_head::<B>(checkpoint).is_ok_and(|outputs| outputs == 1);
        match named {
            Some("single_label_classification") => None,
            Some("regression") => Some(Box::new(With::<B, Regressor>(PhantomData))),
            Some(_) => Some(Box::new(With::<B, MultiLabel>(PhantomData))),
            None if one() => Some(Box::new(With::<B, Regressor>(PhantomData))),
            None => inputs.has_number_labels().then(|| Box::new(With::<B, MultiLabel>(PhantomData)) as Box<dyn Case>),
        }
    }
    fn fresh(checkpoint: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self> {
        Ok(B::classifier(config, rows_of_head::<B>(checkpoint)?, 0, device))
    }
    fn pooling(config: &B::Config) -> Pooling {
        B::classification_pooling(config)
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.row_labels(rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

/// Heads that are a classifier whose outputs mean something else.
macro_rules! rereading {
    ($($head:ty: $make:expr),* $(,)?) => {$(
        impl<B: Traced> Task<B> for $head
        where
            B::Features: Pooled,
        {
            fn fresh(checkpoint: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self> {
                Ok($make(<Classifier as Task<B>>::fresh(checkpoint, config, device)?)?)
            }
            fn pooling(config: &B::Config) -> Pooling {
                B::classification_pooling(config)
            }
            fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
                inputs.number_labels(rows, device)
            }
            fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
                vec![("logits", Array::of(output))]
            }
        }
    )*};
}
rereading!(
    Regressor: |head: Classifier| head.for_numbers(NumberLoss::default()),
    MultiLabel: |head: Classifier| head.for_labels(LabelLoss::default()),
);

impl<B: Traced> Task<B> for MultipleChoice
where
    B::Features: Pooled,
{
    /// How many choices a question has is not in the weights.
    fn fresh(checkpoint: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self> {
        let inputs = Tensors::open_file(checkpoint.folder().join("inputs.safetensors"))?;
        let choices = inputs.shape("input_ids")?.get(1).copied().unwrap_or(1);
        Ok(B::multiple_choice(config, choices, 0, device))
    }
    fn pooling(config: &B::Config) -> Pooling {
        B::choice_pooling(config)
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.row_labels(rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

fn rows_of_head<B: Traced>(checkpoint: &Checkpoint) -> Result<usize> {
    let (map, path) = (B::key_map(&checkpoint.config::<B>()?), "head.linear.weight");
    // Some architectures name a classifier without a bias otherwise.
    rows_of(checkpoint, &map, path).or_else(|_| rows_of(checkpoint, &map.of_module([path]), path))
}

/// The first size that a file gives a parameter.
pub(crate) fn rows_of(checkpoint: &Checkpoint, map: &rekindle::checkpoint::KeyMap, path: &str) -> Result<usize> {
    let tensors = checkpoint.tensors();
    let key = map.to_file(path).ok_or_else(|| format!("`{path}` has no key in files"))?;
    let keys = map.normalise(tensors.keys())?;
    let missing = || CheckpointError::MissingKey { keys: vec![key.clone()], path: tensors.path().into() };
    let file_key = keys.get(&key).ok_or_else(missing)?;
    Ok(tensors.shape(file_key)?.first().copied().unwrap_or(0))
}

impl Task<AutoText> for MaskedLm {
    fn fresh(_: &Checkpoint, config: &AutoTextConfig, device: &Device) -> Result<Self> {
        Ok(AutoText::masked_lm(config, 0, device)?)
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        let (at, tokens) = inputs.token_labels(rows, device)?;
        Ok(MaskedTargets { at, tokens })
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl Task<AutoText> for ReplacedToken {
    fn fresh(_: &Checkpoint, config: &AutoTextConfig, device: &Device) -> Result<Self> {
        match config {
            AutoTextConfig::Electra(config) => Ok(Electra::replaced_token(config, 0, device)),
            other => Err(format!("{} has no such head", AutoText::class_prefix(other)).into()),
        }
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.int("labels", rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl Task<AutoText> for CausalLm {
    fn fresh(_: &Checkpoint, config: &AutoTextConfig, device: &Device) -> Result<Self> {
        Ok(AutoText::causal_lm(config, 0, device)?)
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.int("labels", rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl<B: Traced<Features: Tokens>> Task<B> for TokenClassifier {
    fn fresh(checkpoint: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self> {
        let path = "head.linear.weight";
        let num_labels = rows_of(checkpoint, &B::key_map(config).of_module([path, "head.linear.bias"]), path)?;
        Ok(B::token_classifier(config, num_labels, 0, device))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.int("labels", rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl<B: Traced<Features: Tokens>> Task<B> for SpanHead {
    fn fresh(_: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self> {
        Ok(B::span_head(config, 0, device))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        let places = |name: &str| inputs.int(name, rows, device);
        Ok(SpanTargets { start: places("start_positions")?, end: places("end_positions")? })
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("start_logits", Array::of(output.start)), ("end_logits", Array::of(output.end))]
    }
}

impl Task<AutoText> for Pretraining {
    fn fresh(_: &Checkpoint, config: &AutoTextConfig, device: &Device) -> Result<Self> {
        match config {
            AutoTextConfig::Bert(config) => Ok(Pretraining::new(config, 0, device)),
            other => Err(format!("{} has no such head", AutoText::class_prefix(other)).into()),
        }
    }
    fn pooling(_: &AutoTextConfig) -> Pooling {
        Pooling::Pooler
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        let (at, tokens) = inputs.token_labels(rows, device)?;
        let next_sentence = inputs.int("next_sentence_label", rows, device)?;
        Ok(PretrainingTargets { masked: MaskedTargets { at, tokens }, next_sentence })
    }
    fn outputs((tokens, next): Self::Output) -> Vec<(&'static str, Array)> {
        vec![("prediction_logits", Array::of(tokens)), ("seq_relationship_logits", Array::of(next))]
    }
}
