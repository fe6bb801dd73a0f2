//! Input that means nothing is a typed error that says what to mend.

use rekindle::metric::{
    Average, BinaryScores, ClassCounts, ClassProbabilities, MetricError, MultiLabelDecisions, MultiLabelScores,
    Normalise, RegressionScores, Scores, fit_temperature, mcnemar,
};

fn says<T: std::fmt::Debug>(result: Result<T, MetricError>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn rows_that_do_not_fit() {
    says(BinaryScores::new(vec![0.1], vec![]), &["1 predictions for 0 references"]);
    says(BinaryScores::new(vec![], vec![]), &["nothing to measure"]);
    says(RegressionScores::new(vec![], vec![1.0]), &["0 predictions for 1 references"]);
    says(ClassProbabilities::new(vec![], vec![]), &["nothing to measure"]);
    says(ClassProbabilities::new(vec![vec![0.5, 0.5], vec![1.0]], vec![0, 0]), &["row 1", "1 values instead of 2"]);
    says(ClassProbabilities::from_logits(vec![vec![]], vec![0]), &["row 0", "0 values"]);
    says(ClassProbabilities::from_logits(vec![vec![0.0, 1.0]], vec![2]), &["row 0 has class 2", "2 classes"]);
    says(MultiLabelScores::new(vec![vec![0.5, 0.5]], vec![vec![true]]), &["row 0", "1 values instead of 2"]);
    says(MultiLabelDecisions::new(vec![vec![]], vec![vec![]]), &["row 0", "0 values"]);
    says(mcnemar(&[true], &[]), &["1 predictions for 0"]);
    says(fit_temperature(&[vec![1.0, 0.0]], &[5]), &["class 5"]);
}

#[test]
fn values_that_are_no_scores() {
    for value in [f64::NAN, f64::INFINITY] {
        says(BinaryScores::new(vec![0.1, value], vec![true, false]), &["row 1", &value.to_string()]);
        says(RegressionScores::new(vec![value], vec![0.0]), &["row 0"]);
        says(RegressionScores::new(vec![0.0], vec![value]), &["row 0"]);
        says(ClassProbabilities::new(vec![vec![value, 0.0]], vec![0]), &["row 0"]);
        says(ClassProbabilities::from_logits(vec![vec![value, 0.0]], vec![0]), &["row 0"]);
        says(MultiLabelScores::new(vec![vec![value]], vec![vec![true]]), &["row 0"]);
    }
    says(ClassProbabilities::new(vec![vec![0.5, 0.4]], vec![0]), &["row 0", "sum to 0.9", "softmax"]);
    says(ClassProbabilities::new(vec![vec![1.5, -0.5]], vec![0]), &["row 0", "1.5", "not logits"]);
    let scores = BinaryScores::new(vec![2.0, -1.0], vec![true, false]).unwrap();
    says(scores.log_loss(), &["row 0", "2"]);
    says(scores.brier(), &["row 0", "2"]);
    assert_eq!(scores.roc_auc(), Ok(1.0));
}

#[test]
fn figures_without_a_value() {
    let all_yes = BinaryScores::new(vec![0.1, 0.2], vec![true, true]).unwrap();
    says(all_yes.roc_auc(), &["ROC-AUC", "every row is a yes"]);
    assert_eq!(all_yes.average_precision(), Ok(1.0));
    let all_no = BinaryScores::new(vec![0.1, 0.2], vec![false, false]).unwrap();
    says(all_no.roc_auc(), &["no row is a yes"]);
    says(all_no.average_precision(), &["average precision"]);
    says(all_no.best_f1(), &["no row is a yes"]);

    let absent = ClassProbabilities::new(vec![vec![0.5, 0.3, 0.2]; 2], vec![0, 1]).unwrap();
    says(absent.roc_auc_ovr(Average::Macro), &["ROC-AUC", "no row has class 2"]);
    says(absent.roc_auc_ovo(), &["no row has class 2"]);
    says(absent.average_precision(Average::Macro), &["no row has class 2"]);
    says(absent.one_against_rest(3), &["no class 3"]);
    let single = ClassProbabilities::new(vec![vec![1.0]], vec![0]).unwrap();
    says(single.roc_auc_ovr(Average::Macro), &["only one class"]);
    says(single.roc_auc_ovo(), &["only one class"]);

    let labels = MultiLabelScores::new(vec![vec![0.1, 0.2]; 2], vec![vec![true, false], vec![false, false]]).unwrap();
    says(labels.roc_auc(Average::Macro), &["ROC-AUC", "label 1", "no row is a yes"]);

    let one = RegressionScores::new(vec![1.0], vec![2.0]).unwrap();
    says(one.r2(), &["R2", "one row"]);
    says(one.explained_variance(), &["one row"]);
    let flat = RegressionScores::new(vec![1.0, 1.0], vec![1.0, 2.0]).unwrap();
    says(flat.pearson(), &["Pearson", "equal"]);
    says(flat.spearman(), &["Spearman"]);
    says(flat.kendall_tau(), &["Kendall"]);
}

#[test]
fn a_temperature_that_has_no_bound() {
    says(fit_temperature(&[vec![3.0, 0.0], vec![0.0, 3.0]], &[0, 1]), &["every row is right"]);
    says(fit_temperature(&[vec![3.0, 0.0], vec![0.0, 3.0]], &[1, 0]), &["guessing"]);
    says(fit_temperature(&[vec![1.0, 1.0]], &[0]), &["temperature"]);
}

#[test]
fn reports_need_names_and_classes() {
    let counts = ClassCounts::from_indices(&[0, 2], &[0, 1], 3).unwrap();
    let names = ["a".to_string(), "b".to_string()];
    says(counts.report(&names), &["2 names for 3 classes"]);
    says(counts.heatmap(&names, Normalise::Actual), &["2 names for 3 classes"]);
    says(counts.confusion_table(&names, Normalise::Nothing), &["2 names for 3 classes"]);
    says(ClassCounts::new(2).report(&names), &["nothing to measure"]);

    let mut scores = Scores::default();
    says(scores.classification_report(&names), &["nothing to measure"]);
    scores.add_classes(&[0, 2], &[0, 1]);
    says(scores.classification_report(&names), &["row 1 has class 2", "2 classes"]);
    says(scores.probabilities(), &["add_logits"]);
    scores.add_logits(&[0.0, 1.0, 0.0], 3, &[1]);
    says(scores.probabilities(), &["1 predictions for 3 references"]);
}

#[test]
fn a_confusion_matrix_as_text_list_and_picture() {
    let counts = ClassCounts::from_indices(&[0, 0, 1, 1, 0, 2], &[0, 0, 1, 0, 1, 1], 3).unwrap();
    let names: Vec<String> = ["yes", "no", "may be"].map(String::from).into();
    let text = counts.confusion_table(&names, Normalise::Actual).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["yes", "0.67", "0.33", "0.00"], "{text}");
    assert_eq!(rows[2], ["no", "0.33", "0.33", "0.33"], "{text}");
    let counted = counts.confusion_table(&names, Normalise::Nothing).unwrap();
    assert!(counted.lines().nth(1).unwrap().split_whitespace().eq(["yes", "2", "1", "0"]), "{counted}");
    let taken: Vec<_> = counts.confusions().iter().map(|c| (c.actual, c.predicted, c.count)).collect();
    assert_eq!(taken, [(0, 1, 1), (1, 0, 1), (1, 2, 1)]);
    let svg = counts.heatmap(&names, Normalise::Actual).unwrap().svg().unwrap();
    assert!(svg.contains("<title>yes, no: 0.333"), "{svg}");
    assert!(svg.contains(">predicted<") && svg.contains(">actual<") && svg.contains(">may be<"), "{svg}");
}
