use super::VisionSizes;
use crate::backbone::vision::{Block, ImageInput, Mlp, PatchFeatures, PatchProjection, PatchState, Sight, positions};
use crate::backbone::{Backbone, InputError, Pooling, Stages, first_token};
use crate::nn::{Dropout, Embedding, Init, LayerNorm, Linear, linear, multi_head_attention};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// The vision tower of CLIP or SigLIP, beside a text tower or alone. It reads images of any size of at least one patch: the
/// position table is resized to another grid of patches than its own.
///
/// Beside a text tower its pooled features have the width in which images and texts are compared: CLIP's has a class token,
/// of which it projects the norm; in SigLIP's, attention pools the patches. Alone it pools by the mean of the patches, as
/// Transformers' image classifiers do (CLIP's of the last layer, SigLIP's of the norm), or as beside a text tower, without
/// CLIP's projection.
#[derive(Module, Debug)]
pub struct VisionTower {
    embeddings: Embeddings,
    encoder: Encoder,
    post_layernorm: Option<LayerNorm>,
    projection: Option<Linear>,
    head: Option<AttentionPool>,
    #[module(skip)]
    pub(super) pooling: Pooling,
}

#[derive(Module, Debug)]
struct Embeddings {
    /// `[hidden]`.
    class_embedding: Option<Param<Tensor<1>>>,
    patches: PatchProjection,
    position_embedding: Embedding,
    norm: Option<LayerNorm>,
    /// Rows and columns of the position table.
    #[module(skip)]
    grid: [usize; 2],
}

#[derive(Module, Debug)]
struct Encoder {
    layers: Vec<Block>,
}

impl VisionTower {
    /// With what `pooling` reads: [`Pooling::Mean`], or else a pooler.
    pub(super) fn new(sizes: VisionSizes, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let (hidden, epsilon) = (sizes.block.attention.hidden, sizes.block.epsilon);
        let mut init = Init::new(seed, sizes.deviation, device);
        let (has_class, pools) = (sizes.class_token, pooling != Pooling::Mean);
        let grid = sizes.image.grid(sizes.patch);
        Self {
            embeddings: Embeddings {
                class_embedding: has_class.then(|| init.weight([hidden])),
                patches: PatchProjection::new(sizes.channels, hidden, sizes.patch, !has_class, &mut init),
                position_embedding: init.embedding(usize::from(has_class) + grid[0] * grid[1], hidden, None),
                norm: has_class.then(|| LayerNorm::new(hidden, epsilon, device)),
                grid,
            },
            encoder: Encoder { layers: (0..sizes.layers).map(|_| Block::new(sizes.block, &mut init)).collect() },
            post_layernorm: (pools || !has_class).then(|| LayerNorm::new(hidden, epsilon, device)),
            projection: sizes.projection.filter(|_| pools).map(|width| init.linear_with(hidden, width, false)),
            head: (pools && !has_class).then(|| AttentionPool::new(sizes, &mut init)),
            pooling: if pools { Pooling::Pooler } else { Pooling::Mean },
        }
    }

    /// Tokens of an image of the configured size.
    fn tokens(&self) -> usize {
        self.embeddings.position_embedding.weight.dims()[0]
    }

    fn has_class(&self) -> bool {
        self.embeddings.class_embedding.is_some()
    }

    fn pools(&self) -> bool {
        self.pooling == Pooling::Pooler
    }

    /// The layer of this stage, if it is the last one and a class token alone is read of it.
    fn layer_of_first_token(&self, stage: usize) -> Option<&Block> {
        let layers = &self.encoder.layers;
        layers.last().filter(|_| self.has_class() && self.pools() && stage == layers.len())
    }
}

impl Backbone for VisionTower {
    type Input = ImageInput;
    type State = PatchState;
    type Features = PatchFeatures;

    fn stages(&self) -> Stages {
        let layers = Stages::new().stage("embeddings").stages("encoder.layers", self.encoder.layers.len());
        let last = [
            self.post_layernorm.as_ref().map(|_| "post_layernorm"),
            self.projection.as_ref().map(|_| "projection"),
            self.head.as_ref().map(|_| "head"),
        ];
        last.into_iter().flatten().fold(layers, |stages, name| stages.stage(name).counted_with_head())
    }

    fn check(&self, input: &ImageInput) -> Result<(), InputError> {
        let (channels, patch) = self.embeddings.patches.reads();
        input.check(channels, patch)
    }

    fn mixing_operations(&self, stage: usize, _: usize) -> f64 {
        let layer = stage.checked_sub(1).and_then(|index| self.encoder.layers.get(index));
        layer.map_or(0.0, |layer| layer.mixing_operations(self.tokens()))
    }

