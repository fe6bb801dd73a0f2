//! Text backbones that are chosen by `model_type`.

use rekindle::Model;
use rekindle::backbone::{AutoText, Backbone, Bert, Pooled, Pooling};
use rekindle::checkpoint::{Checkpoint, FromPretrained, load_classifier, save_classifier};
use rekindle::data::pad_rows;
use rekindle::objective::text_input;
use rekindle::params::{Freeze, Inventory};
use rekindle::train::{Data, Fit, fit};
use std::path::Path;

use super::support::*;

fn fixture(name: &str) -> Checkpoint {
    Checkpoint::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

#[test]
fn the_architecture_comes_from_the_file_and_the_bits_from_its_own_type() {
    let checkpoint = fixture("bert_seqcls");
    let auto = checkpoint.backbone::<AutoText>(Pooling::Pooler, &device()).unwrap().module;
    let bert = checkpoint.backbone::<Bert>(Pooling::Pooler, &device()).unwrap().module;
    assert!(matches!(auto, AutoText::Bert(_)));
    let ids = [[2_i64, 7, 9, 3], [2, 11, 3, 0]].map(|row| row.map(|id| id as u32).to_vec());
    let rows = ids.map(|ids| rekindle::data::TokenRow { ids, ..Default::default() });
    let input = text_input(pad_rows(&rows.iter().collect::<Vec<_>>(), 0), &device());
    let pooled = |features: rekindle::backbone::TextFeatures| features.pooled().into_data();
    assert_eq!(pooled(auto.forward(input.clone())), pooled(bert.forward(input)));
    let config = checkpoint.config::<AutoText>().unwrap();
    let head = || AutoText::classifier(&config, 3, 1, &device());
    let paths = |inventory: Inventory| inventory.entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>();
    let [auto, bert] = [Inventory::of(&Model::new(auto, head())), Inventory::of(&Model::new(bert, head()))];
    assert_eq!(paths(auto.unwrap()), paths(bert.unwrap()));
}

#[test]
fn it_trains_and_a_saved_folder_says_what_it_is() {
    let rows = rows(24);
    let config = serde_json::json!({
        "model_type": "distilbert", "vocab_size": tokenizer().vocab_size(), "dim": 16, "n_layers": 2, "n_heads": 2,
        "hidden_dim": 24, "max_position_embeddings": 32
    });
    let config: <AutoText as FromPretrained>::Config = serde_json::from_value(config).unwrap();
    let pooling = AutoText::classification_pooling(&config);
    let body = AutoText::build(&config, pooling, 1, &device());
    let mut model = Model::new(body, AutoText::classifier(&config, 4, 1, &device()));
    let data = Data { train: rows.as_slice(), validation: &[] };
    let report = fit(&mut model, &task(), data, &Freeze::Bottom(1), &Fit { ..fit_config(4, 1e-3) }, &mut []).unwrap();
    assert!(report.losses.iter().all(|loss| loss.is_finite()));
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_classifier(&saved, &model, &config, &task(), &Freeze::Bottom(1)).unwrap();
    assert_eq!(Checkpoint::open(&saved).unwrap().model_type(), Some("distilbert"));
    let loaded = load_classifier::<AutoText>(&saved, &device()).unwrap();
    assert_eq!(bits(&loaded.model), bits(&model));
}

#[test]
fn an_unknown_architecture_is_named() {
    let unknown = serde_json::json!({ "model_type": "rwkv" });
    let error = serde_json::from_value::<<AutoText as FromPretrained>::Config>(unknown).unwrap_err().to_string();
    assert!(error.contains("rwkv") && error.contains("distilbert"), "{error}");
}
