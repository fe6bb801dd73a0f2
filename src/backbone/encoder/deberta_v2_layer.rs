//! The layer of DeBERTa v2: disentangled attention and a feed-forward layer, each added to its input and then normalised.

use super::deberta_v2_config::DebertaV2Config;
use crate::nn::{
    Activation, Conv1d, Dropout, Init, LayerNorm, Linear, attention_by_scores, linear, merge_heads, split_heads,
};
use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// How distances between tokens become entries of the table of their embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Distances {
    /// Half the entries: those of negative distances.
    pub(super) half: usize,
    /// Distances up to half of this have an entry each, and longer ones share ever more; `None` where each has one.
    pub(super) buckets: Option<usize>,
    /// Where the buckets end.
    pub(super) farthest: usize,
}

impl Distances {
    /// Entries of the table.
    pub(super) fn entries(self) -> usize {
        2 * self.half
    }

    /// The entry for a query and a key at these places.
    fn entry(self, query: usize, key: usize) -> i64 {
        let (distance, half) = (query as i64 - key as i64, self.half as i64);
        let distance = self.buckets.map_or(distance, |buckets| self.bucketed(distance, buckets));
        (distance + half).clamp(0, 2 * half - 1)
    }

    /// In f32 as PyTorch computes it.
    fn bucketed(self, distance: i64, buckets: usize) -> i64 {
        let (middle, far) = (buckets / 2, distance.unsigned_abs() as usize);
        if far <= middle {
            return distance;
        }
        let range = ((self.farthest - 1) as f64 / middle as f64) as f32;
        let log = (far as f32 / middle as f32).ln() / range.ln();
        distance.signum() * ((log * (middle - 1) as f32).ceil() as i64 + middle as i64)
    }

    /// The entries of all pairs of `seq` places, `[1, 1, query, key]`.
    fn table(self, seq: usize, device: &Device) -> Tensor<4, Int> {
        let entries = (0..seq).flat_map(|query| (0..seq).map(move |key| self.entry(query, key)));
        Tensor::from_data(TensorData::new(entries.collect::<Vec<i64>>(), [1, 1, seq, seq]), device)
    }
}

#[derive(Module, Debug)]
pub(super) struct Layer {
    attention: SelfAttention,
    intermediate: Linear,
    output: Linear,
    norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Layer {
    pub(super) fn new(config: &DebertaV2Config, init: &mut Init) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        Self {
            attention: SelfAttention::new(config, init),
            intermediate: init.linear(hidden, inner),
            output: init.linear(inner, hidden),
            norm: LayerNorm::new(hidden, config.layer_norm_eps, init.device()),
            dropout: Dropout::new(config.hidden_dropout_prob),
            activation: config.hidden_act,
        }
    }

    /// `relative` is the embeddings of distances, `[distances, hidden]`, where attention looks at them.
    pub(super) fn forward(
        &self,
        hidden: Tensor<3>,
        relative: Option<(Tensor<2>, Distances)>,
        mask: &Tensor<2, Bool>,
    ) -> Tensor<3> {
        let hidden = self.attention.forward(hidden, relative, mask);
        let inner = self.activation.after(&self.intermediate, hidden.clone());
        self.norm.forward_residual(linear(&self.output, inner), hidden, &self.dropout)
    }

    /// Operations that mix the positions of a row of `seq`.
    pub(super) fn mixing_operations(&self, seq: usize) -> f64 {
        4.0 * (seq * seq * self.attention.query.weight.dims()[0]) as f64
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    /// What queries look for in distances; `key` where that is shared.
    position_key: Option<Linear>,
    /// What distances look for in keys; `query` where that is shared.
    position_query: Option<Linear>,
    output: Linear,
    norm: LayerNorm,
    probability_dropout: Dropout,
    position_dropout: Dropout,
    dropout: Dropout,
    heads: usize,
    content_to_position: bool,
    position_to_content: bool,
}

impl SelfAttention {
    fn new(config: &DebertaV2Config, init: &mut Init) -> Self {
        let hidden = config.hidden_size;
        let [content_to_position, position_to_content] = ["c2p", "p2c"].map(|kind| config.scores(kind));
        let own = config.relative_attention && !config.share_att_key;
        Self {
            query: init.linear(hidden, hidden),
            key: init.linear(hidden, hidden),
            value: init.linear(hidden, hidden),
            position_key: (own && content_to_position).then(|| init.linear(hidden, hidden)),
            position_query: (own && position_to_content).then(|| init.linear(hidden, hidden)),
            output: init.linear(hidden, hidden),
            norm: LayerNorm::new(hidden, config.layer_norm_eps, init.device()),
            probability_dropout: Dropout::new(config.attention_probs_dropout_prob),
            position_dropout: Dropout::new(config.hidden_dropout_prob),
            dropout: Dropout::new(config.hidden_dropout_prob),
            heads: config.num_attention_heads,
            content_to_position,
            position_to_content,
        }
    }

