//! What an evaluation reports: rows in the order of the examples, probabilities, figures to choose the best by.

use rekindle::metric::{Average, MetricError, Scores, mcnemar};
use rekindle::params::Freeze;
use rekindle::predict::Predictor;
use rekindle::train::{Data, Evaluation, Fit, Keep, Monitor, TrainError, evaluate, fit};
use rekindle::{Error, Model};

use super::support::*;

fn trained(config: &Fit) -> (Vec<Evaluation>, Scores) {
    let (mut model, rows) = (classifier(2, 0.0), rows(64));
    let data = Data { train: &rows[..32], validation: &rows[32..] };
    let report = fit(&mut model, &task(), data, &Freeze::Nothing, config, &mut []).unwrap();
    (report.evaluations, evaluate(&model, &task(), &rows[32..], 8, 5).unwrap())
}

#[test]
fn rows_are_in_the_order_of_the_examples() {
    let (model, rows) = (classifier(2, 0.0), rows(37));
    let scores = evaluate(&model, &task(), &rows, 8, 5).unwrap();
    let labels: Vec<usize> = rows.iter().map(|row| row.label.unwrap()).collect();
    assert_eq!(scores.actual(), labels);
    let texts: Vec<String> = (0..37).map(|index| text(index).0).collect();
    let answers = Predictor::new(&model, task()).predict(&texts).unwrap();
    let found = scores.probabilities().unwrap();
    for (row, answer) in found.rows().iter().zip(&answers) {
        for (a, b) in row.iter().zip(&answer.probabilities) {
            assert!((a - b).abs() < 1e-5, "{row:?} {:?}", answer.probabilities);
        }
    }
    let other = evaluate(&model, &task(), &rows, 5, 5).unwrap();
    let difference = mcnemar(&scores.right(), &other.right()).unwrap();
    assert_eq!((difference.only_first, difference.only_second), (0, 0));
}

#[test]
fn the_figures_agree_with_each_other() {
    let (_, scores) = trained(&fit_config(12, 2e-3));
    let (summary, found) = (scores.summary(), scores.probabilities().unwrap());
    assert!((found.log_loss() - summary.loss).abs() < 1e-6 * summary.loss, "{} {summary:?}", found.log_loss());
    assert_eq!(Some(found.counts().accuracy()), summary.accuracy);
    assert_eq!(Some(found.counts().macro_average().f1), summary.macro_f1);
    let names = task().labels().names().to_vec();
    let report = scores.classification_report(&names).unwrap();
    assert_eq!(Some(report.accuracy), summary.accuracy);
    assert!(report.classes.iter().all(|class| names.contains(&class.name)));
    assert!((summary.perplexity().ln() - summary.loss).abs() < 1e-12);
}

#[test]
fn every_figure_can_be_monitored() {
    type Figure = fn(&Scores) -> f64;
    let all: [(Monitor, f64, Figure); 9] = [
        (Monitor::Loss, -1.0, |scores| scores.summary().loss),
        (Monitor::Accuracy, 1.0, |scores| scores.summary().accuracy.unwrap()),
        (Monitor::BalancedAccuracy, 1.0, |scores| scores.class_counts(4).unwrap().balanced_accuracy()),
        (Monitor::MacroF1, 1.0, |scores| scores.summary().macro_f1.unwrap()),
        (Monitor::WeightedF1, 1.0, |scores| scores.class_counts(4).unwrap().weighted_average().f1),
        (Monitor::Mcc, 1.0, |scores| scores.class_counts(4).unwrap().mcc()),
        (Monitor::LogLoss, -1.0, |scores| scores.probabilities().unwrap().log_loss()),
        (Monitor::RocAuc, 1.0, |scores| scores.probabilities().unwrap().roc_auc_ovr(Average::Macro).unwrap()),
        (Monitor::AveragePrecision, 1.0, |scores| {
            scores.probabilities().unwrap().average_precision(Average::Macro).unwrap()
        }),
    ];
    for (monitor, sign, figure) in all {
        let config = Fit { monitor, keep: Keep::Best, eval_every: Some(1), ..fit_config(8, 3e-3) };
        let (evaluations, scores) = trained(&config);
        let best = evaluations.iter().map(|one| sign * one.monitored).fold(f64::NEG_INFINITY, f64::max);
        assert!(evaluations.iter().any(|one| one.monitored != evaluations[0].monitored), "{monitor:?} never moves");
        let figures = evaluations[0].figures();
        let name = serde_json::to_value(monitor).unwrap();
        let named: Vec<_> = figures.iter().filter(|(other, _)| *other == name).collect();
        assert_eq!(named, [&(name.as_str().unwrap().to_string(), Some(evaluations[0].monitored))]);
        assert!((sign * figure(&scores) - best).abs() < 1e-6, "{monitor:?}: {} {best}", figure(&scores));
    }
}

#[test]
fn a_figure_without_a_value_is_said() {
    let (mut model, rows) = (classifier(1, 0.0), rows(32));
    let one_class: Vec<_> = rows.iter().filter(|row| row.label == Some(0)).cloned().collect();
    let data = Data { train: &rows, validation: &one_class };
    let config = Fit { monitor: Monitor::RocAuc, ..fit_config(1, 1e-3) };
    let error = fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut []).unwrap_err();
    let expected = matches!(&error, Error::Train(TrainError::Figure { source: MetricError::Undefined { .. }, .. }));
    assert!(expected && error.to_string().contains("no row has class 1, 2, 3"), "{error}");

    let (mut model, tokens) = (masked_lm(1, rekindle::backbone::Pooling::Mean), token_rows(16));
    for monitor in [Monitor::Mcc, Monitor::RocAuc] {
        let config = Fit { monitor, ..fit_config(1, 1e-3) };
        let data = Data { train: &tokens, validation: &tokens };
        let error = fit(&mut model, &masking(), data, &Freeze::Nothing, &config, &mut []).unwrap_err();
        assert!(matches!(error, Error::Train(TrainError::NoSuchFigure { .. })), "{error}");
    }
}

#[test]
fn two_classes_are_monitored_by_the_second() {
    let rows: Vec<_> = rows(64).into_iter().filter(|row| row.label.is_some_and(|label| label < 2)).collect();
    let head = rekindle::head::Classifier::new(32, 2, 7, &device()).with_dropout(0.0);
    let mut model = Model::new(bert(1, 0.0, rekindle::backbone::Pooling::Mean), head);
    for (monitor, figure) in [(Monitor::RocAuc, 0), (Monitor::AveragePrecision, 1)] {
        let config = Fit { monitor, ..fit_config(2, 1e-3) };
        let data = Data { train: &rows, validation: &rows };
        let report = fit(&mut model, &task(), data, &Freeze::Nothing, &config, &mut []).unwrap();
        let scores = evaluate(&model, &task(), &rows, 8, 5).unwrap();
        let second = scores.probabilities().unwrap().one_against_rest(1).unwrap();
        let expected = [second.roc_auc().unwrap(), second.average_precision().unwrap()][figure];
        let found = report.evaluations.last().unwrap().monitored;
        assert!((found - expected).abs() < 1e-6, "{monitor:?} {found} {expected}");
    }
}
