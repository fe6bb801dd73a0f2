//! T5's relative positions: one table of biases for all layers of a side.

use super::T5Config;
use crate::nn::{Embedding, Init};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

/// Biases of attention scores by how far key and query are from each other, as Transformers'
/// `models/t5/modeling_t5.py` buckets distances.
#[derive(Module, Debug)]
pub(super) struct RelativeBias {
    /// `[buckets, heads]`.
    pub(super) relative_attention_bias: Embedding,
    max_distance: usize,
    /// Whether keys after the query have buckets of their own (the encoder's).
    both_ways: bool,
}

impl RelativeBias {
    pub(super) fn new(config: &T5Config, both_ways: bool, init: &mut Init) -> Self {
        let buckets = config.relative_attention_num_buckets;
        Self {
            relative_attention_bias: init.embedding(buckets, config.num_heads, None),
            max_distance: config.relative_attention_max_distance,
            both_ways,
        }
    }

    /// `[1, heads, seq, seq]` over queries and keys.
    pub(super) fn forward(&self, seq: usize) -> Tensor<4> {
        let [buckets, _] = self.relative_attention_bias.weight.dims();
        let last = seq.saturating_sub(1);
        // By the distance from query to key, from `-last` on.
        let by_distance: Vec<i64> =
            (0..2 * last + 1).map(|place| self.bucket(place as i64 - last as i64, buckets)).collect();
        let places = (0..seq).flat_map(|query| by_distance[last - query..].iter().take(seq));
        let buckets = TensorData::new(places.copied().collect::<Vec<_>>(), [seq, seq]);
        let buckets = Tensor::<2, Int>::from_data(buckets, &self.relative_attention_bias.weight.val().device().inner());
        self.relative_attention_bias.forward(buckets).permute([2, 0, 1]).unsqueeze()
    }

    /// The bucket of a distance from query to key: near ones have one each, and farther ones share by their logarithm.
    fn bucket(&self, distance: i64, buckets: usize) -> i64 {
        let buckets = if self.both_ways { buckets / 2 } else { buckets } as i64;
        let after = if self.both_ways && distance > 0 { buckets } else { 0 };
        let distance = if self.both_ways { distance.abs() } else { (-distance).max(0) };
        let exact = buckets / 2;
        if distance < exact {
            return after + distance;
        }
        // In f32 and in this order, so that distances on a border fall as they do in Transformers.
        let share = (distance as f32 / exact as f32).ln() / (self.max_distance as f64 / exact as f64).ln() as f32;
        let far = exact + (share * (buckets - exact) as f32) as i64;
        after + far.min(buckets - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_the_buckets_of_the_reference() {
        let device = crate::nn::test_device();
        let config = T5Config { relative_attention_max_distance: 20, num_heads: 2, ..T5Config::default() };
        let config = T5Config { relative_attention_num_buckets: 8, ..config };
        let bias = |both_ways| RelativeBias::new(&config, both_ways, &mut Init::new(1, 1.0, &device));
        let buckets = |both_ways, distances: &[i64]| -> Vec<i64> {
            distances.iter().map(|distance| bias(both_ways).bucket(*distance, 8)).collect()
        };
        let distances = [-30, -20, -7, -6, -3, -2, -1, 0, 1, 2, 5, 7, 30];
        // T5Attention._relative_position_bucket of Transformers 5.24.
        assert_eq!(buckets(true, &distances), [3, 3, 3, 2, 2, 2, 1, 0, 5, 6, 6, 7, 7]);
        assert_eq!(buckets(false, &distances), [7, 7, 5, 5, 3, 2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
