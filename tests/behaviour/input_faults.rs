//! Inputs that a network cannot read: typed errors from `fit`, `evaluate` and predictors, never a panic.

use rekindle::backbone::{Bert, InputError, Pooling};
use rekindle::cache::Cache;
use rekindle::data::{Labels, TextExample, TokenRow};
use rekindle::head::{Classifier, MaskedLm};
use rekindle::objective::{MaskedLanguage, Masking, TextClassification};
use rekindle::params::Freeze;
use rekindle::predict::Predictor;
use rekindle::train::{Data, Fit, evaluate, fit};
use rekindle::{Error, Model};

use super::support::*;

/// What `fit` (with and without a cache), `evaluate` and a predictor say of `text` among sound ones.
fn errors(model: &Model<Bert, Classifier>, task: &TextClassification, text: &str) -> Vec<Error> {
    let mut all = examples(11);
    all.push(TextExample { text: text.into(), label: Some("access".into()) });
    let rows = task.encode(&all).unwrap().0;
    let train = |policy: &Freeze, cache| {
        let mut model = model.clone();
        let config = Fit { cache, ..fit_config(4, 1e-3) };
        fit(&mut model, task, Data { train: &rows, validation: &rows }, policy, &config, &mut []).unwrap_err()
    };
    let validate = || {
        let mut model = model.clone();
        let data = Data { train: &rows[..11], validation: &rows[11..] };
        fit(&mut model, task, data, &Freeze::Nothing, &fit_config(1, 1e-3), &mut []).unwrap_err()
    };
    vec![
        train(&Freeze::Backbone, Cache::memory()),
        train(&Freeze::Backbone, Cache::None),
        train(&Freeze::Nothing, Cache::None),
        validate(),
        evaluate(model, task, &rows, 4, 0).unwrap_err(),
        Predictor::new(model, task.clone()).predict(&["my router", text]).unwrap_err(),
    ]
}

#[test]
fn texts_longer_than_the_position_table_are_errors() {
    let task = TextClassification::new(tokenizer(), task().labels().clone(), 100).unwrap();
    let long = "my router drops again ".repeat(20);
    for error in errors(&classifier(2, 0.0), &task, &long) {
        assert!(matches!(error, Error::Input(InputError::TooLong { found: 82, max: 32 })), "{error}");
    }
}

fn narrow(vocab_size: usize) -> Bert {
    let config = rekindle::backbone::BertConfig { vocab_size, ..config(2, 0.0) };
    Bert::new(&config, Pooling::Mean, 7, &device())
}

/// A row of one word, whose id is the vocabulary's last.
fn last_word() -> (String, TokenRow) {
    let (tokenizer, last) = (tokenizer(), tokenizer().vocab_size() as u32 - 1);
    let word = tokenizer.token(last).unwrap().trim_start_matches("##").to_string();
    let row = TokenRow {
        ids: vec![2, last, 3],
        type_ids: vec![0; 3],
        special: vec![true, false, true],
        word_ids: vec![None, Some(0), None],
        truncated: false,
    };
    (word, row)
}

#[test]
fn ids_beyond_the_embedding_are_errors() {
    let model = Model::new(narrow(60), Classifier::new(32, 4, 7, &device()));
    for error in errors(&model, &task(), &last_word().0) {
        assert!(matches!(error, Error::Input(InputError::IdOutOfRange { kind: "token", entries: 60, .. })), "{error}");
    }
}

#[test]
fn a_masked_token_beyond_the_vocabulary_is_an_error() {
    // Masked, it is no longer among the ids that go in; it is among those to predict.
    let vocabulary = tokenizer().vocab_size() - 1;
    let mut model = Model::new(narrow(vocabulary), MaskedLm::new(32, vocabulary, 7, &device()));
    let objective = MaskedLanguage::new(&tokenizer(), Masking { probability: 1.0, whole_word: false }).unwrap();
    let rows = [last_word().1];
    for seed in 0..6 {
        let config = Fit { seed, ..fit_config(1, 1e-3) };
        let data = Data { train: &rows, validation: &[] };
        let error = fit(&mut model, &objective, data, &Freeze::Nothing, &config, &mut []).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::IdOutOfRange { kind: "token", .. })), "{error}");
        assert!(evaluate(&model, &objective, &rows, 1, seed).is_err());
    }
}

#[test]
fn segments_beyond_the_embedding_are_errors() {
    let model = classifier(1, 0.0);
    let mut rows = rows(4);
    rows[2].row.type_ids[1] = 2;
    let error = evaluate(&model, &task(), &rows, 2, 0).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::IdOutOfRange { kind: "segment", id: 2, entries: 2 })), "{error}");
}

#[test]
fn empty_rows_are_errors() {
    let model = classifier(1, 0.0);
    let mut rows = rows(1);
    rows[0].row = TokenRow::default();
    let error = evaluate(&model, &task(), &rows, 1, 0).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::Empty { rows: 1, seq: 0 })), "{error}");
}

#[test]
fn classes_beyond_the_head_are_errors() {
    let mut model = Model::new(bert(1, 0.0, Pooling::Mean), Classifier::new(32, 3, 7, &device()));
    let rows = rows(16);
    let data = Data { train: &rows, validation: &[] };
    for policy in [Freeze::Nothing, Freeze::Backbone] {
        let data = Data { ..data };
        let error = fit(&mut model, &task(), data, &policy, &fit_config(4, 1e-3), &mut []).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::ClassOutOfRange { class: 3, classes: 3 })), "{error}");
    }
    assert!(evaluate(&model, &task(), &rows, 8, 0).is_err());
}

#[test]
fn empty_and_odd_texts_are_predicted() {
    let predictor = Predictor::new(&classifier(2, 0.0), task());
    let long = "drops ".repeat(500);
    let texts = ["", " ", "\u{0}", "☃☃☃", "my router", "[PAD] [MASK]", long.as_str()];
    let predictions = predictor.predict(&texts).unwrap();
    for (prediction, text) in predictions.iter().zip(texts) {
        assert!(task().labels().names().contains(&prediction.label));
        assert!(prediction.probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        assert_eq!(prediction.truncated, text.len() > 100);
    }
    assert!(predictor.predict::<&str>(&[]).unwrap().is_empty());
    let two = Labels::from_names(["no", "yes"]).unwrap();
    let task = TextClassification::new(tokenizer(), two, 24).unwrap();
    let model = Model::new(bert(1, 0.0, Pooling::Cls), Classifier::new(32, 2, 7, &device()));
    assert_eq!(Predictor::new(&model, task).predict(&["x"]).unwrap()[0].probabilities.len(), 2);
}
