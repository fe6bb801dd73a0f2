//! Training in bf16: close to f32, the same bits each time and from the cache, and refused where it cannot be done.

use rekindle::cache::Cache;
use rekindle::nn::Precision;
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, TrainError, fit};

use super::cache::same;
use super::support::*;

#[test]
fn bf16_is_close_to_f32_and_repeats_to_the_bit() {
    let rows = rows(56);
    let run = |precision, policy: &Freeze, cache| {
        let mut model = classifier(2, 0.1);
        let config = Fit { precision, cache, bucket: true, ..fit_config(12, 1e-3) };
        let data = Data { train: &rows[..40], validation: &rows[40..] };
        fit(&mut model, &task(), data, policy, &config, &mut []).map(|report| (report, model))
    };
    if !Precision::Bf16.is_available(&device()) {
        let error = run(Precision::Bf16, &Freeze::Nothing, Cache::None).unwrap_err();
        let refused = matches!(error, rekindle::Error::Train(TrainError::BadOption { option: "precision", .. }));
        assert!(refused, "{error}");
        return;
    }
    let full = run(Precision::F32, &Freeze::Nothing, Cache::None).unwrap();
    let narrow = run(Precision::Bf16, &Freeze::Nothing, Cache::None).unwrap();
    same(&run(Precision::Bf16, &Freeze::Nothing, Cache::None).unwrap(), &narrow);
    assert_ne!(full.0.losses, narrow.0.losses);
    for (full, narrow) in full.0.losses.iter().zip(&narrow.0.losses) {
        assert!((full - narrow).abs() < 2e-2 * full, "{full} in f32, {narrow} in bf16");
    }
    // The scope ends with the run.
    same(&run(Precision::F32, &Freeze::Nothing, Cache::None).unwrap(), &full);

    let without = run(Precision::Bf16, &Freeze::Bottom(2), Cache::None).unwrap();
    same(&run(Precision::Bf16, &Freeze::Bottom(2), Cache::memory()).unwrap(), &without);
    let folder = temporary();
    let wide = run(Precision::F32, &Freeze::Bottom(2), Cache::folder(folder.path())).unwrap();
    assert!(wide.0.cache.misses > 0);
    let other = run(Precision::Bf16, &Freeze::Bottom(2), Cache::folder(folder.path())).unwrap();
    assert_eq!(other.0.cache.hits, wide.0.cache.hits, "states in f32 do not serve a run in bf16");
    same(&other, &without);
}
