//! Documents that share a row are trained as if each had a row of its own.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Gradients, Int, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{AutoText, AutoTextConfig, Backbone, InputError, Mixtral, MixtralConfig, Pooling, TextInput};
use rekindle::cache::Cache;
use rekindle::checkpoint::FromPretrained;
use rekindle::data::{DataError, PackedRow, TokenRow, pack};
use rekindle::head::{CausalLm, MaskedLm, MaskedTargets, TaskHead};
use rekindle::objective::{Batch, CausalLanguage, Draws, Mirrored, Objective, Packed};
use rekindle::params::{Freeze, Inventory};
use rekindle::train::{Data, Fit, evaluate, fit, forecast};
use serde_json::{Value, json};

use super::support::*;

/// Tokens of a row: more than any network here has positions.
const LENGTH: usize = 40;
/// Positions of a network.
const POSITIONS: usize = 20;

fn config(model_type: &str, extra: Value) -> AutoTextConfig {
    let mut config = json!({
        "model_type": model_type, "vocab_size": tokenizer().vocab_size(), "pad_token_id": 0, "initializer_range": 0.2,
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
        "hidden_dim": 48, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "dropout": 0.0, "attention_dropout": 0.0,
        "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embedding_size": 16, "word_embed_proj_dim": 32,
        "ffn_dim": 48, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
    });
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let config: AutoTextConfig = serde_json::from_value(config).unwrap();
    AutoText::check_config(&config).unwrap();
    config
}

fn gpt2() -> Value {
    json!({ "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS })
}

fn body(config: &AutoTextConfig) -> AutoText {
    AutoText::build(config, Pooling::Mean, 3, &device())
}

fn decoder(model_type: &str, extra: Value) -> Model<AutoText, CausalLm> {
    let config = config(model_type, extra);
    Model::new(body(&config), AutoText::causal_lm(&config, 5, &device()).unwrap())
}

/// Nine documents of 5 to 20 tokens and how they fill rows.
fn documents() -> (Vec<TokenRow>, Vec<PackedRow>) {
    let documents = token_rows(9);
    let packed = pack(documents.clone(), LENGTH).unwrap();
    assert!(packed.len() > 1 && packed.len() < 5 && packed.iter().any(|row| row.documents.len() > 2));
    (documents, packed)
}

fn draws() -> Draws {
    Draws::new(1, 2, &(0..9).collect::<Vec<_>>())
}

struct Reader<'a>(&'a Gradients, Vec<Vec<f32>>);

impl ModuleVisitor for Reader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.0);
        self.1.push(gradient.map_or(vec![], |gradient| gradient.into_data().iter::<f32>().collect()));
    }
}

/// The summed loss, what it counts, and the gradient of every parameter.
fn sums<B: Backbone<Input = TextInput>, H: TaskHead<B::Features>>(
    model: &Model<B, H>,
    batch: Batch<TextInput, H::Targets>,
) -> (f32, f64, Vec<(String, Vec<f32>)>) {
    model.backbone.check(&batch.input).unwrap();
    let model = model.clone().train();
    let loss = model.head.loss(model.backbone.forward(batch.input), batch.targets);
    let gradients = loss.sum.backward();
    let mut reader = Reader(&gradients, vec![]);
    model.visit(&mut reader);
    let paths = Inventory::of(&model).unwrap().entries.into_iter().filter(|entry| entry.is_float);
    (loss.sum.into_scalar::<f32>(), loss.weight, paths.map(|entry| entry.path).zip(reader.1).collect())
}

