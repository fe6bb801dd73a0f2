//! Scores against scikit-learn's, to 1e-9.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use rekindle::metric::{ClassCounts, ClassScores, perplexity};
use serde_json::Value;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn indices(list: &Value) -> Vec<usize> {
    list.as_array().unwrap().iter().map(|class| class.as_u64().unwrap() as usize).collect()
}

fn near(found: f64, expected: &Value, name: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-9, "{name}: {found} is not {expected}");
}

#[test]
fn classification_scores_are_those_of_scikit_learn() {
    let data = fixture("classification.json");
    let values = &data["values"];
    let counts = ClassCounts::from_indices(&indices(&data["predictions"]), &indices(&data["labels"]), 4).unwrap();
    near(counts.accuracy(), &values["accuracy"], "accuracy");
    near(counts.mcc(), &values["mcc"], "mcc");
    let check = |scores: ClassScores, name: &str, pick: &dyn Fn(&Value) -> Value| {
        for (score, found) in [("precision", scores.precision), ("recall", scores.recall), ("f1", scores.f1)] {
            near(found, &pick(&values[format!("{score}_{name}")]), score);
        }
    };
    check(counts.macro_average(), "macro", &Value::clone);
    check(counts.micro_average(), "micro", &Value::clone);
    check(counts.weighted_average(), "weighted", &Value::clone);
    for (class, scores) in counts.per_class().into_iter().enumerate() {
        check(scores, "per_class", &|list| list[class].clone());
    }
    assert_eq!(serde_json::to_value(counts.support()).unwrap(), values["support"]);
    assert_eq!(serde_json::to_value(counts.confusion()).unwrap(), values["confusion_matrix_rows_true"]);
}

#[test]
fn perplexity_is_that_of_all_tokens() {
    let data = fixture("perplexity.json");
    let losses: Vec<Vec<f64>> = serde_json::from_value(data["token_nll"].clone()).unwrap();
    let losses = losses.concat();
    near(perplexity(losses.iter().sum::<f64>() / losses.len() as f64), &data["token_weighted"], "perplexity");
}
