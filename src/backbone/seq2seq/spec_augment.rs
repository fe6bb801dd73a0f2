//! SpecAugment ([Park et al., 2019](https://arxiv.org/abs/1904.08779)), as Transformers' `models/whisper/modeling_whisper.py`
//! masks its inputs: spans of frames and of mel bins become 0 while training.

use super::WhisperConfig;
use crate::backbone::config::ensure;
use crate::checkpoint::CheckpointError;
use crate::nn::Dropout;
use crate::random::{mix, permutation};
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

/// Masks spans of frames and of mel bins.
#[derive(Module, Debug)]
pub(super) struct SpecAugment {
    frames: Spans,
    bins: Spans,
}

impl SpecAugment {
    pub(super) fn new(config: &WhisperConfig) -> Self {
        Self {
            frames: Spans::new(config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks),
            bins: Spans::new(config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks),
        }
    }

    /// `[batch, mel bins, frames]`, unchanged.
    pub(super) fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        let [batch, bins, frames] = features.dims();
        let keep = |kept: Option<Vec<f32>>, shape: [usize; 3]| {
            kept.map(|kept| Tensor::<3>::from_data(TensorData::new(kept, shape), &features.device().inner()))
        };
        let by_frame = keep(self.frames.draw(batch, frames), [batch, 1, frames]);
        let by_bin = keep(self.bins.draw(batch, bins), [batch, bins, 1]);
        by_frame.into_iter().chain(by_bin).fold(features, |features, kept| features * kept)
    }
}

/// How one axis is masked.
#[derive(Module, Debug)]
struct Spans {
    /// Its probability is the share of the axis that is masked where no spans overlap; it says when to draw, and from what.
    share: Dropout,
    length: usize,
    least: usize,
}

impl Spans {
    fn new(share: f64, length: usize, least: usize) -> Self {
        Self { share: Dropout::new(share), length, least }
    }

    /// 0 for what is masked and 1 for the rest, `[rows, size]`; `None` where nothing is masked.
    fn draw(&self, rows: usize, size: usize) -> Option<Vec<f32>> {
        let state = self.share.draw()?.state();
        let starts = (size + 1).checked_sub(self.length)?;
        // Rounded up as often as what is left over says, alike for all rows.
        let round = mix(&[state]) as f64 / u64::MAX as f64;
        let wanted = ((self.share.prob() * size as f64 / self.length as f64 + round) as usize).max(self.least);
        let count = if wanted * self.length > size { size / self.length } else { wanted };
        let mut kept = vec![1.0; rows * size];
        for (row, kept) in kept.chunks_mut(size).enumerate() {
            for start in permutation(starts, &[state, row as u64]).into_iter().take(count) {
                kept[start..start + self.length].fill(0.0);
            }
        }
        Some(kept)
    }
}

/// A span fits on its axis.
pub(super) fn check_spans(config: &WhisperConfig) -> Result<(), CheckpointError> {
    let axes = [
        ("mask_time_prob", config.mask_time_prob, "mask_time_length", config.mask_time_length, config.frames()),
        (
            "mask_feature_prob",
            config.mask_feature_prob,
            "mask_feature_length",
            config.mask_feature_length,
            config.num_mel_bins,
        ),
    ];
    axes.into_iter().filter(|_| config.apply_spec_augment).try_for_each(|(share_field, share, field, length, size)| {
        ensure((0.0..1.0).contains(&share), share_field, share, "a share from 0 to below 1")?;
        let fits = share == 0.0 || (1..=size).contains(&length);
        ensure(fits, field, length, &format!("1 to {size}, the size of the axis"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{RandomScope, test_device};

    #[test]
    fn spans_are_as_many_and_as_long_as_the_configuration_says() {
        let config = WhisperConfig {
            mask_time_prob: 0.3,
            mask_time_length: 3,
            mask_feature_prob: 0.01,
            mask_feature_length: 2,
            mask_feature_min_masks: 1,
            ..WhisperConfig::default()
        };
        let (augment, features) = (SpecAugment::new(&config), Tensor::ones([4, 6, 40], &test_device()));
        let run = || augment.forward(features.clone()).into_data().iter::<f32>().collect::<Vec<_>>();
        assert!(run().iter().all(|value| *value == 1.0), "outside of training");
        let _scope = RandomScope::new(3);
        let masked = run();
        assert_ne!(run(), masked, "each call draws anew");
        let mut frames = vec![];
        for row in masked.chunks(6 * 40) {
            let bin = |bin: usize| &row[bin * 40..(bin + 1) * 40];
            let whole: Vec<usize> = (0..6).filter(|at| bin(*at).iter().all(|value| *value == 0.0)).collect();
            assert!(matches!(whole[..], [first, second] if second == first + 1), "{whole:?}");
            let seen = (0..6).find(|at| !whole.contains(at)).expect("four bins are left");
            let zeros = bin(seen).iter().filter(|value| **value == 0.0).count();
            // Four spans (or five, for 4.0 is rounded by chance), which may overlap.
            assert!((3..=15).contains(&zeros), "{zeros}");
            frames.push(bin(seen).to_vec());
        }
        assert!(frames.iter().any(|row| *row != frames[0]), "rows are masked in different places");
    }

    #[test]
    fn a_span_that_does_not_fit_is_named() {
        let config = WhisperConfig { max_source_positions: 4, mask_time_length: 10, ..WhisperConfig::default() };
        config.check().expect("nothing is masked");
        let error = WhisperConfig { apply_spec_augment: true, ..config }.check().unwrap_err().to_string();
        assert!(error.contains("mask_time_length") && error.contains("1 to 8"), "{error}");
    }
}