fn same<B: Backbone<Input = TextInput>, H: TaskHead<B::Features>>(
    name: &str,
    model: &Model<B, H>,
    packed: Batch<TextInput, H::Targets>,
    alone: Batch<TextInput, H::Targets>,
) {
    let (found, wanted) = (sums(model, packed), sums(model, alone));
    assert_eq!(found.1, wanted.1, "{name}");
    assert!((found.0 - wanted.0).abs() <= 1e-5 * wanted.0, "{name}: {} {}", found.0, wanted.0);
    let largest = wanted.2.iter().flat_map(|(_, values)| values).fold(0.0_f32, |most, value| most.max(value.abs()));
    let mut compared = 0;
    for ((path, found), (_, wanted)) in found.2.iter().zip(&wanted.2) {
        assert_eq!(found.len(), wanted.len(), "{name}: {path}");
        // Softmax ignores a shift, so that the gradient of a key's bias is 0 but for rounding.
        let of_this = wanted.iter().fold(1e-3 * largest, |most, value| most.max(value.abs()));
        let most = found.iter().zip(wanted).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(most <= 1e-5 * of_this, "{name}: {path} {most} of {of_this}");
        compared += usize::from(!wanted.is_empty());
    }
    assert!(compared > 10, "{name}: {compared} gradients");
}

#[test]
fn decoders_learn_from_packed_documents_what_they_learn_from_each() {
    let (documents, packed) = documents();
    let objective = CausalLanguage::new(&tokenizer());
    for (name, extra) in [
        ("gpt2", gpt2()),
        ("opt", json!({})),
        ("gpt_neox", json!({ "rotary_pct": 0.5, "attention_bias": true })),
        ("llama", json!({})),
        ("llama", json!({ "rope_scaling": { "rope_type": "dynamic", "factor": 2.0 }, "max_position_embeddings": 7 })),
        ("mistral", json!({ "sliding_window": 3 })),
        ("qwen2", json!({})),
        ("qwen3", json!({})),
        ("phi3", json!({})),
        ("gemma2", json!({ "sliding_window": 4, "query_pre_attn_scalar": 8 })),
        ("gemma3_text", json!({ "sliding_window": 4, "query_pre_attn_scalar": 8 })),
    ] {
        let model = decoder(name, extra);
        let alone = objective.batch(&documents.iter().collect::<Vec<_>>(), &draws(), &device()).unwrap();
        let packed = Packed::new(objective).batch(&packed.iter().collect::<Vec<_>>(), &draws(), &device()).unwrap();
        same(name, &model, packed, alone);
    }
}

#[test]
fn a_mixture_of_experts_balances_over_packed_documents_as_over_each() {
    let (documents, packed) = documents();
    let config: MixtralConfig = serde_json::from_value(json!({
        "vocab_size": tokenizer().vocab_size(), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 24, "num_key_value_heads": 2, "num_local_experts": 4, "sliding_window": 4, "output_router_logits": true,
        "router_aux_loss_coef": 0.5, "initializer_range": 0.2,
    }))
    .unwrap();
    let body = Mixtral::new(&config, Pooling::Mean, 3, &device());
    let model = Model::new(body, Mixtral::routed_lm(&config, 5, &device()));
    let objective = CausalLanguage::new(&tokenizer());
    let alone = objective.batch(&documents.iter().collect::<Vec<_>>(), &draws(), &device()).unwrap();
    let packed = Packed::new(objective).batch(&packed.iter().collect::<Vec<_>>(), &draws(), &device()).unwrap();
    same("mixtral", &model, packed, alone);
}

