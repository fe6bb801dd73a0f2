//! Heads as Transformers' classes have them.

use crate::check::Result;
use crate::check::findings::Array;
use crate::check::inputs::Inputs;
use crate::check::task::{Task, Traced};
use burn::tensor::{Device, Tensor};
use rekindle::backbone::{
    Albert, Bert, BertConfig, DistilBert, Electra, ElectraConfig, MpNet, Pooling, Roberta, TextFeatures,
};
use rekindle::checkpoint::{Checkpoint, CheckpointError, FromPretrained};
use rekindle::head::{
    Classifier, MaskedLm, MaskedTargets, Pretraining, PretrainingTargets, ReplacedToken, SpanHead, SpanTargets,
    TaskHead, TokenClassifier,
};

impl<B: Traced> Task<B> for Classifier
where
    Classifier: TaskHead<B::Features, Output = Tensor<2>, Targets = Tensor<1, burn::tensor::Int>>,
{
    fn fresh(checkpoint: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self> {
        let num_labels = rows_of(checkpoint, &B::key_map(config), "head.linear.weight")?;
        let problem = checkpoint.field("problem_type").and_then(|problem| problem.as_str());
        if num_labels == 1 || problem.is_some_and(|problem| problem != "single_label_classification") {
            let found = problem.unwrap_or("regression (one label)");
            return Err(crate::check::Unsupported(format!("problem_type {found}")).into());
        }
        Ok(B::classifier(config, num_labels, 0, device))
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

/// The first size that a file gives a parameter.
pub(crate) fn rows_of(checkpoint: &Checkpoint, map: &rekindle::checkpoint::KeyMap, path: &str) -> Result<usize> {
    let tensors = checkpoint.tensors();
    let key = map.to_file(path).ok_or_else(|| format!("`{path}` has no key in files"))?;
    let keys = map.normalise(tensors.keys())?;
    let missing = || CheckpointError::MissingKey { keys: vec![key.clone()], path: tensors.path().into() };
    let file_key = keys.get(&key).ok_or_else(missing)?;
    Ok(tensors.shape(file_key)?.first().copied().unwrap_or(0))
}

macro_rules! masked_lm {
    ($($backbone:ty),* $(,)?) => {$(
        impl Task<$backbone> for MaskedLm {
            fn fresh(_: &Checkpoint, config: &<$backbone as FromPretrained>::Config, device: &Device) -> Result<Self> {
                Ok(<$backbone>::masked_lm(config, 0, device))
            }
            fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
                let (at, tokens) = inputs.token_labels(rows, device)?;
                Ok(MaskedTargets { at, tokens })
            }
            fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
                vec![("logits", Array::of(output))]
            }
        }
    )*};
}
masked_lm!(Albert, Bert, DistilBert, Electra, MpNet, Roberta);

impl Task<Electra> for ReplacedToken {
    fn fresh(_: &Checkpoint, config: &ElectraConfig, device: &Device) -> Result<Self> {
        Ok(Electra::replaced_token(config, 0, device))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.int("labels", rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl<B: Traced<Features = TextFeatures>> Task<B> for TokenClassifier {
    fn fresh(checkpoint: &Checkpoint, config: &B::Config, device: &Device) -> Result<Self> {
        let path = "head.linear.weight";
        let num_labels = rows_of(checkpoint, &B::key_map(config).of_module([path]), path)?;
        Ok(B::token_classifier(config, num_labels, 0, device))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.int("labels", rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl<B: Traced<Features = TextFeatures>> Task<B> for SpanHead {
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

impl Task<Bert> for Pretraining {
    fn fresh(_: &Checkpoint, config: &BertConfig, device: &Device) -> Result<Self> {
        Ok(Pretraining::new(config, 0, device))
    }
    fn pooling(_: &BertConfig) -> Pooling {
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
