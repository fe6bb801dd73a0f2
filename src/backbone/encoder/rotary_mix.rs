//! What encoders with rotary positions share: how heads mix places, and how layers follow one another.

use crate::nn::{Dropout, Reach, Rotary, Scoring, Visible, attend, merge_heads, split_heads};
use burn::module::Module;
use burn::tensor::Tensor;

/// Attention between queries, keys and values that are projected already. It owns no parameter.
#[derive(Module, Debug)]
pub(super) struct RotaryMix {
    probability_dropout: Dropout,
    heads: usize,
    groups: usize,
    width: usize,
    #[module(skip)]
    rotary: Rotary,
    #[module(skip)]
    reach: Reach,
}

impl RotaryMix {
    /// `heads` of queries and `groups` of keys and values, which divide them, each of `width`.
    pub(super) fn new([heads, groups, width]: [usize; 3], rotary: Rotary, reach: Reach, dropout: f64) -> Self {
        Self { probability_dropout: Dropout::new(dropout), heads, groups, width, rotary, reach }
    }

    /// `query` is `[batch, seq, heads * width]`, as is what it gives; `key` and `value` are `[batch, seq, groups * width]`.
    pub(super) fn forward(&self, query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let (query, key) = (split_heads(query, self.heads), split_heads(key, self.groups));
        let [query, key] = visible.rotate(&self.rotary, [query, key]);
        let value = split_heads(value, self.groups);
        let scoring = Scoring::of_width(self.width, self.reach);
        merge_heads(attend(query, key, value, scoring, visible.clone(), &self.probability_dropout))
    }

    /// [`forward`](Self::forward) of the three one after the other, `[batch, seq, 3 * heads * width]`, in as many groups as heads.
    pub(super) fn forward_fused(&self, all: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let width = all.dims()[2] / 3;
        let [query, key, value] = [0, 1, 2].map(|part| all.clone().narrow(2, part * width, width));
        self.forward(query, key, value, visible)
    }

    /// Operations that mix the positions of a row of `seq`: two for each pair that sees one another and each feature, in
    /// queries with keys and probabilities with values.
    pub(super) fn operations(&self, seq: usize) -> f64 {
        let seen = match self.reach {
            Reach::Within(places) => seq.min(places.saturating_mul(2).saturating_add(1)),
            _ => seq,
        };
        4.0 * (seq * seen * self.heads * self.width) as f64
    }
}

/// What the [`Backbone`](crate::backbone::Backbone)s that are made of embeddings, `layers`, a `norm` where it is named, and
/// `pooler` do alike. `self.table()` is the token embedding.
macro_rules! runs_rotary_layers {
    (norm) => {
        $crate::backbone::encoder::rotary_mix::runs_rotary_layers! { 1, |body: &Self, hidden| body.norm.forward(hidden) }
    };
    () => {
        $crate::backbone::encoder::rotary_mix::runs_rotary_layers! { 0, |_: &Self, hidden| hidden }
    };
    ($norms:literal, $norm:expr) => {
        type Input = $crate::backbone::TextInput;
        type State = $crate::backbone::TextState;
        type Features = $crate::backbone::TextFeatures;

        fn stages(&self) -> $crate::backbone::Stages {
            let stages = $crate::backbone::Stages::new().stage("embeddings").stages("layers", self.layers.len());
            let stages = (0..$norms).fold(stages, |stages, _| stages.stage("norm").counted_with_head());
            match self.pooler {
                Some(_) => stages.stage("pooler").counted_with_head(),
                None => stages,
            }
        }

        fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
            let layer = stage.checked_sub(1).and_then(|index| self.layers.get(index));
            layer.map_or(0.0, |layer| layer.attention.mix.operations(seq))
        }

        fn stage(&self, index: usize, mut state: Self::State) -> Self::State {
            let visible = state.visible();
            let after_norm = index > self.layers.len() + $norms;
            match (self.layers.get(index - 1), &self.pooler) {
                (Some(layer), _) => state.hidden = layer.forward(state.hidden, &visible),
                (None, Some(pooler)) if after_norm => state.pooler_output = Some(pooler.forward(state.hidden.clone())),
                (None, _) => state.hidden = $norm(self, state.hidden),
            }
            state
        }

        fn finish(&self, state: Self::State) -> Self::Features {
            state.into_features(self.pooling, self.table().weight.val())
        }
    };
}
pub(in crate::backbone::encoder) use runs_rotary_layers;
