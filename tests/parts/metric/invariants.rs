//! What must hold for any input: bounds, the order of rows, slow definitions.

use proptest::prelude::*;
use rekindle::metric::{
    Average, BinaryScores, ClassProbabilities, MultiLabelScores, RegressionScores, Scores, fit_temperature,
};

/// Logits in quarters, so that there are ties, and classes, of which at least the first occurs.
fn classes() -> impl Strategy<Value = (Vec<Vec<f64>>, Vec<usize>)> {
    (2usize..6, 1usize..40).prop_flat_map(|(classes, rows)| {
        let logit = (-12i32..12).prop_map(|value| f64::from(value) / 4.0);
        let logits = prop::collection::vec(prop::collection::vec(logit, classes), rows);
        (logits, prop::collection::vec(0..classes, rows))
    })
}

fn scored() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
    prop::collection::vec((0i32..=8, any::<bool>()), 1..60)
        .prop_map(|rows| rows.into_iter().map(|(score, yes)| (f64::from(score) / 8.0, yes)).unzip())
}

fn numbers() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    prop::collection::vec((-20i32..20, -20i32..20), 2..60)
        .prop_map(|rows| rows.into_iter().map(|(a, b)| (f64::from(a) / 3.0, f64::from(b) / 3.0)).unzip())
}

/// The rows in another order: the odd ones backwards, then the even ones.
fn turned<T: Clone>(rows: &[T]) -> Vec<T> {
    let (even, odd): (Vec<_>, Vec<_>) = rows.iter().cloned().enumerate().partition(|(row, _)| row % 2 == 0);
    odd.into_iter().rev().chain(even).map(|(_, value)| value).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(1.0)
}

fn class_figures(found: &ClassProbabilities) -> Vec<(f64, f64, f64)> {
    let counts = found.counts();
    let optional = [
        found.roc_auc_ovr(Average::Macro),
        found.roc_auc_ovr(Average::Weighted),
        found.roc_auc_ovr(Average::Micro),
        found.roc_auc_ovo(),
        found.average_precision(Average::Macro),
    ];
    let figures = [
        (counts.accuracy(), 0.0, 1.0),
        (counts.balanced_accuracy(), 0.0, 1.0),
        (counts.mcc(), -1.0, 1.0),
        (counts.cohen_kappa(), -1.0, 1.0),
        (counts.macro_average().f1, 0.0, 1.0),
        (counts.macro_f_beta(0.5), 0.0, 1.0),
        (counts.weighted_average().precision, 0.0, 1.0),
        (found.log_loss(), 0.0, 100.0),
        (found.brier(), 0.0, 2.0),
        (found.top_k_accuracy(2), 0.0, 1.0),
        (found.expected_calibration_error(15), 0.0, 1.0),
        (found.maximum_calibration_error(15), 0.0, 1.0),
    ];
    let optional = optional.into_iter().filter_map(Result::ok).map(|figure| (figure, 0.0, 1.0));
    figures.into_iter().chain(optional).collect()
}

