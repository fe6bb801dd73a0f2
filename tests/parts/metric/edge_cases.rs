//! Ties, classes that never occur or are never predicted, constant values: scikit-learn 1.9.1 and scipy.

use rekindle::metric::{
    Average, BinaryScores, ClassProbabilities, MultiLabelScores, Normalise, RegressionScores, Scores, mcnemar,
};
use serde_json::Value;

use super::{fixture, near, read, yes, yes_rows};

const AVERAGES: [(Average, &str); 3] =
    [(Average::Macro, "macro"), (Average::Weighted, "weighted"), (Average::Micro, "micro")];

fn data() -> (ClassProbabilities, Value) {
    let data = fixture("edge_cases")["classes"].take();
    (ClassProbabilities::new(read(&data["probabilities"]), read(&data["labels"])).unwrap(), data["values"].clone())
}

#[test]
fn tied_probabilities_rank_as_in_scikit_learn() {
    let (found, values) = data();
    for k in 1..=3 {
        near(found.top_k_accuracy(k), &values[format!("top{k}")], "top k");
    }
    for (average, name) in AVERAGES {
        near(found.roc_auc_ovr(average).unwrap(), &values[format!("auc_ovr_{name}")], name);
        near(found.average_precision(average).unwrap(), &values[format!("ap_{name}")], name);
    }
    near(found.roc_auc_ovo().unwrap(), &values["auc_ovo"], "one against one");
    near(found.log_loss(), &values["log_loss"], "log loss with probabilities of 0");
}

#[test]
fn classes_that_never_occur_do_not_count() {
    let (found, values) = data();
    // A fifth class that neither occurs nor is predicted.
    let rows = found.rows().iter().map(|row| [&row[..], &[0.0]].concat()).collect();
    let counts = ClassProbabilities::new(rows, found.actual().to_vec()).unwrap().counts();
    near(counts.cohen_kappa(), &values["kappa"], "kappa");
    near(counts.balanced_accuracy(), &values["balanced"], "balanced accuracy");
    near(counts.mcc(), &values["mcc"], "mcc");
    near(counts.macro_f_beta(0.5), &values["fbeta_0.5"], "F0.5");
    near(counts.macro_f_beta(2.0), &values["fbeta_2"], "F2");
    for (normalise, name) in [(Normalise::Actual, "true"), (Normalise::Predicted, "pred"), (Normalise::All, "all")] {
        let expected: Vec<Vec<f64>> = read(&values[format!("confusion_{name}")]);
        for (found, expected) in counts.confusion_shares(normalise).concat().iter().zip(expected.concat()) {
            assert!((found - expected).abs() < 1e-12, "{name}: {found} {expected}");
        }
    }
}

#[test]
fn the_report_prints_as_scikit_learns() {
    let (found, values) = data();
    let names: Vec<String> = ["cancel", "a rather long name here", "refund", "other"].map(String::from).into();
    let mut scores = Scores::default();
    scores.add_classes(&found.predicted(), found.actual());
    let report = scores.classification_report(&names).unwrap();
    assert_eq!(report.to_string(), values["report"].as_str().unwrap());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["classes"][2]["name"], "refund");
    assert_eq!(json["classes"][2]["recall"].as_f64().unwrap(), 3.0 / 16.0);
}

#[test]
fn tied_scores_are_one_threshold() {
    let data = fixture("edge_cases")["two"].take();
    let values = &data["values"];
    let found = BinaryScores::new(read(&data["scores"]), yes(&data["labels"])).unwrap();
    near(found.roc_auc().unwrap(), &values["auc"], "auc");
    near(found.average_precision().unwrap(), &values["ap"], "average precision");
    near(found.brier().unwrap(), &values["brier"], "brier");
    near(found.log_loss().unwrap(), &values["log_loss"], "log loss with scores of 0 and 1");
    assert_eq!(found.roc_curve().unwrap().len(), 1 + 6);
}

#[test]
fn constant_targets_score_as_in_scikit_learn() {
    for data in fixture("edge_cases")["regression"].as_array().unwrap() {
        let scores = RegressionScores::new(read(&data["prediction"]), read(&data["target"])).unwrap();
        near(scores.r2().unwrap(), &data["r2"], "r2");
        near(scores.explained_variance().unwrap(), &data["explained_variance"], "explained variance");
        near(scores.mape(), &data["mape"], "mape");
        near(scores.median_absolute_error(), &data["medae"], "median");
    }
}

#[test]
fn tied_ranks_are_those_of_scipy() {
    let data = fixture("edge_cases")["ranks"].take();
    let scores = RegressionScores::new(read(&data["prediction"]), read(&data["target"])).unwrap();
    near(scores.pearson().unwrap(), &data["pearson"], "pearson");
    near(scores.spearman().unwrap(), &data["spearman"], "spearman");
    near(scores.kendall_tau().unwrap(), &data["kendall"], "kendall");
}

#[test]
fn rows_without_labels_and_with_all_of_them() {
    let data = fixture("edge_cases")["labels"].take();
    let values = &data["values"];
    let scores = MultiLabelScores::new(read(&data["scores"]), yes_rows(&data["labels"])).unwrap();
    for (average, name) in AVERAGES {
        near(scores.roc_auc(average).unwrap(), &values[format!("auc_{name}")], name);
        near(scores.average_precision(average).unwrap(), &values[format!("ap_{name}")], name);
    }
    near(scores.label_ranking_average_precision(), &values["lrap"], "lrap");
    let decisions = scores.decide(0.5);
    let averages = AVERAGES.map(|(average, name)| (decisions.scores(average), name));
    for (found, name) in averages.into_iter().chain([(decisions.scores_by_row(), "samples")]) {
        near(found.precision, &values[format!("precision_{name}")], name);
        near(found.recall, &values[format!("recall_{name}")], name);
        near(found.f1, &values[format!("f1_{name}")], name);
    }
    near(decisions.jaccard_by_row(), &values["jaccard"], "jaccard");
}

#[test]
fn the_exact_test_is_scipys_binomial() {
    for data in fixture("edge_cases")["mcnemar"].as_array().unwrap() {
        let (b, c): (usize, usize) = (read(&data["b"]), read(&data["c"]));
        let first: Vec<bool> = (0..b + c + 1).map(|row| row < b).collect();
        let second: Vec<bool> = (0..b + c + 1).map(|row| (b..b + c).contains(&row)).collect();
        near(mcnemar(&first, &second).unwrap().p_value, &data["p"], "p");
    }
}
