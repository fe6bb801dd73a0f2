//! Models for tasks of rows: what is saved is loaded again, and nothing else is taken for it.

use std::fs;
use std::path::Path;

use burn::tensor::Tensor;
use rekindle::backbone::{Bert, Pooling};
use rekindle::checkpoint::{
    Saved, load_chooser, load_classifier, load_embedder, load_multi_label, load_pair_classifier, load_regressor,
    save_chooser, save_classifier, save_embedder, save_multi_label, save_pair_classifier, save_regressor, save_tensors,
};
use rekindle::data::{Labels, PairExample};
use rekindle::head::{
    LabelLoss, MultipleChoice, NumberLoss, PairClassifier, PairLoss, Projection, SentenceEmbedder, TaskHead,
};
use rekindle::nn::Activation;
use rekindle::objective::{
    ChoiceExample, Choosing, Draws, Objective, TextNumbers, TextSimilarity, TwoTextClassification,
};
use rekindle::params::Freeze;
use rekindle::predict::Embedder;
use rekindle::{Error, Model};
use serde_json::{Value, json};

use super::support::*;

const LIMIT: usize = 20;

/// What a model makes of examples.
fn outputs<O, H>(model: &Model<Bert, H>, task: &O, examples: &[O::Example]) -> Vec<f32>
where
    O: Objective<Input = rekindle::backbone::TextInput>,
    H: TaskHead<rekindle::backbone::TextFeatures, Output = Tensor<2>, Targets = O::Targets>,
{
    let (rows, indices): (Vec<&O::Example>, Vec<usize>) = (examples.iter().collect(), (0..examples.len()).collect());
    let batch = task.batch(&rows, &Draws::new(0, 0, &indices), &device()).unwrap();
    model.forward(batch.input).into_data().iter::<f32>().collect()
}

fn json_of(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let mut value = json_of(folder, name);
    change(&mut value);
    fs::write(folder.join(name), value.to_string()).unwrap();
}

