//! The shared reference values, file by file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rekindle::metric::{
    Average, BinaryScores, ClassCounts, ClassProbabilities, ClassScores, MultiLabelScores, RegressionScores,
    bits_per_token, fit_temperature, mcnemar, perplexity,
};
use serde_json::Value;

use super::{fixture, near, read, within, yes, yes_rows};

/// Reference files that the figures are compared with here.
const OFFERED: [&str; 8] =
    ["binary", "classification", "comparison", "entities", "multilabel", "perplexity", "regression", "squad"];
/// Reference files of tasks that have no head yet, and so no figures.
const NOT_OFFERED_YET: [&str; 6] =
    ["clustering", "detection", "fairness", "ranking", "segmentation", "text_generation"];

#[test]
fn every_reference_file_is_compared_or_named() {
    let shared = std::env::var_os("REKINDLE_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let Ok(folder) = shared.join("fixtures/metrics").read_dir() else {
        eprintln!("skipped: there is no folder of shared fixtures; name it in REKINDLE_SHARED");
        return;
    };
    let files: BTreeSet<String> = folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().into())
        .collect();
    assert_eq!(files, OFFERED.into_iter().chain(NOT_OFFERED_YET).map(String::from).collect());
    for name in OFFERED {
        let path = shared.join("fixtures/metrics").join(name).with_extension("json");
        let theirs: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(fixture(name), theirs, "the copy of {name} is another one");
    }
}

#[test]
fn classification() {
    let data = fixture("classification");
    let values = &data["values"];
    let (logits, actual): (Vec<Vec<f64>>, Vec<usize>) = (read(&data["logits"]), read(&data["labels"]));
    let found = ClassProbabilities::from_logits(logits.clone(), actual.clone()).unwrap();
    classes(&found.counts(), values);
    for (found, name) in [
        (found.log_loss(), "log_loss"),
        (found.top_k_accuracy(2), "top2_accuracy"),
        (found.brier(), "brier_multiclass_sum"),
        (found.roc_auc_ovr(Average::Macro).unwrap(), "roc_auc_ovr_macro"),
        (found.roc_auc_ovr(Average::Weighted).unwrap(), "roc_auc_ovr_weighted"),
        (found.roc_auc_ovo().unwrap(), "roc_auc_ovo_macro"),
        (found.expected_calibration_error(15), "ece_15"),
        (found.expected_calibration_error(10), "ece_10"),
        (found.maximum_calibration_error(15), "mce_15"),
    ] {
        near(found, &values[name], name);
    }
    let temperature = fit_temperature(&logits, &actual).unwrap();
    within(temperature, &values["fitted_temperature"], "temperature", 1e-5);
    let cooled = logits.iter().map(|row| row.iter().map(|logit| logit / temperature).collect()).collect();
    let cooled = ClassProbabilities::from_logits(cooled, actual).unwrap();
    near(cooled.log_loss(), &values["log_loss_at_fitted_temperature"], "log loss at the fitted temperature");
}

