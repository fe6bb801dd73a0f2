//! Swin ([Liu et al., 2021](https://arxiv.org/abs/2103.14030)), as Transformers' `models/swin/modeling_swin.py` runs it.

use super::map_state::{drop_path_rates, mean_map, place};
use super::swin_window::{WindowAttention, pad};
use super::{ImageInput, MapFeatures, MapState, Mlp, PatchProjection, SwinConfig, positions};
use crate::backbone::{Backbone, InputError, Pooling, Stages};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::nn::{DropPath, Dropout, Init, LayerNorm, Linear, linear};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Of the layer norms outside layers, but the last.
const EPSILON: f64 = 1e-5;

/// The Swin encoder. Parameter paths follow the names of published files. Its pooled features are the mean of the last map.
///
/// It reads images of any size whose last map has at least one window; sides that do not divide are padded with zeros.
#[derive(Module, Debug)]
pub struct Swin {
    embeddings: Embeddings,
    encoder: Encoder,
    layernorm: LayerNorm,
    window: usize,
}

#[derive(Module, Debug)]
struct Encoder {
    layers: Vec<Group>,
}

#[derive(Module, Debug)]
struct Group {
    blocks: Vec<Block>,
    downsample: Option<Merging>,
}

impl Swin {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`SwinConfig::check`](SwinConfig::check) says whether it is.
    pub fn new(config: &SwinConfig, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        let embeddings = Embeddings::new(config, &mut init);
        let mut rates = drop_path_rates(config.drop_path_rate, config.depths.iter().sum()).into_iter();
        let last = config.depths.len().saturating_sub(1);
        let mut layers = vec![];
        for (group, depth) in config.depths.iter().enumerate() {
            let rates: Vec<f64> = rates.by_ref().take(*depth).collect();
            let block = |(index, rate)| Block::new(config, group, index, rate, &mut init);
            let blocks = rates.into_iter().enumerate().map(block).collect();
            let downsample = (group < last).then(|| Merging::new(config.width(group), &mut init));
            layers.push(Group { blocks, downsample });
        }
        Self {
            embeddings,
            encoder: Encoder { layers },
            layernorm: LayerNorm::new(config.width(last), config.layer_norm_eps, device),
            window: config.window_size,
        }
    }

    /// Group and step in it of a stage: its blocks, then what merges its patches.
    fn place(&self, stage: usize) -> Option<(usize, usize)> {
        let steps = |group: &Group| group.blocks.len() + usize::from(group.downsample.is_some());
        place(self.encoder.layers.iter().map(steps), stage)
    }

    /// What a step makes of a map, and whether it is its group's last block.
    fn step(&self, (group, step): (usize, usize), map: Tensor<4>) -> (Tensor<4>, bool) {
        let Group { blocks, downsample } = &self.encoder.layers[group];
        match (blocks.get(step), downsample) {
            (Some(block), _) => (block.forward(map), step + 1 == blocks.len()),
            (None, Some(merging)) => (merging.forward(map), false),
            (None, None) => (map, false),
        }
    }
}

impl Backbone for Swin {
    type Input = ImageInput;
    type State = MapState;
    type Features = MapFeatures;

    fn stages(&self) -> Stages {
        let mut stages = Stages::new().stage("embeddings");
        for (index, group) in self.encoder.layers.iter().enumerate() {
            let path = format!("encoder.layers.{index}");
            stages = stages.stages(&format!("{path}.blocks"), group.blocks.len());
            if group.downsample.is_some() {
                stages = stages.stage(format!("{path}.downsample"));
            }
        }
        stages.stage("layernorm").counted_with_head()
    }

    fn check(&self, input: &ImageInput) -> Result<(), InputError> {
        let (channels, patch) = self.embeddings.patches.reads();
        let halvings = self.encoder.layers.len().saturating_sub(1);
        // The least whose last map, rounded up at each step, is a window.
        input.check(channels, patch.map(|side| ((self.window - 1) << halvings) * side + 1))
    }

    fn leaves_out(&self, stage: usize) -> bool {
        let last_block = |(group, step)| {
            let Group { blocks, .. } = &self.encoder.layers[group];
            step + 1 == blocks.len()
        };
        stage > 0 && self.place(stage).is_none_or(last_block)
    }

