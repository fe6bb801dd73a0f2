//! From pretraining to a task: one loop for both, and the body handed over as it is.

use rekindle::backbone::Pooling;
use rekindle::head::Classifier;
use rekindle::params::{Freeze, check_stages};
use rekindle::train::{Data, Fit, evaluate, fit};

use super::support::*;

#[test]
fn masked_tokens_are_learned_and_the_body_is_handed_over() {
    let (mut model, token_rows) = (masked_lm(2, Pooling::Mean), token_rows(128));
    let data = Data { train: &token_rows[..48], validation: &token_rows[48..] };
    let config = Fit { batch_size: 16, ..fit_config(90, 3e-3) };
    let report = fit(&mut model, &masking(), data, &Freeze::Nothing, &config, &mut []).unwrap();
    let first = report.evaluations.first().unwrap().summary;
    let last = report.evaluations.last().unwrap().summary;
    assert!(report.losses[0] > 4.0 && last.loss < 0.6 * report.losses[0], "{} {}", report.losses[0], last.loss);
    assert!(last.accuracy > first.accuracy && last.macro_f1.is_none(), "{first:?} {last:?}");
    // Masks of an evaluation are a function of the seed.
    let again = evaluate(&model, &masking(), &token_rows[48..], 16, config.seed).unwrap().summary();
    assert_eq!(again.accuracy, last.accuracy);

    let body = bits(&model);
    let mut model = model.with_head(Classifier::new(32, 4, 1, &device()));
    let same =
        |model: &_| bits(model).iter().filter(|(path, _)| path.starts_with("backbone.")).all(|(p, v)| body[p] == *v);
    assert!(same(&model));
    let rows = rows(32);
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, &task(), data, &Freeze::Backbone, &fit_config(5, 1e-2), &mut []).unwrap();
    assert!(same(&model));
}

#[test]
fn masking_is_not_cached_under_a_frozen_backbone() {
    let (mut model, rows) = (masked_lm(2, Pooling::Mean), token_rows(32));
    let data = Data { train: &rows, validation: &[] };
    let report = fit(&mut model, &masking(), data, &Freeze::Backbone, &fit_config(12, 1e-3), &mut []).unwrap();
    assert_eq!(report.cache.rows, 0);
}

#[test]
fn bert_keeps_the_contract_of_its_stages() {
    use rekindle::backbone::TextInput;
    use rekindle::objective::{Batch, Draws, Objective};
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Pooler] {
        let model = masked_lm(3, pooling);
        let rows = token_rows(4);
        let draws = Draws::new(0, 0, &[0, 1, 2, 3]);
        let batch = masking().batch(&rows.iter().collect::<Vec<_>>(), &draws, &device()).unwrap();
        let Batch { input, .. }: Batch<TextInput, _> = batch;
        check_stages(&model, input).unwrap();
    }
}
