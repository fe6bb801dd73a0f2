//! Which architectures can be checked, and what each head needs for it.

use super::Result;
use super::findings::Array;
use super::inputs::Inputs;
use burn::tensor::Device;
use rekindle::Model;
use rekindle::backbone::{Bert, BertConfig, Pooling, TextFeatures};
use rekindle::checkpoint::{Checkpoint, Loaded, bert_key_map};
use rekindle::head::{Classifier, MaskedLm, MaskedTargets, Pretraining, PretrainingTargets, TaskHead};

/// A class of Transformers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Architecture {
    Body,
    MaskedLm,
    Classifier,
    Pretraining,
}

impl Architecture {
    const ALL: [Self; 4] = [Self::Body, Self::MaskedLm, Self::Classifier, Self::Pretraining];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Body => "BertModel",
            Self::MaskedLm => "BertForMaskedLM",
            Self::Classifier => "BertForSequenceClassification",
            Self::Pretraining => "BertForPreTraining",
        }
    }

    /// The architecture that `config.json` names.
    pub(crate) fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let named = checkpoint.architectures();
        Self::ALL.into_iter().find(|architecture| named.contains(&architecture.name())).ok_or_else(|| {
            let supported = Self::ALL.map(Self::name).join(", ");
            let folder = checkpoint.folder().display();
            format!("`architectures` of `{folder}` is {named:?}; supported are {supported}").into()
        })
    }

    /// The error where a loss is wanted of a bare body.
    pub(crate) fn no_loss(self) -> Box<dyn std::error::Error> {
        format!("{} has no loss, so it has no gradients and does not train; remove that file", self.name()).into()
    }
}

/// A head as a class of Transformers has it.
pub(crate) trait Task: TaskHead<TextFeatures> {
    const POOLING: Pooling;

    /// A head of the checkpoint's sizes.
    fn fresh(checkpoint: &Checkpoint, config: &BertConfig, device: &Device) -> Result<Self>;

    /// Targets of some rows.
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets>;

    /// The outputs under Transformers' names, the main one first.
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)>;
}

impl Task for Classifier {
    const POOLING: Pooling = Pooling::Pooler;

    fn fresh(checkpoint: &Checkpoint, config: &BertConfig, device: &Device) -> Result<Self> {
        let problem = config.extra.get("problem_type").and_then(|problem| problem.as_str());
        let num_labels = checkpoint.tensors().shape("classifier.weight")?[0];
        if num_labels == 1 || problem.is_some_and(|problem| problem != "single_label_classification") {
            let found = problem.unwrap_or("regression (one label)");
            return Err(format!("problem_type {found} is not supported; single_label_classification is").into());
        }
        let prob = config.head_dropout();
        Ok(Classifier::new(config.hidden_size, num_labels, 0, device).with_dropout(prob))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        inputs.row_labels(rows, device)
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl Task for MaskedLm {
    const POOLING: Pooling = Pooling::Mean;

    fn fresh(_: &Checkpoint, config: &BertConfig, device: &Device) -> Result<Self> {
        let BertConfig { hidden_size, vocab_size, hidden_act, layer_norm_eps, .. } = *config;
        Ok(MaskedLm::with(hidden_size, vocab_size, hidden_act, layer_norm_eps, 0, device))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        let (at, tokens) = inputs.token_labels(rows, device)?;
        Ok(MaskedTargets { at, tokens })
    }
    fn outputs(output: Self::Output) -> Vec<(&'static str, Array)> {
        vec![("logits", Array::of(output))]
    }
}

impl Task for Pretraining {
    const POOLING: Pooling = Pooling::Pooler;

    fn fresh(_: &Checkpoint, config: &BertConfig, device: &Device) -> Result<Self> {
        Ok(Pretraining::new(config, 0, device))
    }
    fn targets(inputs: &Inputs, rows: &[usize], device: &Device) -> Result<Self::Targets> {
        let (at, tokens) = inputs.token_labels(rows, device)?;
        let next_sentence = inputs.next_sentence(rows, device)?;
        Ok(PretrainingTargets { masked: MaskedTargets { at, tokens }, next_sentence })
    }
    fn outputs((tokens, next): Self::Output) -> Vec<(&'static str, Array)> {
        vec![("prediction_logits", Array::of(tokens)), ("seq_relationship_logits", Array::of(next))]
    }
}

/// The checkpoint's model, dropout as its configuration says.
pub(crate) fn load<H: Task>(checkpoint: &Checkpoint, device: &Device) -> Result<Model<Bert, H>> {
    load_with(checkpoint, &checkpoint.config::<Bert>()?, device)
}

/// The checkpoint's model without dropout, to train as Transformers does in `eval` mode.
pub(crate) fn load_still<H: Task>(checkpoint: &Checkpoint, device: &Device) -> Result<Model<Bert, H>> {
    let config = BertConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        classifier_dropout: Some(0.0),
        ..checkpoint.config::<Bert>()?
    };
    load_with(checkpoint, &config, device)
}

fn load_with<H: Task>(checkpoint: &Checkpoint, config: &BertConfig, device: &Device) -> Result<Model<Bert, H>> {
    let fresh = Model::new(Bert::new(config, H::POOLING, 0, device), H::fresh(checkpoint, config, device)?);
    complete(checkpoint.model(&fresh)?)
}

/// The bare body, with a pooler where the file has one.
pub(crate) fn load_body(checkpoint: &Checkpoint, device: &Device) -> Result<Bert> {
    let keys = bert_key_map().normalise(checkpoint.tensors().keys())?;
    let pooling = if keys.contains_key("bert.pooler.dense.weight") { Pooling::Pooler } else { Pooling::Mean };
    complete(checkpoint.backbone::<Bert>(pooling, device)?)
}

/// Refuses what the file did not fill.
fn complete<M>(loaded: Loaded<M>) -> Result<M> {
    match loaded.report.reinitialised.as_slice() {
        [] => Ok(loaded.module),
        paths => Err(format!("the weights lack {}; nothing can be compared", paths.join(", ")).into()),
    }
}

/// The mean loss of some rows, without a graph.
pub(crate) fn loss<H: Task>(model: &Model<Bert, H>, inputs: &Inputs, rows: &[usize], device: &Device) -> Result<f64> {
    let features = rekindle::backbone::Backbone::forward(&model.backbone, inputs.text(rows, device));
    let loss = model.head.loss(features, H::targets(inputs, rows, device)?);
    Ok(f64::from(loss.sum.into_scalar::<f32>()) / loss.weight)
}
