//! BERT's kin through the road that BERT takes: train, save, load, predict.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use rekindle::Model;
use rekindle::backbone::{
    Albert, Backbone, Bert, DebertaV2, DistilBert, Electra, Esm, EsmConfig, EuroBert, InputError, ModernBert, MpNet,
    NomicBert, Pooling, Roberta, RobertaConfig, TextFeatures, TextInput,
};
use rekindle::checkpoint::{Checkpoint, FromPretrained, Tensors, save_classifier, save_pretrained, save_tensors};
use rekindle::head::{Classifier, MaskedLm, TokenClassifier};
use rekindle::params::{Freeze, FreezePolicy, Inventory, Progress};
use rekindle::predict::Predictor;
use rekindle::train::{Data, fit};
use serde_json::{Value, json};

use super::support::*;

/// Three layers that the first two stages are half of; names that an architecture does not know are kept unread.
fn sizes(extra: Value) -> Value {
    let mut sizes = json!({
        "vocab_size": tokenizer().vocab_size(), "hidden_size": 32, "embedding_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 64, "hidden_dim": 64, "max_position_embeddings": 34,
        "pad_token_id": 0, "hidden_dropout_prob": 0.1,
    });
    sizes.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    sizes
}

fn fresh<B: FromPretrained>(config: Value, pooling: Pooling) -> (B::Config, Model<B, Classifier>) {
    let config: B::Config = serde_json::from_value(config).unwrap();
    B::check_config(&config).unwrap();
    let head = B::classifier(&config, 4, 7, &device());
    let model = Model { backbone: B::build(&config, pooling, 7, &device()), head };
    (config, model)
}

/// Trains above the lower two stages; gives the keys of the saved weights.
fn trained_and_saved<B>(config: Value, pooling: Pooling, class: &str) -> Vec<String>
where
    B: FromPretrained + Backbone<Input = TextInput, Features = TextFeatures>,
{
    let (config, mut model) = fresh::<B>(config, pooling);
    let all = rows(40);
    let data = Data { train: &all[..32], validation: &all[32..] };
    let report = fit(&mut model, &task(), data, &Freeze::Bottom(2), &fit_config(6, 1e-3), &mut []).unwrap();
    assert!(
        report
            .optimizer_parameters
            .iter()
            .all(|path| !path.contains("embeddings") && !path.contains("layer.0") && !path.contains("layers.0"))
    );
    assert!(report.optimizer_parameters.iter().any(|path| path == "head.linear.weight"));

    let folder = temporary();
    let saved = folder.path().join("saved");
    save_classifier(&saved, &model, &config, &task(), &Freeze::Bottom(2)).unwrap();
    let checkpoint = Checkpoint::open(&saved).unwrap();
    assert_eq!(checkpoint.architectures(), [class]);
    let texts: Vec<String> = (0..9).map(|index| text(index).0).collect();
    let loaded = Predictor::<B>::load_as(&saved, &device()).unwrap();
    assert_eq!(Predictor::new(&model, task()).predict(&texts).unwrap(), loaded.predict(&texts).unwrap());
    let error = checkpoint.config::<rekindle::backbone::Bert>().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("model_type"), "{error}");
    checkpoint.tensors().keys().map(Into::into).collect()
}

fn has(keys: &[String], wanted: &[&str]) {
    wanted.iter().for_each(|key| assert!(keys.iter().any(|found| found == key), "{key} is not in {keys:?}"));
}

#[test]
fn a_trained_roberta_is_saved_and_answers_the_same() {
    let config = sizes(json!({ "model_type": "roberta", "type_vocab_size": 1 }));
    assert_eq!(Roberta::max_length(&serde_json::from_value(config.clone()).unwrap()), 33);
    let keys = trained_and_saved::<Roberta>(config, Pooling::Cls, "RobertaForSequenceClassification");
    has(&keys, &["classifier.dense.weight", "classifier.out_proj.bias"]);
    let config = sizes(json!({ "model_type": "camembert" }));
    trained_and_saved::<Roberta>(config, Pooling::Cls, "CamembertForSequenceClassification");
}