    fn operations_spared(&self, stage: usize, _: usize) -> f64 {
        self.layer_of_first_token(stage).map_or(0.0, |layer| layer.operations_spared(self.tokens()))
    }

    fn leaves_out(&self, stage: usize) -> bool {
        self.layer_of_first_token(stage).is_some() || self.pools() && stage > self.encoder.layers.len() + 1
    }

    fn embed(&self, input: ImageInput) -> PatchState {
        PatchState::new(self.embeddings.forward(input.pixels))
    }

    fn stage(&self, index: usize, mut state: PatchState) -> PatchState {
        let PatchState { hidden, pooler_output } = &mut state;
        if let Some(layer) = self.encoder.layers.get(index - 1) {
            *hidden = layer.forward(hidden.clone(), &Sight::All);
            return state;
        }
        let norm = self.post_layernorm.as_ref().filter(|_| index == self.encoder.layers.len() + 1);
        match (norm, &self.projection, &self.head) {
            (Some(norm), ..) if self.has_class() => *pooler_output = Some(norm.forward(first_token(hidden.clone()))),
            (Some(norm), ..) => *hidden = norm.forward(hidden.clone()),
            (None, Some(projection), _) => {
                *pooler_output = pooler_output.take().map(|pooled| linear(projection, pooled));
            }
            (None, None, Some(head)) => *pooler_output = Some(head.forward(hidden.clone())),
            (None, None, None) => {}
        }
        state
    }

    fn stage_pooled(&self, index: usize, mut state: PatchState) -> PatchState {
        if let Some(layer) = self.layer_of_first_token(index) {
            state.hidden = layer.forward_first(state.hidden);
            return state;
        }
        let mut state = self.stage(index, state);
        if self.leaves_out(index) {
            state.hidden = state.hidden.narrow(1, 0, 1);
        }
        state
    }

    fn finish(&self, PatchState { hidden, pooler_output }: PatchState) -> PatchFeatures {
        let class_tokens = usize::from(self.has_class());
        PatchFeatures { hidden, pooler_output, pooling: self.pooling, with_mean: false, class_tokens }
    }
}

impl Embeddings {
    /// `[batch, channels, height, width]` to `[batch, tokens, hidden]`.
    fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = self.patches.forward(pixels);
        let [batch, rows, columns, hidden] = patches.dims();
        let patches = patches.reshape([batch, rows * columns, hidden]);
        let tokens = match &self.class_embedding {
            Some(token) => Tensor::cat(vec![token.val().unsqueeze::<3>().expand([batch, 1, hidden]), patches], 1),
            None => patches,
        };
        let class_tokens = usize::from(self.class_embedding.is_some());
        let table = positions(self.position_embedding.weight.val(), class_tokens, self.grid, [rows, columns]);
        let sum = tokens + table.unsqueeze();
        self.norm.as_ref().map_or(sum.clone(), |norm| norm.forward(sum))
    }
}

/// A learned query that looks at all patches, and a feed-forward layer.
#[derive(Module, Debug)]
struct AttentionPool {
    /// `[1, 1, hidden]`.
    probe: Param<Tensor<3>>,
    /// Query, key and value in one.
    input: Linear,
    output: Linear,
    layernorm: LayerNorm,
    mlp: Mlp,
    heads: usize,
}

impl AttentionPool {
    fn new(sizes: VisionSizes, init: &mut Init) -> Self {
        let (hidden, block) = (sizes.block.attention.hidden, sizes.block);
        Self {
            probe: init.weight([1, 1, hidden]),
            input: init.linear(hidden, 3 * hidden),
            output: init.linear(hidden, hidden),
            layernorm: LayerNorm::new(hidden, block.epsilon, init.device()),
            mlp: Mlp::new(hidden, block.inner, block.activation, init),
            heads: block.attention.heads,
        }
    }

    /// `[batch, patches, hidden]` to `[batch, hidden]`.
    fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [batch, _, width] = hidden.dims();
        let query = linear(&self.input, self.probe.val()).narrow(2, 0, width).expand([batch, 1, width]);
        let both = linear(&self.input, hidden);
        let (key, value) = (both.clone().narrow(2, width, width), both.narrow(2, 2 * width, width));
        let mixed = multi_head_attention(query, key, value, self.heads, None, &Dropout::new(0.0));
        let pooled = linear(&self.output, mixed);
        let inner = self.mlp.forward(self.layernorm.forward(pooled.clone()));
        (pooled + inner).reshape([batch, width])
    }
}
