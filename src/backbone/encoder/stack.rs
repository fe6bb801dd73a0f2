//! The layers of an encoder, with which a pooler may follow.

use super::layer::{Layer, LayerConfig, Pooler};
use crate::backbone::{Pooling, Stages, TextState};
use crate::nn::Init;
use burn::module::Module;
use burn::tensor::Tensor;

/// The layers, and which of them each stage after the embeddings runs.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    layer: Vec<Layer>,
    #[module(skip)]
    runs: Vec<usize>,
}

impl Encoder {
    /// `layers` layers, one a stage.
    pub(super) fn new(config: &LayerConfig, layers: usize, init: &mut Init) -> Self {
        Self::shared(config, layers, (0..layers).collect(), init)
    }

    /// `layers` layers; each stage runs the one that `runs` says, below `layers`.
    pub(super) fn shared(config: &LayerConfig, layers: usize, runs: Vec<usize>, init: &mut Init) -> Self {
        Self { layer: (0..layers).map(|_| Layer::new(config, init)).collect(), runs }
    }

    /// The stages that make the layers' input, then layers and pooler. Each layer also reads what is at `also`.
    pub(super) fn stages(&self, before: Stages, also: Option<&str>, pooler: Option<&Pooler>) -> Stages {
        // A run of a shared layer is not to be taken for a layer of that number.
        let name = if self.runs.len() == self.layer.len() { "layer" } else { "run" };
        let stages = self.runs.iter().enumerate().fold(before, |stages, (index, layer)| {
            let stages = stages.bare(format!("encoder.{name}.{index}")).also(format!("encoder.layer.{layer}"));
            also.into_iter().fold(stages, Stages::also)
        });
        match pooler {
            Some(_) => stages.stage("pooler").counted_with_head(),
            None => stages,
        }
    }

    /// Layer `index - 1`, or the pooler. `bias`, `[1, heads, seq, seq]`, is added to the attention scores.
    pub(super) fn stage(
        &self,
        pooler: Option<&Pooler>,
        index: usize,
        mut state: TextState,
        bias: Option<Tensor<4>>,
    ) -> TextState {
        let visible = state.visible();
        match (self.layer_of(index), pooler) {
            (Some(layer), _) => state.hidden = layer.forward(state.hidden.clone(), state.hidden, &visible, bias),
            (None, Some(pooler)) => state.pooler_output = Some(pooler.forward(state.hidden.clone())),
            (None, None) => {}
        }
        state
    }

    /// As [`stage`](Self::stage), but the last layer makes what the pooling reads alone.
    pub(super) fn stage_pooled(
        &self,
        (pooler, pooling): (Option<&Pooler>, Pooling),
        index: usize,
        mut state: TextState,
        bias: Option<Tensor<4>>,
    ) -> TextState {
        // Of packed rows each place sees its own document.
        let layer = self.layer_of_first_token(index, pooling).filter(|_| state.documents.is_none());
        let Some(layer) = layer else {
            return self.stage(pooler, index, state, bias);
        };
        let visible = state.visible();
        let first = state.hidden.clone().narrow(1, 0, 1);
        state.hidden = layer.forward(first, state.hidden, &visible, bias.map(|bias| bias.narrow(2, 0, 1)));
        state.mask = state.mask.narrow(1, 0, 1);
        state
    }

    /// See [`Backbone::mixing_operations`](crate::backbone::Backbone::mixing_operations).
    pub(super) fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        self.layer_of(stage).map_or(0.0, |layer| layer.mixing_operations(seq))
    }

    /// See [`Backbone::operations_spared`](crate::backbone::Backbone::operations_spared).
    pub(super) fn operations_spared(&self, stage: usize, seq: usize, pooling: Pooling) -> f64 {
        self.layer_of_first_token(stage, pooling).map_or(0.0, |layer| layer.operations_spared(seq))
    }

    /// Whether a layer runs in this stage.
    pub(super) fn is_layer(&self, stage: usize) -> bool {
        self.layer_of(stage).is_some()
    }

    fn layer_of(&self, stage: usize) -> Option<&Layer> {
        self.layer.get(*self.runs.get(stage.checked_sub(1)?)?)
    }

    /// The layer of this stage, if it is the last one and the pooling reads its first token alone.
    fn layer_of_first_token(&self, stage: usize, pooling: Pooling) -> Option<&Layer> {
        let is_last = stage == self.runs.len() && matches!(pooling, Pooling::Cls | Pooling::Pooler);
        self.layer_of(stage).filter(|_| is_last)
    }
}

/// What the [`Backbone`](crate::backbone::Backbone)s that are made of `embeddings`, `encoder` and `pooler` do alike.
///
/// `bias(&self, stage, &state)` gives what is added to a layer's attention scores; nothing where it is not named.
macro_rules! runs_encoder {
    () => {
        $crate::backbone::encoder::stack::runs_encoder! { $crate::backbone::encoder::stack::no_bias }
    };
    ($bias:path) => {
        type Input = $crate::backbone::TextInput;
        type State = $crate::backbone::TextState;
        type Features = $crate::backbone::TextFeatures;

        fn positions(&self) -> Option<usize> {
            Some(self.max_length)
        }

        fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
            self.encoder.mixing_operations(stage, seq)
        }

        fn operations_spared(&self, stage: usize, seq: usize) -> f64 {
            self.encoder.operations_spared(stage, seq, self.pooling)
        }

        fn stage(&self, index: usize, state: Self::State) -> Self::State {
            let bias = $bias(self, index, &state);
            self.encoder.stage(self.pooler.as_ref(), index, state, bias)
        }

        fn stage_pooled(&self, index: usize, state: Self::State) -> Self::State {
            let bias = $bias(self, index, &state);
            self.encoder.stage_pooled((self.pooler.as_ref(), self.pooling), index, state, bias)
        }

        fn finish(&self, state: Self::State) -> Self::Features {
            state.into_features(self.pooling, self.embeddings.word_embeddings.weight.val())
        }
    };
}
pub(in crate::backbone::encoder) use runs_encoder;

/// The scores of most architectures have no bias.
pub(super) fn no_bias<B>(_: &B, _: usize, _: &TextState) -> Option<Tensor<4>> {
    None
}
