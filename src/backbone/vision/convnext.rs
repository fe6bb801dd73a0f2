//! ConvNeXt ([Liu et al., 2022](https://arxiv.org/abs/2201.03545)), as Transformers' `models/convnext/modeling_convnext.py`
//! runs it.

use super::map_state::{drop_path_rates, mean_map, place};
use super::{ConvNextConfig, ImageInput, MapFeatures, MapState, Mlp, PatchProjection, Sides};
use crate::backbone::{Backbone, InputError, Pooling, Stages};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::nn::{Conv, DropPath, Init, LayerNorm};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Of every layer norm but the last.
const EPSILON: f64 = 1e-6;

/// The ConvNeXt encoder. Parameter paths follow the names of files. Its pooled features are the norm of the last map's mean.
#[derive(Module, Debug)]
pub struct ConvNext {
    embeddings: Embeddings,
    encoder: Encoder,
    layernorm: LayerNorm,
}

#[derive(Module, Debug)]
struct Embeddings {
    patch_embeddings: PatchProjection,
    layernorm: LayerNorm,
}

#[derive(Module, Debug)]
struct Encoder {
    stages: Vec<Group>,
}

#[derive(Module, Debug)]
struct Group {
    downsampling: Option<Downsampling>,
    layers: Vec<Layer>,
}

impl ConvNext {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`ConvNextConfig::check`](ConvNextConfig::check) says whether it is.
    pub fn new(config: &ConvNextConfig, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let sizes = &config.hidden_sizes;
        let first = sizes.first().copied().unwrap_or(1);
        let patch_embeddings = PatchProjection::new(config.num_channels, first, config.patch_size, true, &mut init);
        let mut rates = drop_path_rates(config.drop_path_rate, config.depths.iter().sum()).into_iter();
        let (mut stages, mut input) = (vec![], None);
        for (depth, size) in config.depths.iter().zip(sizes) {
            let downsampling = input.map(|input| Downsampling::new(input, *size, &mut init));
            let rates: Vec<f64> = rates.by_ref().take(*depth).collect();
            let layers = rates.into_iter().map(|rate| Layer::new(config, *size, rate, &mut init)).collect();
            stages.push(Group { downsampling, layers });
            input = Some(*size);
        }
        Self {
            embeddings: Embeddings { patch_embeddings, layernorm: LayerNorm::new(first, EPSILON, device) },
            encoder: Encoder { stages },
            layernorm: LayerNorm::new(input.unwrap_or(first), config.layer_norm_eps, device),
        }
    }

    fn place(&self, stage: usize) -> Option<(usize, usize)> {
        place(self.encoder.stages.iter().map(|group| group.layers.len()), stage)
    }

    /// What layer `layer` of group `group` makes of a map, and whether it is its group's last.
    fn layer(&self, (group, layer): (usize, usize), map: Tensor<4>) -> (Tensor<4>, bool) {
        let Group { downsampling, layers } = &self.encoder.stages[group];
        let map = match downsampling {
            Some(downsampling) if layer == 0 => downsampling.forward(map),
            _ => map,
        };
        (layers[layer].forward(map), layer + 1 == layers.len())
    }

    fn pooled(&self, map: &Tensor<4>) -> Tensor<2> {
        self.layernorm.forward(mean_map(map.clone()).flatten::<2>(1, 3))
    }
}

impl Backbone for ConvNext {
    type Input = ImageInput;
    type State = MapState;
    type Features = MapFeatures;

    fn stages(&self) -> Stages {
        let mut stages = Stages::new().stage("embeddings");
        for (index, group) in self.encoder.stages.iter().enumerate() {
            let path = format!("encoder.stages.{index}");
            for layer in 0..group.layers.len() {
                stages = stages.stage(format!("{path}.layers.{layer}"));
                if layer == 0 && group.downsampling.is_some() {
                    stages = stages.also(format!("{path}.downsampling"));
                }
            }
        }
        stages.stage("layernorm").counted_with_head()
    }

    fn check(&self, input: &ImageInput) -> Result<(), InputError> {
        let (channels, patch) = self.embeddings.patch_embeddings.reads();
        let halvings = self.encoder.stages.len().saturating_sub(1);
        input.check(channels, patch.map(|side| side << halvings))
    }

    fn leaves_out(&self, stage: usize) -> bool {
        let layer = self.place(stage);
        layer.is_none_or(|(group, layer)| layer + 1 == self.encoder.stages[group].layers.len()) && stage > 0
    }

    fn embed(&self, input: ImageInput) -> MapState {
        let patches = self.embeddings.patch_embeddings.forward(input.pixels);
        MapState::new(channels_first(self.embeddings.layernorm.forward(patches)))
    }

