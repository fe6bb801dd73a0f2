//! RoBERTa through the road that BERT takes: train, save, load, predict.

use rekindle::Model;
use rekindle::backbone::{Pooling, Roberta, RobertaConfig};
use rekindle::checkpoint::{Checkpoint, FromPretrained, save_classifier};
use rekindle::head::Classifier;
use rekindle::params::Freeze;
use rekindle::predict::Predictor;
use rekindle::train::{Data, fit};
use serde_json::json;

use super::support::*;

fn roberta(pooling: Pooling) -> (RobertaConfig, Model<Roberta, Classifier>) {
    let config: RobertaConfig = serde_json::from_value(json!({
        "model_type": "roberta", "vocab_size": tokenizer().vocab_size(), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 34, "pad_token_id": 0,
        "type_vocab_size": 1,
    }))
    .unwrap();
    Roberta::check_config(&config).unwrap();
    assert_eq!(Roberta::max_length(&config), 33);
    let head = Roberta::classifier(&config, 4, 7, &device());
    let model = Model::new(Roberta::build(&config, pooling, 7, &device()), head);
    (config, model)
}

#[test]
fn a_trained_classifier_is_saved_and_answers_the_same() {
    let (config, mut model) = roberta(Pooling::Cls);
    let all = rows(40);
    let data = Data { train: &all[..32], validation: &all[32..] };
    let report = fit(&mut model, &task(), data, &Freeze::Bottom(2), &fit_config(6, 1e-3), &mut []).unwrap();
    assert!(report.optimizer_parameters.iter().all(|path| !path.contains("embeddings") && !path.contains("layer.0")));
    assert!(report.optimizer_parameters.iter().any(|path| path == "head.dense.weight"));

    let folder = temporary();
    let saved = folder.path().join("saved");
    save_classifier(&saved, &model, &config, &task(), &Freeze::Bottom(2)).unwrap();
    let checkpoint = Checkpoint::open(&saved).unwrap();
    assert_eq!(checkpoint.architectures(), ["RobertaForSequenceClassification"]);
    let keys: Vec<&str> = checkpoint.tensors().keys().collect();
    assert!(keys.contains(&"classifier.dense.weight") && keys.contains(&"classifier.out_proj.bias"), "{keys:?}");
    let texts: Vec<String> = (0..9).map(|index| text(index).0).collect();
    let loaded: Predictor<Roberta> = Predictor::load(&saved, &device()).unwrap();
    assert_eq!(Predictor::new(&model, task()).predict(&texts).unwrap(), loaded.predict(&texts).unwrap());
    let error = checkpoint.config::<rekindle::backbone::Bert>().unwrap_err().to_string();
    assert!(error.contains("model_type") && error.contains("roberta"), "{error}");
}

#[test]
fn a_pooling_that_transformers_has_not_is_refused_by_name() {
    let (config, model) = roberta(Pooling::Mean);
    let folder = temporary();
    let error = save_classifier(folder.path().join("saved"), &model, &config, &task(), &Freeze::Nothing).unwrap_err();
    assert!(error.to_string().contains("pooling") && error.to_string().contains("cls"), "{error}");
}