    fn embed(&self, input: ImageInput) -> MapState {
        MapState::new(self.embeddings.forward(input.pixels))
    }

    fn stage(&self, index: usize, mut state: MapState) -> MapState {
        let Some(place) = self.place(index) else {
            state.map = self.layernorm.forward(state.map);
            return state;
        };
        let (map, last) = self.step(place, state.map);
        if last {
            state.maps.push(channels_first(map.clone()));
        }
        MapState { map, ..state }
    }

    fn stage_pooled(&self, index: usize, state: MapState) -> MapState {
        let map = match self.place(index) {
            Some(place) => self.step(place, state.map).0,
            None => channels_last(mean_map(channels_first(self.layernorm.forward(state.map)))),
        };
        MapState { map, ..state }
    }

    fn finish(&self, MapState { map, maps, .. }: MapState) -> MapFeatures {
        let map = channels_first(map);
        let pooled = mean_map(map.clone()).flatten(1, 3);
        MapFeatures { map, maps, pooled }
    }
}

impl FromPretrained for Swin {
    type Config = SwinConfig;
    const MODEL_TYPES: &'static [&'static str] = &["swin"];

    fn check_config(config: &SwinConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    /// It pools by the mean, whatever is asked.
    fn build(config: &SwinConfig, _: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, seed, device)
    }
    fn key_map(_: &SwinConfig) -> KeyMap {
        key_map()
    }
    fn hidden_size(config: &SwinConfig) -> usize {
        config.width(config.depths.len().saturating_sub(1))
    }
    fn pooling(&self) -> Pooling {
        Pooling::Mean
    }
    fn class_prefix(_: &SwinConfig) -> &'static str {
        "Swin"
    }
    fn classification_pooling(_: &SwinConfig) -> Pooling {
        Pooling::Mean
    }
}

/// The table between paths and the keys of published files.
fn key_map() -> KeyMap {
    let rules = [
        ("attention_norm", "layernorm_before"),
        ("attention", "attention.self"),
        ("attention.output", "attention.output.dense"),
        ("mlp_norm", "layernorm_after"),
        ("mlp.up", "intermediate.dense"),
        ("mlp.down", "output.dense"),
    ];
    let block = |map: KeyMap, (path, key): &(&str, &str)| {
        let (from, to) = ("backbone.encoder.layers.*.blocks.*", "swin.encoder.layers.*.blocks.*");
        map.rule(&format!("{from}.{path}"), &format!("{to}.{key}"))
    };
    rules
        .iter()
        .fold(KeyMap::new("swin"), block)
        .rule("backbone.encoder.layers.*.downsample", "swin.encoder.layers.*.downsample")
        .rule("backbone.embeddings", "swin.embeddings")
        .rule("backbone.embeddings.patches", "swin.embeddings.patch_embeddings.projection")
        .rule("backbone.layernorm", "swin.layernorm")
        .rule("head.linear", "classifier")
        .ignore("**.relative_position_index", "a constant that the window's size gives")
        .ignore("**.mask_token", "of masked image modelling")
}

/// `[batch, height, width, channels]` to `[batch, channels, height, width]`.
fn channels_first(map: Tensor<4>) -> Tensor<4> {
    map.permute([0, 3, 1, 2])
}

/// `[batch, channels, height, width]` to `[batch, height, width, channels]`.
fn channels_last(map: Tensor<4>) -> Tensor<4> {
    map.permute([0, 2, 3, 1])
}

#[derive(Module, Debug)]
struct Embeddings {
    patches: PatchProjection,
    norm: LayerNorm,
    /// `[1, patches, width]`.
    position_embeddings: Option<Param<Tensor<3>>>,
    dropout: Dropout,
    /// Rows and columns of the position table.
    #[module(skip)]
    grid: [usize; 2],
}

impl Embeddings {
    fn new(config: &SwinConfig, init: &mut Init) -> Self {
        let (width, grid) = (config.embed_dim, config.image_size.grid(config.patch_size));
        Self {
            patches: PatchProjection::new(config.num_channels, width, config.patch_size, true, init),
            norm: LayerNorm::new(width, EPSILON, init.device()),
            position_embeddings: config.use_absolute_embeddings.then(|| init.weight([1, grid[0] * grid[1], width])),
            dropout: Dropout::new(config.hidden_dropout_prob),
            grid,
        }
    }