fn fault<T>(result: Result<T, Error>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn numbers_are_loaded_as_they_were_saved() {
    let task = TextNumbers::new(tokenizer(), 3, LIMIT).unwrap();
    let head = rekindle::head::Classifier::new(32, 3, 7, &device()).with_dropout(0.25);
    let model = Model::new(bert(2, 0.0, Pooling::Pooler), head.for_numbers(NumberLoss::default()).unwrap());
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_regressor(&saved, &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
    let written = json_of(&saved, "config.json");
    assert_eq!(written["problem_type"], "regression");
    assert_eq!(written["architectures"], json!(["BertForSequenceClassification"]));
    assert_eq!(written["id2label"].as_object().unwrap().len(), 3);

    let again = load_regressor::<Bert>(&saved, &device()).unwrap();
    assert_eq!((again.task.outputs(), again.task.max_length(), again.model.head.dropout()), (3, LIMIT, 0.25));
    let rows = task.encode(&[(text(3).0, vec![1.0, 2.0, 3.0]), (text(9).0, vec![0.0; 3])]).unwrap();
    assert_eq!(outputs(&again.model, &again.task, &rows), outputs(&model, &task, &rows));

    assert!(fault(load_classifier::<Bert>(&saved, &device())).contains("problem_type"));
    assert!(fault(load_multi_label::<Bert>(&saved, &device())).contains("problem_type"));
    // A file of Transformers need not name the problem where there is one output.
    fs::remove_file(saved.join("rekindle.json")).unwrap();
    edit(&saved, "config.json", |config| _ = config.as_object_mut().unwrap().remove("problem_type"));
    assert!(
        fault(load_regressor::<Bert>(&saved, &device())).contains("`problem_type`"),
        "three outputs may be classes"
    );
    let two = TextNumbers::new(tokenizer(), 2, LIMIT).unwrap();
    let error = fault(save_regressor(&saved, &model, &config(2, 0.0), &two, &Freeze::Nothing));
    assert!(error.contains('3') && error.contains('2'), "{error}");
}

#[test]
fn one_number_without_a_name_for_the_problem_is_regression() {
    let task = TextNumbers::new(tokenizer(), 1, LIMIT).unwrap();
    let head = rekindle::head::Classifier::new(32, 1, 7, &device()).for_numbers(NumberLoss::Absolute).unwrap();
    let model = Model::new(bert(1, 0.0, Pooling::Pooler), head);
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_regressor(&saved, &model, &config(1, 0.0), &task, &Freeze::Nothing).unwrap();
    fs::remove_file(saved.join("rekindle.json")).unwrap();
    edit(&saved, "config.json", |config| _ = config.as_object_mut().unwrap().remove("problem_type"));
    let Saved { model: again, task } = load_regressor::<Bert>(&saved, &device()).unwrap();
    let rows = task.encode(&[(text(3).0, vec![1.0])]).unwrap();
    assert_eq!(outputs(&again, &task, &rows), outputs(&model, &task, &rows));
    assert_eq!(task.max_length(), 32, "as many tokens as there are positions");
    assert!(fault(load_classifier::<Bert>(&saved, &device())).contains("regression"));
}

#[test]
fn several_labels_are_loaded_as_they_were_saved() {
    let labels = Labels::from_names(["late", "broken", "rude"]).unwrap();
    let task = TextNumbers::new(tokenizer(), 3, LIMIT).unwrap();
    let head = rekindle::head::Classifier::new(32, 3, 7, &device()).for_labels(LabelLoss::default()).unwrap();
    // A pooling of our own, which comes with the code that computes it.
    let model = Model::new(bert(2, 0.0, Pooling::Mean), head);
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_multi_label(&saved, &model, &config(2, 0.0), &task, &labels, &Freeze::Nothing).unwrap();
    assert!(saved.join("modeling_rekindle.py").is_file());
    let written = json_of(&saved, "config.json");
    assert_eq!(
        (&written["problem_type"], &written["id2label"]["1"]),
        (&"multi_label_classification".into(), &"broken".into())
    );

    let again = load_multi_label::<Bert>(&saved, &device()).unwrap();
    assert_eq!(again.labels.names(), labels.names());
    let rows = task.encode(&[(text(3).0, labels.hot(&["late", "rude"]).unwrap())]).unwrap();
    assert_eq!(outputs(&again.model, &again.task, &rows), outputs(&model, &task, &rows));
    assert!(fault(load_regressor::<Bert>(&saved, &device())).contains("problem_type"));
    edit(&saved, "config.json", |config| config["problem_type"] = Value::Null);
    assert!(fault(load_multi_label::<Bert>(&saved, &device())).contains("problem_type"));

    let other = TextNumbers::new(tokenizer(), 2, LIMIT).unwrap();
    assert!(save_multi_label(&saved, &model, &config(2, 0.0), &other, &labels, &Freeze::Nothing).is_err());
}

#[test]
fn choices_are_loaded_as_they_were_saved() {
    let task = Choosing::new(tokenizer(), 3, LIMIT).unwrap();
    let head = MultipleChoice::new(32, 3, 7, &device()).with_dropout(0.25);
    let model = Model::new(bert(2, 0.0, Pooling::Pooler), head);
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_chooser(&saved, &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
    assert_eq!(json_of(&saved, "config.json")["architectures"], json!(["BertForMultipleChoice"]));

    let example = ChoiceExample { question: text(1).0, choices: (2..5).map(|index| text(index).0).collect(), right: 1 };
    let rows = task.encode(&[example]).unwrap();
    for choices in [None, Some(3)] {
        let again = load_chooser::<Bert>(&saved, choices, &device()).unwrap();
        assert_eq!((again.task.choices(), again.task.max_length(), again.model.head.dropout()), (3, LIMIT, 0.25));
        assert_eq!(outputs(&again.model, &again.task, &rows), outputs(&model, &task, &rows));
        fs::remove_file(saved.join("rekindle.json")).unwrap_or_default();
        // The second time as Transformers leaves the folder: nothing there says how many choices, and where to cut.
        if choices.is_none() {
            assert!(fault(load_chooser::<Bert>(&saved, None, &device())).contains("choices"));
            save_chooser(&saved, &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
        }
    }
    assert_eq!(load_chooser::<Bert>(&saved, Some(2), &device()).unwrap().task.choices(), 2);
    assert!(fault(load_classifier::<Bert>(&saved, &device())).contains("ForSequenceClassification"));

    let mean = Model::new(bert(2, 0.0, Pooling::Mean), MultipleChoice::new(32, 3, 7, &device()));
    let error = fault(save_chooser(&saved, &mean, &config(2, 0.0), &task, &Freeze::Nothing));
    assert!(error.contains("pooling") && error.contains("pooler"), "{error}");
    let other = Choosing::new(tokenizer(), 2, LIMIT).unwrap();
    assert!(fault(save_chooser(&saved, &model, &config(2, 0.0), &other, &Freeze::Nothing)).contains("choices"));
}

#[test]
fn pairs_are_loaded_as_they_were_saved() {
    let labels = Labels::from_names(["no", "yes"]).unwrap();
    let task = TwoTextClassification::new(tokenizer(), labels, LIMIT).unwrap();
    let model = Model::new(bert(2, 0.0, Pooling::Mean), PairClassifier::new(32, 2, 7, &device()));
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_pair_classifier(&saved, &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
    assert_eq!(json_of(&saved, "config.json")["architectures"], json!(["BertModel"]));

    let again = load_pair_classifier::<Bert>(&saved, &device()).unwrap();
    assert_eq!(again.task.labels().names(), ["no", "yes"]);
    let pair = PairExample { first: text(1).0, second: text(2).0, label: Some("yes".into()) };
    let rows = task.encode(&[pair]).unwrap();
    assert_eq!(outputs(&again.model, &again.task, &rows), outputs(&model, &task, &rows));

    edit(&saved, "config.json", |config| config["id2label"]["2"] = "perhaps".into());
    assert!(
        fault(load_pair_classifier::<Bert>(&saved, &device())).contains("linear.weight"),
        "three classes, two rows"
    );
    fs::remove_file(saved.join("rekindle.json")).unwrap();
    assert!(fault(load_pair_classifier::<Bert>(&saved, &device())).contains("rekindle.json"));
}

#[test]
fn sentences_are_loaded_as_they_were_saved() {
    let task = TextSimilarity::new(tokenizer(), LIMIT).unwrap();
    let of = |pooling| Model::new(bert(2, 0.0, pooling), SentenceEmbedder::new(PairLoss::Cosine).unwrap());
    let folder = temporary();
    let saved = folder.path().join("saved");
    let texts = [text(1).0, text(2).0];
    let mut seen = vec![];
    for (pooling, field) in [
        (Pooling::Cls, "pooling_mode_cls_token"),
        (Pooling::Mean, "pooling_mode_mean_tokens"),
        (Pooling::LastToken, "pooling_mode_lasttoken"),
    ] {
        let model = of(pooling);
        save_embedder(&saved, &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
        let written = json_of(&saved, "1_Pooling/config.json");
        assert_eq!((&written[field], &written["word_embedding_dimension"]), (&true.into(), &32.into()));
        assert_eq!(json_of(&saved, "sentence_bert_config.json")["max_seq_length"], LIMIT);
        let again = load_embedder::<Bert>(&saved, &device()).unwrap();
        assert_eq!(again.task.max_length(), LIMIT);
        let embedder = Embedder::load(&saved, &device()).unwrap();
        let vectors = embedder.embed(&texts).unwrap();
        assert_eq!(vectors, Embedder::new(&model, tokenizer(), LIMIT).embed(&texts).unwrap());
        assert!(!seen.contains(&vectors), "each pooling is its own");
        seen.push(vectors);
    }
    // As newer versions of sentence-transformers keep them.
    fs::remove_file(saved.join("sentence_bert_config.json")).unwrap();
    assert_eq!(load_embedder::<Bert>(&saved, &device()).unwrap().task.max_length(), LIMIT);
    edit(&saved, "tokenizer_config.json", |config| config["model_max_length"] = 1_000_000.into());
    assert_eq!(load_embedder::<Bert>(&saved, &device()).unwrap().task.max_length(), 32, "the network's own limit");
    fs::write(saved.join("sentence_bert_config.json"), "{}").unwrap();
    // As newer versions of sentence-transformers name it, and with the body in a folder of its own, as older ones had it.
    fs::write(saved.join("1_Pooling/config.json"), json!({ "pooling_mode": "mean" }).to_string()).unwrap();
    let body = saved.join("0_Transformer");
    fs::create_dir(&body).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"] {
        fs::rename(saved.join(name), body.join(name)).unwrap();
    }
    edit(&saved, "modules.json", |modules| modules[0]["path"] = "0_Transformer".into());
    edit(&saved, "modules.json", |modules| _ = modules.as_array_mut().unwrap().pop());
    let vectors = Embedder::load(&saved, &device()).unwrap().embed(&texts).unwrap();
    assert_eq!(vectors, seen[1]);

    let open = || fault(load_embedder::<Bert>(&saved, &device()));
    let pool = |config: Value| fs::write(saved.join("1_Pooling/config.json"), config.to_string()).unwrap();
    pool(json!({ "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true }));
    assert!(open().contains("pooling_mode_max_tokens"), "{}", open());
    pool(json!({ "pooling_mode": "max" }));
    assert!(open().contains("max"), "{}", open());
    edit(&body, "sentence_bert_config.json", |config| config["do_lower_case"] = true.into());
    pool(json!({ "pooling_mode": "cls" }));
    assert!(open().contains("do_lower_case"), "{}", open());
    edit(&saved, "modules.json", |modules| modules[1]["type"] = "sentence_transformers.models.Dense".into());
    assert!(open().contains("Dense"), "{}", open());

    let pooler = Model::new(bert(1, 0.0, Pooling::Pooler), of(Pooling::Cls).head);
    let error = fault(save_embedder(folder.path().join("other"), &pooler, &config(1, 0.0), &task, &Freeze::Nothing));
    assert!(error.contains("pooler") && error.contains("mean"), "{error}");
}

#[test]
fn dense_layers_after_pooling_are_those_of_the_folder() {
    let task = TextSimilarity::new(tokenizer(), LIMIT).unwrap();
    let folder = temporary();
    let saved = folder.path().join("saved");
    let texts = [text(1).0, text(2).0];
    let save = |head| {
        let model = Model::new(bert(2, 0.0, Pooling::Mean), head);
        save_embedder(&saved, &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
        Embedder::new(&model, tokenizer(), LIMIT).embed(&texts).unwrap()
    };
    let open = || Embedder::<Bert>::load_as(&saved, &device()).unwrap().embed(&texts).unwrap();
    let plain = SentenceEmbedder::new(PairLoss::Cosine).unwrap();
    let dense = |widths, bias, activation, seed| Projection::new(widths, bias, activation, seed, &device());
    let wide = dense([32, 24], true, Activation::Tanh, 1);
    let deep = plain.clone().with_projection(wide).with_projection(dense([24, 5], false, Activation::Gelu, 2));
    let vectors = save(deep);
    assert_eq!(vectors[0].len(), 5);
    assert_eq!(open(), vectors);
    let modules = json_of(&saved, "modules.json");
    let paths: Vec<&str> = modules.as_array().unwrap().iter().map(|module| module["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize"]);
    let written = json_of(&saved, "2_Dense/config.json");
    assert_eq!(written["activation_function"], "torch.nn.modules.activation.Tanh");

    // A linear map of vectors of length 1 differs from one of those before by a factor, which the length takes out.
    let units = save(plain.clone());
    save(plain.with_projection(dense([32, 2], false, Activation::Linear, 3)));
    let weights: Vec<f32> = (0..64).map(|index| (index as f32 * 0.9).sin()).collect();
    let file = saved.join("2_Dense/model.safetensors");
    save_tensors(&file, [("linear.weight".to_string(), vec![2, 32], weights.clone())], &[]).unwrap();
    for (unit, vector) in units.iter().zip(open()) {
        let product = |row: &[f32]| row.iter().zip(unit).map(|(weight, value)| weight * value).sum::<f32>();
        let [x, y] = [product(&weights[..32]), product(&weights[32..])];
        let length = x.hypot(y);
        assert!((vector[0] - x / length).abs() < 1e-5 && (vector[1] - y / length).abs() < 1e-5, "{vector:?}");
    }

    let refused = || fault(load_embedder::<Bert>(&saved, &device()));
    edit(&saved, "2_Dense/config.json", |dense| dense["out_features"] = 3.into());
    assert!(refused().contains("linear.weight"), "{}", refused());
    edit(&saved, "2_Dense/config.json", |dense| dense["in_features"] = 31.into());
    assert!(refused().contains("in_features"), "{}", refused());
    edit(&saved, "2_Dense/config.json", |dense| {
        dense["in_features"] = 32.into();
        dense["activation_function"] = "torch.nn.modules.activation.Hardtanh".into();
    });
    assert!(refused().contains("Hardtanh"), "{}", refused());
    edit(&saved, "modules.json", |modules| modules.as_array_mut().unwrap().swap(2, 3));
    assert!(refused().contains("Normalize, Dense"), "{}", refused());
}

#[test]
fn a_folder_of_one_task_is_not_that_of_another() {
    let folder = temporary();
    let saved = folder.path().join("saved");
    save_classifier(&saved, &classifier(1, 0.0), &config(1, 0.0), &task(), &Freeze::Nothing).unwrap();
    assert!(fault(load_regressor::<Bert>(&saved, &device())).contains("problem_type"));
    assert!(fault(load_multi_label::<Bert>(&saved, &device())).contains("problem_type"));
    assert!(fault(load_chooser::<Bert>(&saved, Some(2), &device())).contains("ForMultipleChoice"));
    assert!(fault(load_pair_classifier::<Bert>(&saved, &device())).contains("pairs"));
    assert!(fault(load_embedder::<Bert>(&saved, &device())).contains("modules.json"));
}