/// The documents of packed rows in rows of their own, with what was masked in them.
fn apart(batch: &Batch<TextInput, MaskedTargets>) -> Batch<TextInput, MaskedTargets> {
    let numbers = |tensor: &Tensor<2, Int>| tensor.to_data().iter::<i64>().collect::<Vec<_>>();
    let [_, seq] = batch.input.ids.dims();
    let documents = numbers(batch.input.documents.as_ref().unwrap());
    let (ids, type_ids) = (numbers(&batch.input.ids), numbers(&batch.input.type_ids));
    // Where each document begins and ends, counted through all rows.
    let mut spans: Vec<(usize, usize)> = vec![];
    for place in (0..ids.len()).filter(|place| documents[*place] != 0) {
        let begins = place % seq == 0 || documents[place] != documents[place - 1];
        match spans.last_mut().filter(|_| !begins) {
            Some(span) => span.1 = place + 1,
            None => spans.push((place, place + 1)),
        }
    }
    let longest = spans.iter().map(|(start, end)| end - start).max().unwrap();
    let shape = [spans.len(), longest];
    let spread = |values: &[i64]| {
        let row = |(start, end): &(usize, usize)| {
            let mut row = values[*start..*end].to_vec();
            row.resize(longest, 0);
            row
        };
        let values: Vec<i64> = spans.iter().flat_map(row).collect();
        Tensor::<2, Int>::from_data(TensorData::new(values, shape), &device())
    };
    let at: Vec<i64> = batch.targets.at.to_data().iter::<i64>().collect();
    let moved = at.iter().map(|at| {
        let row = spans.iter().position(|(start, end)| (*start..*end).contains(&(*at as usize))).unwrap();
        (row * longest + *at as usize - spans[row].0) as i64
    });
    let moved: Vec<i64> = moved.collect();
    let mask: Tensor<2, Bool> = spread(&vec![1; ids.len()]).equal_elem(1);
    let input = TextInput { ids: spread(&ids), type_ids: spread(&type_ids), mask, documents: None };
    let at = Tensor::from_data(TensorData::new(moved, [at.len()]), &device());
    Batch { input, targets: MaskedTargets { at, tokens: batch.targets.tokens.clone() } }
}

#[test]
fn encoders_learn_from_packed_documents_what_they_learn_from_each() {
    let packed = documents().1;
    for (name, extra) in [
        ("bert", json!({})),
        ("roberta", json!({ "max_position_embeddings": POSITIONS + 1 })),
        ("albert", json!({})),
        ("electra", json!({})),
        ("distilbert", json!({})),
        ("modernbert", json!({ "local_attention": 6 })),
        ("eurobert", json!({})),
        ("nomic_bert", json!({})),
    ] {
        let config = config(name, extra);
        let head: MaskedLm = AutoText::masked_lm(&config, 5, &device()).unwrap();
        let model = Model::new(body(&config), head);
        let rows = packed.iter().collect::<Vec<_>>();
        let packed = Packed::new(masking()).batch(&rows, &draws(), &device()).unwrap();
        let alone = apart(&packed);
        assert_eq!(alone.input.ids.dims()[0], 9);
        same(name, &model, packed, alone);
    }
}

