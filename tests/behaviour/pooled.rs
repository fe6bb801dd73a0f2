//! A head that reads pooled features alone: the last layer is computed where the pooling reads it, and nothing changes.

use rekindle::Model;
use rekindle::backbone::{Backbone, Pooled, Pooling};
use rekindle::cache::Cache;
use rekindle::data::pad_rows;
use rekindle::head::Classifier;
use rekindle::objective::text_input;
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, fit};

use super::cache::same;
use super::support::*;

fn classifier_with(pooling: Pooling, dropout: f64) -> Model<rekindle::backbone::Bert, Classifier> {
    Model::new(bert(3, dropout, pooling), Classifier::new(32, 4, 1, &device()))
}

#[test]
fn pooled_features_have_the_same_bits_and_fewer_tokens() {
    let rows = rows(12);
    let batch: Vec<_> = rows.iter().map(|row| &row.row).collect();
    let input = text_input(pad_rows(&batch, 0), &device());
    for (pooling, spares) in [(Pooling::Cls, true), (Pooling::Pooler, true), (Pooling::Mean, false)] {
        let model = classifier_with(pooling, 0.0);
        let (whole, read) = (model.backbone.forward(input.clone()), model.features(input.clone()));
        assert_eq!(whole.pooled().into_data(), read.pooled().into_data(), "{pooling}");
        let [rows, seq, hidden] = whole.hidden.dims();
        assert_eq!(read.hidden.dims(), [rows, if spares { 1 } else { seq }, hidden], "{pooling}");
        assert_eq!(model.backbone.operations_spared(3, seq) > 0.0, spares, "{pooling}");
        assert_eq!(model.backbone.operations_spared(2, seq), 0.0, "{pooling}");
    }
}

#[test]
fn cached_states_end_where_the_head_reads() {
    for policy in [Freeze::Backbone, Freeze::Bottom(2), Freeze::Bottom(4)] {
        let rows = rows(56);
        let run = |cache: Cache| {
            let mut model = classifier_with(Pooling::Pooler, 0.1);
            let config = Fit { cache, bucket: true, ..fit_config(12, 1e-3) };
            let data = Data { train: &rows[..40], validation: &rows[40..] };
            let report = fit(&mut model, &task(), data, &policy, &config, &mut []).expect("trained");
            (report, model)
        };
        let folder = temporary();
        let without = run(Cache::None);
        same(&run(Cache::memory()), &without);
        same(&run(Cache::folder(folder.path())), &without);
        same(&run(Cache::folder(folder.path())), &without);
    }
}