#[test]
fn token_classes_and_text_classes_of_a_roberta_have_keys_of_their_own() {
    let (config, Model { backbone, .. }) = fresh::<Roberta>(sizes(json!({})), Pooling::Cls);
    let model = Model { backbone, head: Roberta::token_classifier(&config, 3, 7, &device()) };
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_pretrained(&saved, &model, &config, "RobertaForTokenClassification", &tokenizer()).unwrap();
    let checkpoint = Checkpoint::open(&saved).unwrap();
    assert!(checkpoint.tensors().keys().any(|key| key == "classifier.weight"));
    let fresh_head = Roberta::token_classifier(&config, 3, 8, &device());
    let loaded = checkpoint.model(&Model { head: fresh_head, ..model.clone() }).unwrap().module;
    let logits = |model: &Model<Roberta, TokenClassifier>| {
        let ids = Tensor::<2, Int>::from_ints([[2, 9, 11, 7]], &device());
        let input = TextInput { type_ids: ids.zeros_like(), mask: ids.clone().not_equal_elem(0), documents: None, ids };
        model.forward(input).into_data()
    };
    assert_eq!(logits(&loaded), logits(&model));
    let texts = Model { backbone: loaded.backbone, head: Roberta::classifier(&config, 3, 7, &device()) };
    let error = checkpoint.model(&texts).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("classifier.dense.weight"), "{error}");
}

#[test]
fn a_trained_distilbert_is_saved_and_answers_the_same() {
    let config = sizes(json!({ "sinusoidal_pos_embds": true }));
    let keys = trained_and_saved::<DistilBert>(config, Pooling::Cls, "DistilBertForSequenceClassification");
    has(&keys, &["pre_classifier.weight", "classifier.bias", "distilbert.transformer.layer.2.ffn.lin1.bias"]);
}

#[test]
fn a_trained_electra_is_saved_and_answers_the_same() {
    let keys = trained_and_saved::<Electra>(sizes(json!({})), Pooling::Cls, "ElectraForSequenceClassification");
    has(&keys, &["electra.embeddings_project.weight", "classifier.dense.weight", "classifier.out_proj.bias"]);
}

#[test]
fn a_trained_mpnet_is_saved_and_answers_the_same() {
    let keys = trained_and_saved::<MpNet>(sizes(json!({})), Pooling::Cls, "MPNetForSequenceClassification");
    has(&keys, &["mpnet.encoder.relative_attention_bias.weight", "classifier.out_proj.bias"]);
}

#[test]
fn a_trained_albert_is_saved_and_answers_the_same() {
    let config = sizes(json!({ "num_hidden_groups": 2, "inner_group_num": 2 }));
    let keys = trained_and_saved::<Albert>(config, Pooling::Pooler, "AlbertForSequenceClassification");
    has(&keys, &["albert.encoder.albert_layer_groups.1.albert_layers.1.ffn.weight", "albert.pooler.weight"]);
}

#[test]
fn a_trained_esm_is_saved_and_answers_the_same() {
    let rotary = json!({ "position_embedding_type": "rotary", "token_dropout": true, "mask_token_id": 4 });
    let keys = trained_and_saved::<Esm>(sizes(rotary), Pooling::Cls, "EsmForSequenceClassification");
    has(&keys, &["esm.encoder.emb_layer_norm_after.weight", "classifier.out_proj.bias"]);
    let absolute = json!({ "position_embedding_type": "absolute", "emb_layer_norm_before": true });
    let keys = trained_and_saved::<Esm>(sizes(absolute), Pooling::Cls, "EsmForSequenceClassification");
    has(&keys, &["esm.embeddings.position_embeddings.weight", "esm.embeddings.layer_norm.bias"]);
}

#[test]
fn a_trained_modernbert_is_saved_and_answers_the_same() {
    let options = json!({ "local_attention": 4, "classifier_pooling": "mean", "global_attn_every_n_layers": 2 });
    let keys = trained_and_saved::<ModernBert>(sizes(options), Pooling::Mean, "ModernBertForSequenceClassification");
    has(&keys, &["model.layers.2.attn.Wqkv.weight", "model.final_norm.weight", "head.norm.weight", "classifier.bias"]);
    assert!(!keys.iter().any(|key| key.contains("norm.bias") || key.starts_with("model.layers.0.attn_norm")));
}