    fn stage(&self, index: usize, mut state: MapState) -> MapState {
        let Some(place) = self.place(index) else {
            state.pooled = Some(self.pooled(&state.map));
            return state;
        };
        let (map, last) = self.layer(place, state.map);
        if last {
            state.maps.push(map.clone());
        }
        MapState { map, ..state }
    }

    fn stage_pooled(&self, index: usize, state: MapState) -> MapState {
        match self.place(index) {
            Some(place) => MapState { map: self.layer(place, state.map).0, ..state },
            None => MapState { pooled: Some(self.pooled(&state.map)), map: mean_map(state.map), maps: vec![] },
        }
    }

    fn finish(&self, MapState { map, maps, pooled }: MapState) -> MapFeatures {
        let pooled = pooled.unwrap_or_else(|| mean_map(map.clone()).flatten(1, 3));
        MapFeatures { map, maps, pooled }
    }
}

impl FromPretrained for ConvNext {
    type Config = ConvNextConfig;
    const MODEL_TYPES: &'static [&'static str] = &["convnext"];

    fn check_config(config: &ConvNextConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    /// It pools by the mean, whatever is asked.
    fn build(config: &ConvNextConfig, _: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, seed, device)
    }
    fn key_map(_: &ConvNextConfig) -> KeyMap {
        let layer = |map: KeyMap, (path, key): &(&str, &str)| {
            let (from, to) = ("backbone.encoder.stages.*", "convnext.encoder.stages.*");
            map.rule(&format!("{from}.{path}"), &format!("{to}.{key}"))
        };
        [
            ("downsampling.norm", "downsampling_layer.0"),
            ("downsampling.reduction", "downsampling_layer.1"),
            ("layers.*.depthwise", "layers.*.dwconv"),
            ("layers.*.layernorm", "layers.*.layernorm"),
            ("layers.*.mlp.up", "layers.*.pwconv1"),
            ("layers.*.mlp.down", "layers.*.pwconv2"),
            ("layers.*.scale", "layers.*.layer_scale_parameter"),
        ]
        .iter()
        .fold(KeyMap::new("convnext"), layer)
        .rule("backbone.embeddings", "convnext.embeddings")
        .rule("backbone.layernorm", "convnext.layernorm")
        .rule("head.linear", "classifier")
    }
    fn hidden_size(config: &ConvNextConfig) -> usize {
        config.hidden_sizes.last().copied().unwrap_or(0)
    }
    fn pooling(&self) -> Pooling {
        Pooling::Mean
    }
    fn class_prefix(_: &ConvNextConfig) -> &'static str {
        "ConvNext"
    }
    fn classification_pooling(_: &ConvNextConfig) -> Pooling {
        Pooling::Mean
    }
}

/// `[batch, height, width, channels]` to `[batch, channels, height, width]`.
fn channels_first(map: Tensor<4>) -> Tensor<4> {
    map.permute([0, 3, 1, 2])
}

/// `[batch, channels, height, width]` to `[batch, height, width, channels]`.
fn channels_last(map: Tensor<4>) -> Tensor<4> {
    map.permute([0, 2, 3, 1])
}

/// Halves a map's height and width.
#[derive(Module, Debug)]
struct Downsampling {
    norm: LayerNorm,
    reduction: PatchProjection,
}

impl Downsampling {
    fn new(input: usize, output: usize, init: &mut Init) -> Self {
        let norm = LayerNorm::new(input, EPSILON, init.device());
        Self { norm, reduction: PatchProjection::new(input, output, Sides::Equal(2), true, init) }
    }

    fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let normed = channels_first(self.norm.forward(channels_last(map)));
        channels_first(self.reduction.forward(normed))
    }
}

/// A 7 x 7 convolution of each channel and a feed-forward layer of each place, added to the map.
#[derive(Module, Debug)]
struct Layer {
    depthwise: Conv,
    layernorm: LayerNorm,
    mlp: Mlp,
    /// `[channels]`.
    scale: Option<Param<Tensor<1>>>,
    drop_path: DropPath,
}

impl Layer {
    fn new(config: &ConvNextConfig, channels: usize, drop_path: f64, init: &mut Init) -> Self {
        let value = config.layer_scale_init_value;
        let scale = (value > 0.0).then(|| Param::from_tensor(Tensor::full([channels], value, init.device())));
        Self {
            depthwise: Conv::depthwise(channels, 7, init),
            layernorm: LayerNorm::new(channels, EPSILON, init.device()),
            mlp: Mlp::new(channels, 4 * channels, config.hidden_act, init),
            scale,
            drop_path: DropPath::new(drop_path),
        }
    }

    fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let mixed = self.layernorm.forward(channels_last(self.depthwise.forward(map.clone())));
        let mut branch = self.mlp.forward(mixed);
        if let Some(scale) = &self.scale {
            branch = branch * scale.val().unsqueeze();
        }
        map + self.drop_path.forward(channels_first(branch))
    }
}
