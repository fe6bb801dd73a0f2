//! Data with something wrong in it: the file, the line or the example is named.

use rekindle::Error;
use rekindle::data::{Columns, DataError, Labels, TextExample, read_jsonl, read_text, train_wordpiece};
use rekindle::objective::TextClassification;
use rekindle::params::Freeze;
use rekindle::predict::Predictor;
use rekindle::train::{Data, Fit, evaluate, fit};

use super::support::*;

fn read(name: &str, content: &str) -> Result<Vec<TextExample>, DataError> {
    let folder = temporary();
    std::fs::write(folder.path().join(name), content).unwrap();
    read_text(folder.path().join(name), &Columns::default())
}

#[test]
fn a_bad_line_is_named() {
    let good = r#"{"text": "a", "label": "x"}"#;
    for bad in ["{", "nonsense", r#"{"text": "a", "label": }"#, "[1, 2]", "3", r#""text""#] {
        let error = read("a.jsonl", &format!("{good}\n\n{good}\n{bad}\n{good}\n")).unwrap_err();
        assert!(matches!(error, DataError::BadLine { line: 4, .. }), "{bad}: {error}");
        assert!(error.to_string().contains("a.jsonl:4:"), "{error}");
    }
    let error = read("a.jsonl", &format!("{good}\n{{\"text\": 3, \"label\": \"x\"}}\n")).unwrap_err();
    assert!(matches!(error, DataError::BadValue { line: 2, .. }), "{error}");
}

#[test]
fn files_without_rows_are_named() {
    for (name, content) in [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.csv", "text,label\n"), ("a.tsv", "")] {
        let error = read(name, content).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(matches!(read("a.jsonl", ""), Err(DataError::Empty { .. })));
    assert!(matches!(read_jsonl("nowhere.jsonl", &Columns::default()), Err(DataError::Io { .. })));
}

#[test]
fn missing_labels_and_columns_are_named() {
    let error = read("a.jsonl", "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\"}\n").unwrap_err();
    assert!(matches!(&error, DataError::MissingColumn { line: 2, column, .. } if column == "label"), "{error}");
    let error = read("a.jsonl", "{\"text\": \"a\", \"label\": \"\"}\n").unwrap_err();
    assert!(matches!(error, DataError::MissingLabel { line: 1, .. }), "{error}");
    let error = read("a.csv", "text,label\na,x\nb,\n").unwrap_err();
    assert!(matches!(error, DataError::MissingLabel { line: 3, .. }), "{error}");
}

#[test]
fn one_class_is_not_a_task() {
    let rows = read("a.jsonl", "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"x\"}\n").unwrap();
    assert!(matches!(Labels::from_examples(&rows), Err(DataError::OneClass { label }) if label == "x"));
}

#[test]
fn a_label_that_training_did_not_have_is_named() {
    let mut test = examples(4);
    test[2].label = Some("acess".into());
    let error = task().encode(&test).unwrap_err();
    assert!(
        matches!(&error, DataError::UnknownLabel { label, nearest, .. } if label == "acess" && nearest == "access")
    );
}

#[test]
fn an_unlabelled_example_is_named_by_its_place_in_the_set() {
    let mut all = examples(16);
    all[13].label = None;
    let rows = task().encode(&all).unwrap().0;
    let model = classifier(1, 0.0);
    let places = [
        evaluate(&model, &task(), &rows, 4, 0).unwrap_err(),
        fit(
            &mut model.clone(),
            &task(),
            Data { train: &rows, validation: &[] },
            &Freeze::Nothing,
            &Fit { batch_size: 4, ..fit_config(4, 1e-3) },
            &mut [],
        )
        .unwrap_err(),
        fit(
            &mut model.clone(),
            &task(),
            Data { train: &rows[..8], validation: &rows },
            &Freeze::Backbone,
            &fit_config(4, 1e-3),
            &mut [],
        )
        .unwrap_err(),
    ];
    for error in places {
        assert!(matches!(error, Error::Data(DataError::NoLabel { index: 13 })), "{error}");
    }
}

#[test]
fn a_length_without_room_is_an_error() {
    let task = TextClassification::new(tokenizer(), task().labels().clone(), 2).unwrap();
    assert!(matches!(task.encode(&examples(2)), Err(DataError::NoRoom { max_length: 2, special: 2 })));
    let error = Predictor::new(&classifier(1, 0.0), task).predict(&["my router"]).unwrap_err();
    assert!(matches!(error, Error::Data(DataError::NoRoom { .. })), "{error}");
}

#[test]
fn texts_that_are_cut_are_counted() {
    let task = TextClassification::new(tokenizer(), task().labels().clone(), 5).unwrap();
    let (rows, cut) = task.encode(&examples(20)).unwrap();
    assert!(rows.iter().all(|row| row.row.len() <= 5));
    assert_eq!(cut, rows.iter().filter(|row| row.row.truncated).count());
    assert!(cut > 5 && cut < 20, "{cut}");
}

#[test]
fn a_tokenizer_needs_words() {
    assert!(matches!(train_wordpiece(&[], 100), Err(DataError::NoWords)));
    let lines = vec!["some words".to_string()];
    assert!(matches!(train_wordpiece(&lines, 6), Err(DataError::VocabularyTooSmall { .. })));
}