    fn forward(
        &self,
        hidden: Tensor<3>,
        relative: Option<(Tensor<2>, Distances)>,
        mask: &Tensor<2, Bool>,
    ) -> Tensor<3> {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|map| self.heads_of(map, hidden.clone()));
        let mut scores = query.clone().matmul(key.clone().swap_dims(2, 3));
        if let Some((table, distances)) = relative {
            let table = self.position_dropout.forward(table).unsqueeze::<3>();
            let entries = distances.table(hidden.dims()[1], &hidden.device().inner());
            scores = scores + self.position_scores(query.clone(), key, table, entries);
        }
        // Each kind of score adds its variance, whether distances are looked at or not.
        let kinds = 1 + usize::from(self.content_to_position) + usize::from(self.position_to_content);
        let scores = scores / ((query.dims()[3] * kinds) as f64).sqrt();
        let [batch, _, seq, _] = query.dims();
        let shape = [batch, 1, seq, seq];
        // Padding looks nowhere, too.
        let seen = mask.clone().unsqueeze_dims::<4>(&[1, 2]).expand(shape);
        let seen = seen.bool_and(mask.clone().unsqueeze_dims::<4>(&[1, 3]).expand(shape));
        let mixed = merge_heads(attention_by_scores(scores, value, seen, &self.probability_dropout));
        self.norm.forward_residual(linear(&self.output, mixed), hidden, &self.dropout)
    }

    /// What the distances, `[1, distances, hidden]`, add to the scores of content, `[batch, heads, query, key]`.
    fn position_scores(
        &self,
        query: Tensor<4>,
        key: Tensor<4>,
        table: Tensor<3>,
        entries: Tensor<4, Int>,
    ) -> Tensor<4> {
        let [batch, heads, seq, _] = query.dims();
        let entries = entries.expand([batch, heads, seq, seq]);
        let to_position = self.content_to_position.then(|| {
            let keys = self.heads_of(self.position_key.as_ref().unwrap_or(&self.key), table.clone());
            query.clone().matmul(keys.swap_dims(2, 3)).gather(3, entries.clone())
        });
        let to_content = self.position_to_content.then(|| {
            let queries = self.heads_of(self.position_query.as_ref().unwrap_or(&self.query), table);
            key.matmul(queries.swap_dims(2, 3)).gather(3, entries.swap_dims(2, 3)).swap_dims(2, 3)
        });
        match (to_position, to_content) {
            (Some(to_position), Some(to_content)) => to_position + to_content,
            (one, other) => one.or(other).unwrap_or_else(|| Tensor::zeros([batch, heads, seq, seq], &query.device())),
        }
    }

    /// `[batch, seq, hidden]` to `[batch, heads, seq, width]`.
    fn heads_of(&self, map: &Linear, input: Tensor<3>) -> Tensor<4> {
        split_heads(linear(map, input), self.heads)
    }
}

/// A convolution over the embeddings that is added to what the first layer gives.
#[derive(Module, Debug)]
pub(super) struct Convolution {
    conv: Conv1d,
    norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Convolution {
    pub(super) fn new(config: &DebertaV2Config, init: &mut Init) -> Self {
        let (hidden, groups) = (config.hidden_size, config.conv_groups);
        Self {
            conv: Conv1d::new([hidden / groups, hidden, config.conv_kernel_size as usize], 1, init).grouped(groups),
            norm: LayerNorm::new(hidden, config.layer_norm_eps, init.device()),
            dropout: Dropout::new(config.hidden_dropout_prob),
            activation: config.conv_act,
        }
    }

    /// `embedded` is what the first layer read, `hidden` what it gave, both `[batch, seq, hidden]`.
    pub(super) fn forward(&self, embedded: Tensor<3>, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let real = mask.clone().float().unsqueeze_dim::<3>(2);
        let near = self.conv.forward(embedded.swap_dims(1, 2)).swap_dims(1, 2) * real.clone();
        let near = self.activation.forward(self.dropout.forward(near));
        self.norm.forward(hidden + near) * real
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_distances_share_entries() {
        // Of Transformers' `make_log_bucket_position` for 8 buckets up to 64.
        let distances = Distances { half: 8, buckets: Some(8), farthest: 64 };
        for (distance, bucket) in [(0, 0), (3, 3), (4, 4), (5, 5), (10, 5), (11, 6), (25, 6), (26, 7), (63, 7), (64, 8)]
        {
            assert_eq!(distances.bucketed(distance, 8), bucket, "{distance}");
            assert_eq!(distances.bucketed(-distance, 8), -bucket, "-{distance}");
        }
        assert_eq!((distances.entry(0, 200), distances.entry(200, 0)), (0, 15));
        let plain = Distances { half: 3, buckets: None, farthest: 3 };
        assert_eq!([0, 2, 5, 9].map(|key| plain.entry(2, key)), [5, 3, 0, 0]);
    }
}