proptest! {
    #[test]
    fn class_figures_keep_bounds_and_ignore_the_order((logits, actual) in classes()) {
        let found = ClassProbabilities::from_logits(logits.clone(), actual.clone()).unwrap();
        let other = ClassProbabilities::from_logits(turned(&logits), turned(&actual)).unwrap();
        let (figures, others) = (class_figures(&found), class_figures(&other));
        prop_assert_eq!(figures.len(), others.len());
        for ((figure, low, high), (other, ..)) in figures.into_iter().zip(others) {
            prop_assert!(close(figure, other), "{figure} {other}");
            prop_assert!((low - 1e-12..=high + 1e-12).contains(&figure), "{figure}");
        }
        prop_assert!(found.expected_calibration_error(10) <= found.maximum_calibration_error(10) + 1e-12);
        let tops: Vec<f64> = (0..=found.classes()).map(|k| found.top_k_accuracy(k)).collect();
        prop_assert!(tops.is_sorted() && tops[0] == 0.0 && tops[found.classes()] == 1.0, "{tops:?}");
    }

    #[test]
    fn scores_give_what_their_rows_give((logits, actual) in classes(), batch in 1usize..7) {
        let expected = ClassProbabilities::from_logits(logits.clone(), actual.clone()).unwrap();
        let mut scores = Scores::default();
        for (rows, actual) in logits.chunks(batch).zip(actual.chunks(batch)) {
            let values: Vec<f32> = rows.concat().iter().map(|value| *value as f32).collect();
            scores.add_logits(&values, rows[0].len(), actual);
        }
        prop_assert_eq!(scores.predicted(), &expected.predicted()[..]);
        prop_assert_eq!(scores.probabilities().unwrap(), expected);
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_order((scores, actual) in scored()) {
        let found = BinaryScores::new(scores.clone(), actual.clone()).unwrap();
        let of = |wanted| scores.iter().zip(&actual).filter(move |(_, yes)| **yes == wanted).map(|(score, _)| *score);
        let pairs: Vec<f64> = of(true)
            .flat_map(|yes| of(false).map(move |no| if yes > no { 1.0 } else if yes == no { 0.5 } else { 0.0 }))
            .collect();
        prop_assert_eq!(found.roc_auc().is_ok(), !pairs.is_empty());
        if let Ok(area) = found.roc_auc() {
            prop_assert!(close(area, pairs.iter().sum::<f64>() / pairs.len() as f64));
            // The other way round, and on another scale.
            let negated = scores.iter().map(|score| -score).collect();
            prop_assert!(close(BinaryScores::new(negated, actual.clone()).unwrap().roc_auc().unwrap(), 1.0 - area));
            let scaled = scores.iter().map(|score| (3.0 * score).exp()).collect();
            prop_assert!(close(BinaryScores::new(scaled, actual.clone()).unwrap().roc_auc().unwrap(), area));
            let curve = found.roc_curve().unwrap();
            prop_assert!(curve.is_sorted_by(|a, b| a.true_positive_rate <= b.true_positive_rate));
            let under = |pair: &[rekindle::metric::RocPoint]| {
                (pair[1].false_positive_rate - pair[0].false_positive_rate)
                    * (pair[0].true_positive_rate + pair[1].true_positive_rate) / 2.0
            };
            prop_assert!(close(curve.windows(2).map(under).sum(), area));
        }
        if let Ok(precision) = found.average_precision() {
            prop_assert!(precision > 0.0 && precision <= 1.0 + 1e-12);
        }
        prop_assert!((0.0..=1.0).contains(&found.brier().unwrap()));
    }

    #[test]
    fn regression_figures_hold_by_definition((predicted, actual) in numbers()) {
        let found = RegressionScores::new(predicted.clone(), actual.clone()).unwrap();
        let other = RegressionScores::new(turned(&predicted), turned(&actual)).unwrap();
        prop_assert!(close(found.mse(), other.mse()) && close(found.mae(), other.mae()));
        prop_assert!(found.mae() <= found.rmse() + 1e-12 && found.rmse() <= found.max_error() + 1e-12);
        prop_assert!(found.median_absolute_error() <= found.max_error());
        prop_assert!(found.r2().unwrap() <= found.explained_variance().unwrap() + 1e-9);
        let sign = |a: f64, b: f64| if a > b { 1.0 } else if a < b { -1.0 } else { 0.0 };
        let pairs = || (0..actual.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let signs = |values: &[f64]| pairs().map(|(a, b)| sign(values[a], values[b])).collect::<Vec<f64>>();
        let (left, right) = (signs(&predicted), signs(&actual));
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let spread = (product(&left, &left) * product(&right, &right)).sqrt();
        match found.kendall_tau() {
            Ok(tau) => prop_assert!(close(tau, product(&left, &right) / spread), "{tau}"),
            Err(_) => prop_assert_eq!(spread, 0.0),
        }
        if let (Ok(spearman), Ok(pearson)) = (found.spearman(), found.pearson()) {
            prop_assert!(spearman.abs() <= 1.0 && pearson.abs() <= 1.0);
            let cubes = predicted.iter().map(|value| value.powi(3)).collect();
            prop_assert!(close(RegressionScores::new(cubes, actual).unwrap().spearman().unwrap(), spearman));
        }
    }

    #[test]
    fn no_other_temperature_is_better((logits, actual) in classes(), factor in 0.5f64..2.0) {
        let loss = |temperature: f64| {
            let logits = logits.iter().map(|row| row.iter().map(|logit| logit / temperature).collect()).collect();
            ClassProbabilities::from_logits(logits, actual.clone()).unwrap().log_loss()
        };
        if let Ok(temperature) = fit_temperature(&logits, &actual) {
            // Tiny temperatures make probabilities that the log loss clips.
            prop_assume!(temperature > 0.1);
            prop_assert!(loss(temperature) <= loss(temperature * factor) + 1e-9);
            prop_assert!(loss(temperature) <= loss(1.0) + 1e-9);
        }
    }

    #[test]
    fn one_label_is_a_yes_or_no_question((scores, actual) in scored()) {
        let two = BinaryScores::new(scores.clone(), actual.clone()).unwrap();
        let column = |values: Vec<f64>| values.into_iter().map(|value| vec![value]).collect::<Vec<_>>();
        let labels = MultiLabelScores::new(column(scores), actual.into_iter().map(|yes| vec![yes]).collect()).unwrap();
        for average in [Average::Macro, Average::Micro, Average::Weighted] {
            match (labels.roc_auc(average), two.roc_auc()) {
                (Ok(label), Ok(two)) => prop_assert!(close(label, two)),
                (label, two) => prop_assert!(label.is_err() && two.is_err(), "{label:?} {two:?}"),
            }
        }
        let (decisions, counts) = (labels.decide(0.5), two.counts_at(0.5));
        prop_assert_eq!(decisions.per_label()[0], counts.per_class()[1]);
        prop_assert!(close(decisions.subset_accuracy(), counts.accuracy()));
        prop_assert!(close(1.0 - decisions.hamming_loss(), counts.accuracy()));
    }
}
