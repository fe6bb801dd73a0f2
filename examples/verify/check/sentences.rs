//! Sentences through a published checkpoint: tokenizer, last hidden states, sentence embeddings.

use super::findings::{Array, Findings, Row};
use super::inputs::Inputs;
use super::outputs::compare_all;
use super::task::Traced;
use super::{Options, Result};
use burn::tensor::Tensor;
use rekindle::backbone::{AutoText, Backbone, Pooled, Pooling};
use rekindle::checkpoint::{Checkpoint, FromPretrained, Tensors};
use serde::Deserialize;
use std::path::Path;

/// A sentence and what Transformers' tokenizer makes of it.
#[derive(Debug, Deserialize)]
struct Sentence {
    text: String,
    ids: Vec<u32>,
    tokens: Vec<String>,
}

pub(crate) fn check(folder: &Path, options: &Options) -> Result<Findings> {
    let missing = "this folder has no weights; name the checkpoint with --weights DIR or in REKINDLE_MINILM";
    let checkpoint = Checkpoint::open(options.weights.as_ref().ok_or(missing)?)?;
    let mut findings = Findings::new(folder, &checkpoint.folder().display().to_string());
    findings.extend(check_tokenizer(folder, &checkpoint)?);

    let expected = Tensors::open_file(folder.join("expected.safetensors"))?;
    let inputs = Inputs::open(&folder.join("inputs.safetensors"))?;
    let body = checkpoint.backbone::<AutoText>(Pooling::Mean, &options.device)?.module;
    let input = inputs.text(&inputs.all(), &options.device)?;
    let seq = input.ids.dims()[1];
    body.check(&input)?;
    let (mut ours, features) = body.trace(input);
    let pooled = features.pooled();
    ours.insert("embeddings".into(), Array::of(normalized(pooled.clone())));
    ours.insert("mean_pooled".into(), Array::of(pooled));
    let name = "last_hidden_state_first2tokens";
    ours.insert(name.into(), Array::of(features.hidden.narrow(1, 0, seq.min(2))));
    findings.extend(compare_all(&ours, &expected, options.limits.output)?);
    Ok(findings)
}

fn check_tokenizer(folder: &Path, checkpoint: &Checkpoint) -> Result<Vec<Row>> {
    let sentences: Vec<Sentence> = serde_json::from_str(&std::fs::read_to_string(folder.join("sentences.json"))?)?;
    let texts: Vec<&str> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    let tokenizer = checkpoint.tokenizer()?;
    let limit = AutoText::max_length(&checkpoint.config::<AutoText>()?);
    let encodings = tokenizer.encode(&texts, limit)?;
    let note = || format!("of {} sentences", sentences.len());
    let both = || encodings.rows.iter().zip(&sentences);
    let other_ids = both().filter(|(row, sentence)| row.ids != sentence.ids).count();
    let tokens = |ids: &[u32]| ids.iter().map(|id| tokenizer.token(*id)).collect::<Option<Vec<_>>>();
    let other_tokens = both().filter(|(row, sentence)| tokens(&row.ids).as_ref() != Some(&sentence.tokens)).count();
    Ok(vec![
        Row::count("sentences with other token ids", other_ids, note()),
        Row::count("sentences with other tokens", other_tokens, note()),
    ])
}

/// `[rows, hidden]`, each row divided by its length.
fn normalized(pooled: Tensor<2>) -> Tensor<2> {
    let length = pooled.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    pooled / length
}
