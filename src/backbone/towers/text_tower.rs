use super::TextSizes;
use crate::backbone::vision::{Block, Sight};
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput};
use crate::nn::{Embedding, Init, LayerNorm, Linear, linear};
use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};

/// Which token stands for the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TextPool {
    /// The first one with this id; the first token where there is none.
    Eos(usize),
    /// The first one of the highest id.
    Highest,
    /// The last place, padding or not.
    Last,
}

/// The text tower of CLIP or SigLIP. Its pooled features are one token's, projected to the width in which images and texts
/// are compared.
#[derive(Module, Debug)]
pub struct TextTower {
    embeddings: Embeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
    projection: Linear,
    causal: bool,
    #[module(skip)]
    pool: TextPool,
}

#[derive(Module, Debug)]
struct Embeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

#[derive(Module, Debug)]
struct Encoder {
    layers: Vec<Block>,
}

/// What flows between the stages of a [`TextTower`].
#[derive(Clone, Debug)]
pub struct TextTowerState {
    /// `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// True for real tokens, `[batch, seq]`.
    pub mask: Tensor<2, Bool>,
    /// True for real tokens and up to the one that stands for the text, `[batch, seq]`.
    pub kept: Tensor<2, Bool>,
    /// The place of the token that stands for the text, `[batch]`.
    pub at: Tensor<1, Int>,
    /// What stands for the text, `[batch, width]`; `None` before it is projected.
    pub pooled: Option<Tensor<2>>,
}
crate::rows!(TextTowerState { at, pooled } padded { hidden, mask, kept } by kept);

impl TextTower {
    pub(super) fn new(sizes: TextSizes, seed: u64, device: &Device) -> Self {
        let hidden = sizes.block.attention.hidden;
        let mut init = Init::new(seed, sizes.deviation, device);
        Self {
            embeddings: Embeddings {
                token_embedding: init.embedding(sizes.vocabulary, hidden, None),
                position_embedding: init.embedding(sizes.positions, hidden, None),
            },
            encoder: Encoder { layers: (0..sizes.layers).map(|_| Block::new(sizes.block, &mut init)).collect() },
            final_layer_norm: LayerNorm::new(hidden, sizes.block.epsilon, device),
            projection: init.linear_with(hidden, sizes.projection, sizes.bias),
            causal: sizes.causal,
            pool: sizes.pool,
        }
    }

    fn sight(&self, state: &TextTowerState) -> Sight {
        match self.causal {
            true => Sight::Causal(state.mask.clone()),
            false => Sight::Real(state.mask.clone()),
        }
    }

    /// The place that stands for each text, `[batch]`.
    fn place(&self, ids: Tensor<2, Int>) -> Tensor<1, Int> {
        let [batch, seq] = ids.dims();
        let wanted = match self.pool {
            TextPool::Last => return Tensor::full([batch], seq as i64 - 1, &ids.device()),
            TextPool::Eos(id) => ids.equal_elem(id as i64),
            TextPool::Highest => ids.clone().equal(ids.max_dim(1).expand([batch, seq])),
        };
        let places = Tensor::<1, Int>::arange(0..seq as i64, &wanted.device()).unsqueeze::<2>().expand([batch, seq]);
        let first = places.mask_fill(wanted.bool_not(), seq as i64).min_dim(1);
        let none = first.clone().equal_elem(seq as i64);
        first.mask_fill(none, 0).reshape([batch])
    }
}

impl Backbone for TextTower {
    type Input = TextInput;
    type State = TextTowerState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        let layers = Stages::new().stage("embeddings").stages("encoder.layers", self.encoder.layers.len());
        layers.stage("final_layer_norm").counted_with_head().stage("projection").counted_with_head()
    }

    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        let [vocabulary, _] = self.embeddings.token_embedding.weight.dims();
        let [positions, _] = self.embeddings.position_embedding.weight.dims();
        InputError::check_shapes(input)?;
        InputError::check_length(&input.ids, positions)?;
        InputError::check_ids("token", &input.ids, vocabulary)
    }

    fn positions(&self) -> Option<usize> {
        Some(self.embeddings.position_embedding.weight.dims()[0])
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let layer = stage.checked_sub(1).and_then(|index| self.encoder.layers.get(index));
        layer.map_or(0.0, |layer| layer.mixing_operations(seq))
    }

    fn leaves_out(&self, stage: usize) -> bool {
        stage > self.encoder.layers.len() + 1
    }

    fn reads_padding(&self) -> bool {
        self.pool == TextPool::Last
    }

    fn embed(&self, input: TextInput) -> TextTowerState {
        let [batch, seq] = input.ids.dims();
        let places = Tensor::<1, Int>::arange(0..seq as i64, &input.ids.device()).unsqueeze::<2>();
        let at = self.place(input.ids.clone());
        let before =
            places.clone().expand([batch, seq]).lower_equal(at.clone().reshape([batch, 1]).expand([batch, seq]));
        let Embeddings { token_embedding, position_embedding } = &self.embeddings;
        let hidden = token_embedding.forward(input.ids) + position_embedding.forward(places);
        TextTowerState { hidden, kept: input.mask.clone().bool_or(before), mask: input.mask, at, pooled: None }
    }

    fn stage(&self, index: usize, mut state: TextTowerState) -> TextTowerState {
        let layers = &self.encoder.layers;
        match layers.get(index - 1) {
            Some(layer) => {
                let sight = self.sight(&state);
                state.hidden = layer.forward(state.hidden, &sight);
            }
            None if index == layers.len() + 1 => state.hidden = self.final_layer_norm.forward(state.hidden),
            None => {
                let [batch, _, width] = state.hidden.dims();
                let at = state.at.clone().reshape([batch, 1, 1]).expand([batch, 1, width]);
                let token = state.hidden.clone().gather(1, at).reshape([batch, width]);
                state.pooled = Some(linear(&self.projection, token));
            }
        }
        state
    }

    fn stage_pooled(&self, index: usize, state: TextTowerState) -> TextTowerState {
        let mut state = self.stage(index, state);
        if self.leaves_out(index) {
            state.hidden = state.hidden.narrow(1, 0, 1);
            (state.mask, state.kept) = (state.mask.narrow(1, 0, 1), state.kept.narrow(1, 0, 1));
        }
        state
    }

    fn finish(&self, state: TextTowerState) -> TextFeatures {
        TextFeatures {
            hidden: state.hidden,
            mask: state.mask,
            pooler_output: state.pooled,
            pooling: Pooling::Pooler,
            token_embedding: self.embeddings.token_embedding.weight.val(),
        }
    }
}