#[test]
fn a_trained_deberta_is_saved_and_answers_the_same() {
    let options = json!({ "relative_attention": true, "position_buckets": 8, "pos_att_type": "p2c|c2p", "conv_kernel_size": 3,
        "norm_rel_ebd": "layer_norm", "position_biased_input": false });
    let keys = trained_and_saved::<DebertaV2>(sizes(options), Pooling::Cls, "DebertaV2ForSequenceClassification");
    has(&keys, &["deberta.encoder.rel_embeddings.weight", "deberta.encoder.conv.conv.weight", "pooler.dense.weight"]);
}

#[test]
fn a_trained_eurobert_is_saved_and_answers_the_same() {
    let keys = trained_and_saved::<EuroBert>(sizes(json!({})), Pooling::Mean, "EuroBertForSequenceClassification");
    has(
        &keys,
        &["model.embed_tokens.weight", "model.layers.1.mlp.gate_proj.weight", "model.norm.weight", "dense.bias"],
    );
}

#[test]
fn a_trained_nomic_bert_is_saved_and_answers_the_same() {
    let keys = trained_and_saved::<NomicBert>(sizes(json!({})), Pooling::Pooler, "NomicBertForSequenceClassification");
    has(&keys, &["nomic_bert.emb_ln.weight", "nomic_bert.encoder.layers.2.attn.Wqkv.weight", "classifier.weight"]);
}