    /// `[batch, channels, height, width]` to `[batch, rows, columns, width]`.
    fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        let (_, patch) = self.patches.reads();
        let [_, _, height, width] = pixels.dims();
        let whole = [height.next_multiple_of(patch[0]), width.next_multiple_of(patch[1])];
        let pixels = channels_first(pad(channels_last(pixels), whole));
        let mut map = self.norm.forward(self.patches.forward(pixels));
        let [_, rows, columns, width] = map.dims();
        if let Some(table) = &self.position_embeddings {
            let table = positions(table.val().squeeze_dim(0), 0, self.grid, [rows, columns]);
            map = map + table.reshape([1, rows, columns, width]);
        }
        self.dropout.forward(map)
    }
}

/// Attention within windows and a feed-forward layer, each on the norm of what it is added to.
#[derive(Module, Debug)]
struct Block {
    attention_norm: LayerNorm,
    attention: WindowAttention,
    mlp_norm: LayerNorm,
    mlp: Mlp,
    dropout: Dropout,
    drop_path: DropPath,
    /// Of its windows, where the map is larger than one.
    shift: usize,
    window: usize,
}

impl Block {
    fn new(config: &SwinConfig, group: usize, index: usize, drop_path: f64, init: &mut Init) -> Self {
        let (width, window) = (config.width(group), config.window_size);
        let (heads, prob) = (config.num_heads[group], config.attention_probs_dropout_prob);
        let inner = (config.mlp_ratio * width as f64) as usize;
        Self {
            attention_norm: LayerNorm::new(width, config.layer_norm_eps, init.device()),
            attention: WindowAttention::new(width, heads, window, config.qkv_bias, prob, init),
            mlp_norm: LayerNorm::new(width, config.layer_norm_eps, init.device()),
            mlp: Mlp::new(width, inner, config.hidden_act, init),
            dropout: Dropout::new(config.hidden_dropout_prob),
            drop_path: DropPath::new(drop_path),
            shift: if index.is_multiple_of(2) { 0 } else { window / 2 },
            window,
        }
    }

    fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let [_, height, width, _] = map.dims();
        let shift = if height.min(width) <= self.window { 0 } else { self.shift };
        let mixed = self.attention.forward(self.attention_norm.forward(map.clone()), shift);
        let map = map + self.drop_path.forward(self.dropout.forward(mixed));
        let inner = self.mlp.forward(self.mlp_norm.forward(map.clone()));
        self.dropout.forward(inner) + map
    }
}

/// Makes one vector, twice as wide, of each square of four.
#[derive(Module, Debug)]
struct Merging {
    norm: LayerNorm,
    reduction: Linear,
}

impl Merging {
    fn new(width: usize, init: &mut Init) -> Self {
        let norm = LayerNorm::new(4 * width, EPSILON, init.device());
        Self { norm, reduction: init.linear_with(4 * width, 2 * width, false) }
    }

    /// `[batch, height, width, channels]` to `[batch, height / 2, width / 2, 2 * channels]`, rounded up.
    fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = map.dims();
        let [rows, columns] = [height.div_ceil(2), width.div_ceil(2)];
        let squares = pad(map, [2 * rows, 2 * columns])
            .reshape([batch, rows, 2, columns, 2, channels])
            .permute([0, 1, 3, 4, 2, 5])
            .reshape([batch, rows, columns, 4 * channels]);
        linear(&self.reduction, self.norm.forward(squares))
    }
}

#[cfg(test)]
mod tests {
    use super::key_map;

    #[test]
    fn the_table_is_sound_and_maps_both_ways() {
        let map = key_map();
        map.check().expect("no contradiction");
        let block = ("backbone.encoder.layers.0.blocks.1", "swin.encoder.layers.0.blocks.1");
        for (path, key) in [
            ("attention.query.bias", "attention.self.query.bias"),
            ("attention.relative_position_bias_table", "attention.self.relative_position_bias_table"),
            ("attention.output.weight", "attention.output.dense.weight"),
            ("mlp.down.weight", "output.dense.weight"),
        ] {
            let (path, key) = (format!("{}.{path}", block.0), format!("{}.{key}", block.1));
            assert_eq!(map.to_file(&path), Some(key.clone()));
            assert_eq!(map.to_path(&key), Some(path));
        }
    }
}