fn classes(counts: &ClassCounts, values: &Value) {
    near(counts.accuracy(), &values["accuracy"], "accuracy");
    near(counts.balanced_accuracy(), &values["balanced_accuracy"], "balanced accuracy");
    near(counts.mcc(), &values["mcc"], "mcc");
    near(counts.cohen_kappa(), &values["cohen_kappa"], "kappa");
    near(counts.macro_f_beta(2.0), &values["fbeta_2_macro"], "F2");
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
fn binary() {
    let data = fixture("binary");
    let values = &data["values"];
    let (scores, actual): (Vec<f64>, _) = (read(&data["scores"]), yes(&data["labels"]));
    let clipped = scores.iter().map(|score| score.clamp(1e-7, 1.0 - 1e-7)).collect();
    let clipped = BinaryScores::new(clipped, actual.clone()).unwrap();
    near(clipped.log_loss().unwrap(), &values["log_loss"], "log loss");

    let found = BinaryScores::new(scores, actual).unwrap();
    near(found.roc_auc().unwrap(), &values["roc_auc"], "roc auc");
    near(found.average_precision().unwrap(), &values["average_precision"], "average precision");
    near(found.brier().unwrap(), &values["brier"], "brier");
    near(found.kolmogorov_smirnov().unwrap(), &values["ks"], "ks");
    let (threshold, f1) = found.best_f1().unwrap();
    near(f1, &values["best_f1"], "best f1");
    assert_eq!(found.counts_at(threshold).per_class()[1].f1, f1);

    let counts = found.counts_at(0.5);
    let [no, yes] = counts.per_class()[..] else { panic!("two classes") };
    near(counts.accuracy(), &values["accuracy_at_0_5"], "accuracy");
    near(counts.mcc(), &values["mcc"], "mcc");
    near(no.recall, &values["specificity"], "specificity");
    for (found, name) in [(yes.precision, "precision"), (yes.recall, "recall"), (yes.f1, "f1")] {
        near(found, &values[name], name);
    }

    let curve = found.roc_curve().unwrap();
    assert_eq!(curve[0].threshold, f64::INFINITY);
    list(curve.iter().skip(1).map(|point| point.threshold), &values["roc_thresholds"].as_array().unwrap()[1..]);
    list(curve.iter().map(|point| point.false_positive_rate), values["roc_fpr"].as_array().unwrap());
    list(curve.iter().map(|point| point.true_positive_rate), values["roc_tpr"].as_array().unwrap());
    let curve = found.precision_recall_curve().unwrap();
    assert_eq!(curve.last().unwrap().threshold, f64::INFINITY);
    let thresholds = curve.iter().take(curve.len() - 1).map(|point| point.threshold);
    list(thresholds, values["pr_thresholds"].as_array().unwrap());
    list(curve.iter().map(|point| point.precision), values["pr_precision"].as_array().unwrap());
    list(curve.iter().map(|point| point.recall), values["pr_recall"].as_array().unwrap());
}

fn list(found: impl ExactSizeIterator<Item = f64>, expected: &[Value]) {
    assert_eq!(found.len(), expected.len());
    found.zip(expected).for_each(|(found, expected)| near(found, expected, "a point of the curve"));
}

#[test]
fn multi_label() {
    let data = fixture("multilabel");
    let values = &data["values"];
    let scores = MultiLabelScores::new(read(&data["scores"]), yes_rows(&data["labels"])).unwrap();
    let decisions = scores.decide(0.5);
    for (found, name) in [
        (decisions.scores(Average::Micro).f1, "f1_micro"),
        (decisions.scores(Average::Macro).f1, "f1_macro"),
        (decisions.scores(Average::Weighted).f1, "f1_weighted"),
        (decisions.scores_by_row().f1, "f1_samples"),
        (decisions.subset_accuracy(), "subset_accuracy"),
        (decisions.hamming_loss(), "hamming_loss"),
        (decisions.jaccard_by_row(), "jaccard_samples"),
        (scores.roc_auc(Average::Macro).unwrap(), "roc_auc_macro"),
        (scores.roc_auc(Average::Micro).unwrap(), "roc_auc_micro"),
        (scores.average_precision(Average::Macro).unwrap(), "map_macro"),
        (scores.label_ranking_average_precision(), "lrap"),
    ] {
        near(found, &values[name], name);
    }
}

#[test]
fn regression() {
    let data = fixture("regression");
    let values = &data["values"];
    let scores = RegressionScores::new(read(&data["prediction"]), read(&data["target"])).unwrap();
    for (found, name) in [
        (scores.mse(), "mse"),
        (scores.rmse(), "rmse"),
        (scores.mae(), "mae"),
        (scores.median_absolute_error(), "medae"),
        (scores.r2().unwrap(), "r2"),
        (scores.explained_variance().unwrap(), "explained_variance"),
        (scores.max_error(), "max_error"),
        (scores.mape(), "mape"),
        (scores.pearson().unwrap(), "pearson"),
        (scores.spearman().unwrap(), "spearman"),
        (scores.kendall_tau().unwrap(), "kendall_tau_b"),
    ] {
        near(found, &values[name], name);
    }
}

#[test]
fn perplexity_is_that_of_all_tokens() {
    let data = fixture("perplexity");
    let values = &data["values"];
    let texts: Vec<Vec<f64>> = read(&data["token_nll"]);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let all = mean(&texts.concat());
    near(perplexity(all), &values["token_weighted"], "perplexity");
    near(bits_per_token(all), &values["bits_per_token"], "bits");
    let each: Vec<f64> = texts.iter().map(|losses| perplexity(mean(losses))).collect();
    near(mean(&each), &values["mean_of_sequence"], "the mean of the texts' perplexities");
}

#[test]
fn comparison() {
    let data = fixture("comparison");
    let values = &data["values"];
    let found = mcnemar(&yes(&data["correct_a"]), &yes(&data["correct_b"])).unwrap();
    assert_eq!(values["b"].as_u64(), Some(found.only_first));
    assert_eq!(values["c"].as_u64(), Some(found.only_second));
    near(found.p_value, &values["mcnemar_exact_p"], "p");
    near(found.chi_squared, &values["mcnemar_chi2_corrected"], "chi squared");
}