#[test]
fn options_that_cannot_be_computed_are_named() {
    fn refused<B: FromPretrained>(extra: Value) -> String {
        let config: B::Config = serde_json::from_value(sizes(extra)).unwrap();
        B::check_config(&config).unwrap_err().to_string()
    }
    for (error, field) in [
        (refused::<ModernBert>(json!({ "layer_types": ["full_attention"] })), "layer_types"),
        (refused::<ModernBert>(json!({ "classifier_pooling": "eos" })), "classifier_pooling"),
        (refused::<ModernBert>(json!({ "rope_parameters": { "rope_theta": 5.0 } })), "rope_parameters"),
        (refused::<DebertaV2>(json!({ "relative_attention": true })), "pos_att_type"),
        (refused::<DebertaV2>(json!({ "pos_att_type": ["p2p"] })), "pos_att_type"),
        (refused::<DebertaV2>(json!({ "pooler_dropout": 0.1 })), "pooler_dropout"),
        (refused::<DebertaV2>(json!({ "z_steps": 2 })), "z_steps"),
        (refused::<DebertaV2>(json!({ "conv_kernel_size": 2 })), "conv_kernel_size"),
        (refused::<DebertaV2>(json!({ "legacy": false })), "legacy"),
        (refused::<EuroBert>(json!({ "classifier_pooling": "max" })), "classifier_pooling"),
        (refused::<EuroBert>(json!({ "num_key_value_heads": 3 })), "num_key_value_heads"),
        (refused::<NomicBert>(json!({ "head_dim": 5 })), "head_dim"),
    ] {
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn a_row_of_masks_alone_is_finite() {
    let config = json!({ "position_embedding_type": "rotary", "token_dropout": true, "mask_token_id": 4 });
    let (_, Model { backbone: esm, .. }) = fresh::<Esm>(sizes(config), Pooling::Mean);
    let ids = Tensor::<2, Int>::from_ints([[4, 4, 4], [0, 0, 0]], &device());
    let input = TextInput { type_ids: ids.zeros_like(), mask: ids.clone().not_equal_elem(0), documents: None, ids };
    let hidden = esm.forward(input).hidden;
    assert!(hidden.into_data().iter::<f32>().all(f32::is_finite));
}

#[test]
fn rotary_positions_have_no_limit_and_absolute_ones_do() {
    let rows = |seq| {
        let ids = Tensor::<2, Int>::full([1, seq], 5, &device());
        TextInput { type_ids: ids.zeros_like(), mask: ids.clone().not_equal_elem(0), documents: None, ids }
    };
    let (_, rotary) = fresh::<Esm>(sizes(json!({ "position_embedding_type": "rotary" })), Pooling::Mean);
    assert_eq!((rotary.backbone.positions(), rotary.backbone.check(&rows(40))), (None, Ok(())));
    let (_, absolute) = fresh::<Esm>(sizes(json!({})), Pooling::Mean);
    assert_eq!(absolute.backbone.positions(), Some(33));
    assert_eq!(absolute.backbone.check(&rows(34)), Err(InputError::TooLong { found: 34, max: 33 }));
}

/// The paths that train.
fn trainable<B: FromPretrained>(model: &Model<B, Classifier>, policy: &Freeze) -> Vec<String> {
    let inventory = Inventory::of(&model.clone().train()).unwrap();
    let trains = policy.trainable(&inventory, Progress::default()).unwrap();
    let entries = inventory.entries.iter().zip(trains).filter(|(_, trains)| *trains);
    entries.map(|(entry, _)| entry.path.clone()).collect()
}

#[test]
fn what_several_stages_read_rests_with_the_lowest_of_them() {
    let (_, albert) = fresh::<Albert>(sizes(json!({ "num_hidden_layers": 4 })), Pooling::Pooler);
    let names: Vec<String> = albert.backbone.stages().iter().map(|stage| stage.name.clone()).collect();
    let runs = ["encoder.run.0", "encoder.run.1", "encoder.run.2", "encoder.run.3"];
    assert_eq!((&names[1..5], names.len()), (&runs.map(String::from)[..], 6));
    let layer = |paths: Vec<String>| paths.iter().any(|path| path.contains("encoder.layer.0"));
    assert!(layer(trainable(&albert, &Freeze::Bottom(1))));
    assert!(!layer(trainable(&albert, &Freeze::Bottom(2))), "its first run is frozen");
    let (_, mpnet) = fresh::<MpNet>(sizes(json!({})), Pooling::Cls);
    let bias = |paths: Vec<String>| paths.iter().any(|path| path.contains("relative_attention_bias"));
    assert!(bias(trainable(&mpnet, &Freeze::Bottom(1))));
    assert!(!bias(trainable(&mpnet, &Freeze::Bottom(2))));
}

#[test]
fn a_masked_lm_head_projects_by_itself_where_embeddings_are_not_tied() {
    fn untied<B>(config: Value, head: impl Fn(&B::Config) -> MaskedLm, class: &str, projection: &str, unread: &str)
    where
        B: FromPretrained + Backbone<Input = TextInput, Features = TextFeatures>,
    {
        let config = sizes(config);
        let tied: B::Config = serde_json::from_value(config.clone()).unwrap();
        let config: B::Config = serde_json::from_value(with(config, "tie_word_embeddings", json!(false))).unwrap();
        B::check_config(&config).unwrap();
        let model = Model { backbone: B::build(&config, Pooling::Mean, 7, &device()), head: head(&config) };
        let folder = temporary();
        let saved = folder.path().join("saved");
        save_pretrained(&saved, &model, &config, class, &tokenizer()).unwrap();

        // Transformers keeps the bias of tied embeddings too, and does not read it.
        let file = saved.join("model.safetensors");
        let tensors = Tensors::open_file(&file).unwrap();
        let mut all: Vec<_> = tensors
            .keys()
            .map(|key| (key.to_string(), tensors.shape(key).unwrap().to_vec(), tensors.f32(key).unwrap()))
            .collect();
        let vocab_size = tokenizer().vocab_size();
        let [weight, bias] = ["weight", "bias"].map(|name| format!("{projection}.{name}"));
        let keys: Vec<String> = all.iter().map(|(key, ..)| key.clone()).collect();
        has(&keys, &[&weight, &bias]);
        assert!(!keys.iter().any(|key| key == unread));
        all.push((unread.into(), vec![vocab_size], vec![9.0; vocab_size]));
        save_tensors(&file, all, &[("format", "pt")]).unwrap();

        let checkpoint = Checkpoint::open(&saved).unwrap();
        let loaded = checkpoint.model(&model).unwrap();
        assert_eq!(loaded.report.ignored, [unread]);
        let logits = |model: &Model<B, MaskedLm>| {
            let ids = Tensor::<2, Int>::from_ints([[2, 9, 11, 7]], &device());
            let mask = ids.clone().not_equal_elem(0);
            model.forward(TextInput { type_ids: ids.zeros_like(), mask, documents: None, ids }).into_data()
        };
        assert_eq!(logits(&loaded.module), logits(&model));
        let tied = Model { backbone: model.backbone.clone(), head: head(&tied) };
        assert_ne!(logits(&tied), logits(&model));
    }
    let masked_lm = |config: &_| Bert::masked_lm(config, 3, &device());
    let (class, projection, unread) = ("BertForMaskedLM", "cls.predictions.decoder", "cls.predictions.bias");
    untied::<Bert>(json!({}), masked_lm, class, projection, unread);
    let masked_lm = |config: &_| Roberta::masked_lm(config, 3, &device());
    untied::<Roberta>(json!({ "pad_token_id": 1 }), masked_lm, "RobertaForMaskedLM", "lm_head.decoder", "lm_head.bias");
    let masked_lm = |config: &_| Albert::masked_lm(config, 3, &device());
    untied::<Albert>(json!({}), masked_lm, "AlbertForMaskedLM", "predictions.decoder", "predictions.bias");
}

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

#[test]
fn a_pooling_that_transformers_has_not_is_refused_by_name() {
    let (config, model) = fresh::<Roberta>(sizes(json!({ "model_type": "roberta" })), Pooling::Mean);
    let _: &RobertaConfig = &config;
    let folder = temporary();
    let error = save_classifier(folder.path().join("saved"), &model, &config, &task(), &Freeze::Nothing).unwrap_err();
    assert!(error.to_string().contains("pooling") && error.to_string().contains("cls"), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_built_names_its_field() {
    fn refused<B: FromPretrained>(config: Value, field: &str) {
        let config: B::Config = serde_json::from_value(config).unwrap();
        let error = B::check_config(&config).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    refused::<Albert>(json!({ "num_hidden_groups": 13 }), "num_hidden_groups");
    refused::<Albert>(json!({ "num_hidden_layers": 1_000_000 }), "num_hidden_layers");
    refused::<Albert>(json!({ "embedding_size": 0 }), "embedding_size");
    refused::<DistilBert>(json!({ "n_heads": 5 }), "n_heads");
    refused::<DistilBert>(json!({ "qa_dropout": 1.0 }), "qa_dropout");
    refused::<Electra>(json!({ "is_decoder": true }), "is_decoder");
    refused::<Electra>(json!({ "embedding_size": usize::MAX }), "hidden_size");
    refused::<Electra>(json!({ "summary_type": "mean" }), "summary_type");
    refused::<Electra>(json!({ "summary_first_dropout": 0.1 }), "summary_first_dropout");
    refused::<MpNet>(json!({ "relative_attention_num_buckets": 31 }), "relative_attention_num_buckets");
    refused::<MpNet>(json!({ "max_position_embeddings": 2 }), "max_position_embeddings");
    refused::<MpNet>(json!({ "vocab_size": 1 }), "vocab_size");
    refused::<Esm>(json!({ "is_folding_model": true }), "is_folding_model");
    refused::<Esm>(json!({ "token_dropout": true, "mask_token_id": null }), "mask_token_id");
    refused::<Esm>(json!({ "pad_token_id": null }), "pad_token_id");
    let odd = json!({ "position_embedding_type": "rotary", "hidden_size": 24, "num_attention_heads": 8 });
    refused::<Esm>(odd, "num_attention_heads");
    let unknown = serde_json::from_value::<EsmConfig>(json!({ "position_embedding_type": "relative_key" }));
    assert!(unknown.unwrap_err().to_string().contains("relative_key"));
}
