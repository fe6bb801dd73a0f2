//! Encoder-decoders: source and target, a frozen encoder whose result is kept, and going on after a stop.

use rekindle::Model;
use rekindle::backbone::{Backbone, Bart, BartConfig, DecoderStart, InputError, MaskedIds, Pooling, Seq2SeqInput};
use rekindle::cache::Cache;
use rekindle::checkpoint::FromPretrained;
use rekindle::head::{Classifier, IGNORED, Seq2SeqLm};
use rekindle::objective::{Draws, Mirrored, Objective, PairRow, TextToText};
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, Keep, Report, SaveEvery, fit};
use serde_json::json;

use super::support::*;

const START: DecoderStart = DecoderStart { token: 2, padding: 0 };

fn bart_config() -> BartConfig {
    let eos = tokenizer().sep_id().unwrap();
    serde_json::from_value(json!({
        "vocab_size": tokenizer().vocab_size(), "d_model": 32, "encoder_layers": 2, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40,
        "max_position_embeddings": 32, "pad_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": eos,
        "init_std": 0.2,
    }))
    .unwrap()
}

fn writer() -> Model<Bart, Seq2SeqLm> {
    let config = bart_config();
    config.check().unwrap();
    let head = Bart::language_head(&config, 7, &device());
    Model::new(Bart::new(&config, Pooling::Mean, 7, &device()), head)
}

fn objective() -> TextToText {
    TextToText::new(tokenizer(), START, 24, 24).unwrap()
}

/// The text, and its label and last word: targets of other lengths than the sources.
fn pairs(count: usize) -> Vec<PairRow> {
    let pair = |index| {
        let (text, label) = text(index);
        let end = text.rsplit(' ').next().unwrap_or_default().repeat(1 + index % 2);
        (text, format!("{label} {end}"))
    };
    objective().encode(&(0..count).map(pair).collect::<Vec<_>>()).unwrap().0
}

#[test]
fn the_decoder_reads_the_target_one_place_late() {
    let rows = objective().encode(&[("my router fails", "today"), ("my line", "at my house")]).unwrap().0;
    let refs: Vec<_> = rows.iter().collect();
    let batch = objective().batch(&refs, &Draws::new(1, 0, &[0, 1]), &device()).unwrap();
    let list =
        |tensor: burn::tensor::Tensor<2, burn::tensor::Int>| tensor.into_data().iter::<i64>().collect::<Vec<_>>();
    let (targets, read) = (list(batch.targets), list(batch.input.target.ids));
    let (short, long) = (rows[0].target.len(), rows[1].target.len());
    assert!(short < long);
    for (row, pair) in rows.iter().enumerate() {
        let ids: Vec<i64> = pair.target.ids.iter().map(|id| i64::from(*id)).collect();
        let (targets, read) = (&targets[row * long..][..long], &read[row * long..][..long]);
        assert_eq!(targets[..ids.len()], ids);
        assert!(targets[ids.len()..].iter().all(|target| *target == IGNORED));
        assert_eq!(read[0], START.token as i64);
        assert_eq!(read[1..ids.len()], ids[..ids.len() - 1]);
        assert!(read.iter().skip(ids.len() + 1).all(|id| *id == START.padding as i64));
    }
}

fn train(model: &mut Model<Bart, Seq2SeqLm>, policy: &Freeze, config: &Fit) -> Report {
    let rows = pairs(40);
    fit(model, &objective(), Data { train: &rows[..32], validation: &rows[32..] }, policy, config, &mut []).unwrap()
}