#[test]
fn networks_that_would_look_across_borders_refuse_packed_rows() {
    let packed = documents().1;
    let batch = Packed::new(CausalLanguage::filled_with(0));
    let input = batch.batch(&packed.iter().collect::<Vec<_>>(), &draws(), &device()).unwrap().input;
    for (name, extra) in [
        ("mpnet", json!({})),
        ("deberta-v2", json!({})),
        ("esm", json!({ "mask_token_id": 4 })),
        ("t5", json!({ "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4 })),
    ] {
        assert_eq!(body(&config(name, extra)).check(&input), Err(InputError::Packed), "{name}");
    }
    let start = rekindle::backbone::DecoderStart { token: 2, padding: 0 };
    let mirrored = Mirrored::new(batch, start);
    let error = mirrored.batch(&packed.iter().collect::<Vec<_>>(), &draws(), &device()).unwrap_err();
    assert!(matches!(error, DataError::Packed), "{error}");
}

#[test]
fn a_document_is_as_long_as_positions_allow_and_padding_is_what_the_mask_says() {
    let network = body(&config("gpt2", gpt2()));
    let input = |length: usize, padding: usize| {
        let numbers: Vec<i64> = (0..LENGTH).map(|place| 1 + (place / length) as i64).collect();
        let ids = Tensor::<2, Int>::ones([1, LENGTH], &device());
        let real: Vec<bool> = (0..LENGTH).map(|place| place < LENGTH - padding).collect();
        TextInput {
            type_ids: ids.zeros_like(),
            ids,
            mask: Tensor::from_data(TensorData::new(real, [1, LENGTH]), &device()),
            documents: Some(Tensor::from_data(TensorData::new(numbers, [1, LENGTH]), &device())),
        }
    };
    assert_eq!(network.check(&input(POSITIONS, 0)), Ok(()));
    let long = network.check(&input(POSITIONS + 1, 0));
    assert_eq!(long, Err(InputError::TooLong { found: POSITIONS + 1, max: POSITIONS }));
    assert_eq!(network.check(&input(4, 1)), Err(InputError::BadDocument { row: 0, place: LENGTH - 1 }));
}

#[test]
fn a_frozen_decoder_keeps_states_of_packed_rows_and_the_numbers_are_those_without() {
    let packed = pack(token_rows(60), LENGTH).unwrap();
    let (train, validation) = packed.split_at(packed.len() - 4);
    let objective = Packed::new(CausalLanguage::new(&tokenizer()));
    let run = |cache| {
        let mut model = decoder("llama", json!({}));
        let config = Fit { batch_size: 4, cache, ..fit_config(6, 1e-3) };
        let data = Data { train, validation };
        let report = fit(&mut model, &objective, data, &Freeze::Bottom(2), &config, &mut []).unwrap();
        (report, bits(&model))
    };
    let (with, without) = (run(Cache::memory()), run(Cache::None));
    assert_eq!(with.0.cache.rows, packed.len());
    assert_eq!((with.0.losses, with.0.evaluations), (without.0.losses, without.0.evaluations));
    assert_eq!(with.1, without.1);
}

#[test]
fn a_forecast_counts_that_documents_see_themselves_alone() {
    let (_, packed) = documents();
    let merged = |row: &PackedRow| {
        let ids = row.documents.iter().flat_map(|document| document.ids.clone()).collect();
        PackedRow { documents: vec![TokenRow { ids, ..TokenRow::default() }] }
    };
    let merged: Vec<PackedRow> = packed.iter().map(merged).collect();
    let objective = Packed::new(CausalLanguage::new(&tokenizer()));
    let of_cache = |rows: &[PackedRow]| {
        let model = decoder("llama", json!({}));
        let config = Fit { cache: Cache::memory(), ..fit_config(6, 1e-3) };
        let data = Data { train: rows, validation: &[] };
        forecast(&model, &objective, data, &Freeze::Bottom(2), &config).unwrap().operations.cache
    };
    let squares = |rows: &[PackedRow]| {
        let documents = rows.iter().flat_map(|row| &row.documents);
        documents.map(|document| document.len().pow(2)).sum::<usize>() as f64
    };
    // One frozen layer of 32 values.
    let less = 4.0 * 32.0 * (squares(&merged) - squares(&packed));
    let found = of_cache(&merged) - of_cache(&packed);
    assert!(less > 0.0 && (found / less - 1.0).abs() < 1e-9, "{found} {less}");
}

#[test]
fn a_decoder_learns_to_say_what_comes_next() {
    let rows = token_rows(96);
    let (train, validation) = (pack(rows[..80].to_vec(), LENGTH).unwrap(), rows[80..].to_vec());
    let objective = CausalLanguage::new(&tokenizer());
    let mut model = decoder("gpt2", gpt2());
    let before = evaluate(&model, &objective, &validation, 8, 1).unwrap().summary();
    let config = Fit { batch_size: 4, ..fit_config(60, 5e-3) };
    let data = Data { train: &train[..], validation: &[] };
    fit(&mut model, &Packed::new(objective), data, &Freeze::Nothing, &config, &mut []).unwrap();
    let after = evaluate(&model, &objective, &validation, 8, 1).unwrap().summary();
    assert!(before.loss > 4.0 && after.loss < 0.5 * before.loss, "{} {}", before.loss, after.loss);
    assert!(after.accuracy > before.accuracy);
}
