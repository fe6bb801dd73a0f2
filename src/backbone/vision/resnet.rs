//! ResNet ([He et al., 2016](https://arxiv.org/abs/1512.03385)), as Transformers' `models/resnet/modeling_resnet.py` runs it.

use super::map_state::{mean_map, place};
use super::{ImageInput, MapFeatures, MapState, ResNetConfig, ResNetLayer};
use crate::backbone::{Backbone, InputError, Pooling, Stages};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::nn::{Activation, BatchNorm, Conv, Init, max_pool};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The ResNet encoder. Parameter paths are those of files. Its pooled features are the mean of the last map.
///
/// Frozen layers normalise by the running statistics and leave them as they are.
#[derive(Module, Debug)]
pub struct ResNet {
    embedder: Embedder,
    encoder: Encoder,
}

#[derive(Module, Debug)]
struct Embedder {
    embedder: ConvNorm,
}

#[derive(Module, Debug)]
struct Encoder {
    stages: Vec<Group>,
}

#[derive(Module, Debug)]
struct Group {
    layers: Vec<Layer>,
}

impl ResNet {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`ResNetConfig::check`](ResNetConfig::check) says whether it is.
    pub fn new(config: &ResNetConfig, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, 0.02, device);
        let stem =
            ConvNorm::new([config.num_channels, config.embedding_size], 7, 2, Some(config.hidden_act), &mut init);
        let (mut stages, mut input) = (vec![], config.embedding_size);
        for (group, (depth, output)) in config.depths.iter().zip(&config.hidden_sizes).enumerate() {
            let first_stride = if group > 0 || config.downsample_in_first_stage { 2 } else { 1 };
            let layer = |index: usize| match index {
                0 => Layer::new(config, input, *output, first_stride, &mut init),
                _ => Layer::new(config, *output, *output, 1, &mut init),
            };
            stages.push(Group { layers: (0..*depth).map(layer).collect() });
            input = *output;
        }
        Self { embedder: Embedder { embedder: stem }, encoder: Encoder { stages } }
    }

    /// Group and layer of a stage, and whether the layer is its group's last and the network's last.
    fn place(&self, stage: usize) -> Option<(&Layer, bool, bool)> {
        let groups = &self.encoder.stages;
        let (group, layer) = place(groups.iter().map(|group| group.layers.len()), stage)?;
        let last = layer + 1 == groups[group].layers.len();
        Some((&groups[group].layers[layer], last, last && group + 1 == groups.len()))
    }
}

impl Backbone for ResNet {
    type Input = ImageInput;
    type State = MapState;
    type Features = MapFeatures;

    fn stages(&self) -> Stages {
        let groups = self.encoder.stages.iter().enumerate();
        groups.fold(Stages::new().stage("embedder"), |stages, (index, group)| {
            stages.stages(&format!("encoder.stages.{index}.layers"), group.layers.len())
        })
    }

    fn check(&self, input: &ImageInput) -> Result<(), InputError> {
        input.check(self.embedder.embedder.convolution.weight.dims()[1], [1, 1])
    }

    fn leaves_out(&self, stage: usize) -> bool {
        self.place(stage).is_some_and(|(_, last, _)| last)
    }

    fn embed(&self, input: ImageInput) -> MapState {
        MapState::new(max_pool(self.embedder.embedder.forward(input.pixels), 3, 2))
    }

    fn stage(&self, index: usize, mut state: MapState) -> MapState {
        let Some((layer, last, _)) = self.place(index) else { return state };
        state.map = layer.forward(state.map);
        if last {
            state.maps.push(state.map.clone());
        }
        state
    }

    fn stage_pooled(&self, index: usize, mut state: MapState) -> MapState {
        let Some((layer, _, last)) = self.place(index) else { return state };
        state.map = layer.forward(state.map);
        if last {
            state.map = mean_map(state.map);
        }
        state
    }

    fn finish(&self, MapState { map, maps, .. }: MapState) -> MapFeatures {
        let pooled = mean_map(map.clone()).flatten(1, 3);
        MapFeatures { map, maps, pooled }
    }
}

impl FromPretrained for ResNet {
    type Config = ResNetConfig;
    const MODEL_TYPES: &'static [&'static str] = &["resnet"];

    fn check_config(config: &ResNetConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    /// It pools by the mean, whatever is asked.
    fn build(config: &ResNetConfig, _: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, seed, device)
    }
    fn key_map(_: &ResNetConfig) -> KeyMap {
        KeyMap::new("resnet")
            .rule("backbone.embedder", "resnet.embedder")
            .rule("backbone.encoder", "resnet.encoder")
            .rule("head.linear", "classifier.1")
            .ignore("**.num_batches_tracked", "a counter that a fixed momentum does not need")
            .counting_batches()
    }
    fn hidden_size(config: &ResNetConfig) -> usize {
        config.hidden_sizes.last().copied().unwrap_or(0)
    }
    fn pooling(&self) -> Pooling {
        Pooling::Mean
    }
    fn class_prefix(_: &ResNetConfig) -> &'static str {
        "ResNet"
    }
    fn classification_pooling(_: &ResNetConfig) -> Pooling {
        Pooling::Mean
    }
}

/// Convolution, batch norm, activation.
#[derive(Module, Debug)]
struct ConvNorm {
    convolution: Conv,
    normalization: BatchNorm,
    #[module(skip)]
    activation: Option<Activation>,
}

impl ConvNorm {
    fn new(
        [input, output]: [usize; 2],
        size: usize,
        stride: usize,
        activation: Option<Activation>,
        init: &mut Init,
    ) -> Self {
        let convolution = Conv::new(input, output, size, stride, init);
        Self { convolution, normalization: BatchNorm::new(output, init.device()), activation }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.normalization.forward(self.convolution.forward(input));
        self.activation.map_or(output.clone(), |activation| activation.forward(output))
    }
}

/// Convolutions whose result is added to their input.
#[derive(Module, Debug)]
struct Layer {
    layer: Vec<ConvNorm>,
    /// Where number of channels or size change.
    shortcut: Option<ConvNorm>,
    #[module(skip)]
    activation: Activation,
}

impl Layer {
    fn new(config: &ResNetConfig, input: usize, output: usize, stride: usize, init: &mut Init) -> Self {
        let (inner, relu) = (output / 4, Some(Activation::Relu));
        let (first, second) = if config.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
        let shortcut = (input != output || stride != 1).then(|| ConvNorm::new([input, output], 1, stride, None, init));
        let layer = match config.layer_type {
            ResNetLayer::Basic => vec![
                ConvNorm::new([input, output], 3, stride, relu, init),
                ConvNorm::new([output, output], 3, 1, None, init),
            ],
            ResNetLayer::Bottleneck => vec![
                ConvNorm::new([input, inner], 1, first, relu, init),
                ConvNorm::new([inner, inner], 3, second, relu, init),
                ConvNorm::new([inner, output], 1, 1, None, init),
            ],
        };
        Self { layer, shortcut, activation: config.hidden_act }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.layer.iter().fold(input.clone(), |map, layer| layer.forward(map));
        let residual = self.shortcut.as_ref().map_or(input.clone(), |shortcut| shortcut.forward(input));
        self.activation.forward(output + residual)
    }
}