#[test]
fn a_frozen_encoder_stays_and_what_it_makes_is_kept() {
    // The embeddings, which the decoder reads too, and both layers.
    let policy = Freeze::Bottom(3);
    let config = fit_config(12, 1e-2);
    let (mut kept, before) = (writer(), bits(&writer()));
    let report = train(&mut kept, &policy, &config);
    assert_eq!(report.cache.rows, 40, "sources and targets of different lengths are kept");
    assert!(report.losses[11] < report.losses[0], "{:?}", report.losses);
    for (path, values) in bits(&kept) {
        let frozen =
            path.contains(".encoder.") || path.contains("embed_tokens") || path.ends_with("final_logits_bias.weight");
        assert_eq!(values == before[&path], frozen, "{path}");
        assert_eq!(report.optimizer_parameters.contains(&path), !frozen, "{path}");
    }
    let mut computed = writer();
    let again = train(&mut computed, &policy, &Fit { cache: Cache::None, ..config });
    assert_eq!(again.cache.rows, 0);
    assert_eq!(again.losses, report.losses);
    assert!(bits(&computed) == bits(&kept), "what is read from the cache is what would be computed");
}

#[test]
fn stopped_and_resumed_it_ends_with_the_same_bits() {
    for policy in [Freeze::Nothing, Freeze::Bottom(2)] {
        let folder = temporary();
        let config = Fit { keep: Keep::Last, bucket: true, ..fit_config(6, 3e-3) };
        let mut whole = writer();
        let expected = train(&mut whole, &policy, &config);
        let saving =
            Fit { folder: Some(folder.path().into()), save_every: Some(SaveEvery::Steps(1)), ..config.clone() };
        let rows = pairs(40);
        let data = Data { train: &rows[..32], validation: &rows[32..] };
        fit(&mut writer(), &objective(), data, &policy, &saving, &mut [&mut StopAfter(Some(4))]).unwrap();
        let mut resumed = writer();
        let report = train(&mut resumed, &policy, &Fit { resume: true, ..saving });
        assert_eq!(report.losses, expected.losses, "{policy:?}");
        assert!(bits(&resumed) == bits(&whole), "{policy:?}");
    }
}

#[test]
fn a_text_is_classified_where_it_ends() {
    let config = bart_config();
    let model = || {
        let backbone = Bart::new(&config, Pooling::Eos, 7, &device());
        Model::new(backbone, Bart::classifier(&config, 4, 7, &device()))
    };
    let rows = rows(32);
    let objective = Mirrored::new(task(), config.decoder_start().unwrap());
    let mut model: Model<Bart, Classifier> = model();
    let data = Data { train: &rows, validation: &[] };
    let report = fit(&mut model, &objective, data, &Freeze::Bottom(2), &fit_config(30, 3e-3), &mut []).unwrap();
    assert!(report.losses[29] < 0.8 * report.losses[0], "{:?}", report.losses);
}

#[test]
fn rows_that_end_differently_often_are_refused() {
    let config = bart_config();
    let eos = config.eos().unwrap() as i64;
    let backbone = Bart::new(&config, Pooling::Eos, 7, &device());
    let input = |ids: [[i64; 3]; 2]| {
        let ids = burn::tensor::Tensor::<2, burn::tensor::Int>::from_data(ids, &device());
        let mask = ids.clone().not_equal_elem(0);
        Seq2SeqInput::mirrored(MaskedIds { ids, mask }, START)
    };
    backbone.check(&input([[5, 6, eos], [5, eos, 0]])).unwrap();
    let error = backbone.check(&input([[5, eos, eos], [5, eos, 0]])).unwrap_err();
    assert_eq!(error, InputError::EosCounts { counts: vec![2, 1] });
    let error = backbone.check(&input([[5, 6, 7], [5, 8, 0]])).unwrap_err();
    assert_eq!(error, InputError::EosCounts { counts: vec![0, 0] });
    let mut longer = input([[5, 6, eos], [5, eos, 0]]);
    longer.target =
        MaskedIds { ids: longer.target.ids.clone().narrow(1, 0, 2), mask: longer.target.mask.narrow(1, 0, 2) };
    assert!(matches!(backbone.check(&longer), Err(InputError::ShapeMismatch { .. })));
    let fewer = Seq2SeqInput {
        source: longer.source.clone(),
        target: MaskedIds { ids: longer.target.ids.narrow(0, 0, 1), mask: longer.target.mask.narrow(0, 0, 1) },
    };
    assert_eq!(backbone.check(&fewer), Err(InputError::RowsDiffer { sources: 2, targets: 1 }));
}
