//! ViT ([Dosovitskiy et al., 2021](https://arxiv.org/abs/2010.11929)) and DeiT
//! ([Touvron et al., 2021](https://arxiv.org/abs/2012.12877)), as Transformers' `models/vit/modeling_vit.py` and
//! `models/deit/modeling_deit.py` run them.

use super::{Block, ImageInput, PatchFeatures, PatchState, Sight, TokenEmbeddings, VitConfig};
use crate::backbone::{Backbone, InputError, Pooling, Stages, first_token};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::nn::{Activation, Init, LayerNorm, Linear};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The Vision Transformer. Parameter paths follow the names of published files.
///
/// It reads images of any size of at least one patch: the position table is resized to another grid of patches than its
/// own (`interpolate_pos_encoding`).
#[derive(Module, Debug)]
pub struct Vit {
    embeddings: TokenEmbeddings,
    encoder: Encoder,
    layernorm: LayerNorm,
    pooler: Option<Pooler>,
    #[module(skip)]
    pooling: Pooling,
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Block>,
}

impl Vit {
    /// A fresh network with weights drawn from `seed`. It has a pooler exactly when `pooling` reads one.
    ///
    /// The configuration is taken as valid; [`VitConfig::check`](VitConfig::check) says whether it is.
    pub fn new(config: &VitConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            embeddings: TokenEmbeddings::new(config.embeddings(), &mut init),
            encoder: Encoder {
                layer: (0..config.num_hidden_layers).map(|_| Block::new(config.block(), &mut init)).collect(),
            },
            layernorm: LayerNorm::new(config.hidden_size, config.layer_norm_eps, device),
            pooler: (pooling == Pooling::Pooler).then(|| Pooler::new(config, &mut init)),
            pooling,
        }
    }

    /// The layer of this stage, if it is the last one and the pooling reads its first token alone.
    fn layer_of_first_token(&self, stage: usize) -> Option<&Block> {
        let reads_first = matches!(self.pooling, Pooling::Cls | Pooling::Pooler);
        self.encoder.layer.last().filter(|_| reads_first && stage == self.encoder.layer.len())
    }
}

impl Backbone for Vit {
    type Input = ImageInput;
    type State = PatchState;
    type Features = PatchFeatures;

    fn stages(&self) -> Stages {
        let layers = Stages::new().stage("embeddings").stages("encoder.layer", self.encoder.layer.len());
        let stages = layers.stage("layernorm").counted_with_head();
        match self.pooler {
            Some(_) => stages.stage("pooler").counted_with_head(),
            None => stages,
        }
    }

    fn check(&self, input: &ImageInput) -> Result<(), InputError> {
        self.embeddings.check(input)
    }

    fn mixing_operations(&self, stage: usize, _: usize) -> f64 {
        let layer = stage.checked_sub(1).and_then(|index| self.encoder.layer.get(index));
        layer.map_or(0.0, |layer| layer.mixing_operations(self.embeddings.tokens()))
    }

    fn operations_spared(&self, stage: usize, _: usize) -> f64 {
        self.layer_of_first_token(stage).map_or(0.0, |layer| layer.operations_spared(self.embeddings.tokens()))
    }

    fn embed(&self, input: ImageInput) -> PatchState {
        PatchState::new(self.embeddings.forward(input.pixels))
    }

    fn stage(&self, index: usize, mut state: PatchState) -> PatchState {
        let after = index - 1;
        match (self.encoder.layer.get(after), &self.pooler) {
            (Some(layer), _) => state.hidden = layer.forward(state.hidden, &Sight::All),
            (None, Some(pooler)) if after > self.encoder.layer.len() => {
                state.pooler_output = Some(pooler.forward(state.hidden.clone()));
            }
            _ => state.hidden = self.layernorm.forward(state.hidden),
        }
        state
    }

    fn stage_pooled(&self, index: usize, mut state: PatchState) -> PatchState {
        let Some(layer) = self.layer_of_first_token(index) else { return self.stage(index, state) };
        state.hidden = layer.forward_first(state.hidden);
        state
    }

    fn finish(&self, PatchState { hidden, pooler_output }: PatchState) -> PatchFeatures {
        let (pooling, class_tokens) = (self.pooling, self.embeddings.class_tokens());
        PatchFeatures { hidden, pooler_output, pooling, with_mean: false, class_tokens }
    }
}

impl FromPretrained for Vit {
    type Config = VitConfig;
    const MODEL_TYPES: &'static [&'static str] = &["vit", "deit"];

    fn check_config(config: &VitConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &VitConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &VitConfig) -> KeyMap {
        key_map(&config.model_type)
    }
    fn hidden_size(config: &VitConfig) -> usize {
        config.hidden_size
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(config: &VitConfig) -> &'static str {
        if config.is_distilled() { "DeiT" } else { "ViT" }
    }
    fn classification_pooling(_: &VitConfig) -> Pooling {
        Pooling::Cls
    }
}

/// The table between paths and the keys of published files, which start with `prefix`.
fn key_map(prefix: &str) -> KeyMap {
    let rules = [
        ("embeddings", "embeddings"),
        ("embeddings.patches", "embeddings.patch_embeddings.projection"),
        ("encoder.layer.*.attention_norm", "encoder.layer.*.layernorm_before"),
        ("encoder.layer.*.attention", "encoder.layer.*.attention.attention"),
        ("encoder.layer.*.attention.output", "encoder.layer.*.attention.output.dense"),
        ("encoder.layer.*.mlp_norm", "encoder.layer.*.layernorm_after"),
        ("encoder.layer.*.mlp.up", "encoder.layer.*.intermediate.dense"),
        ("encoder.layer.*.mlp.down", "encoder.layer.*.output.dense"),
        ("layernorm", "layernorm"),
        ("pooler", "pooler"),
    ];
    let rule =
        |map: KeyMap, (path, key): &(&str, &str)| map.rule(&format!("backbone.{path}"), &format!("{prefix}.{key}"));
    rules
        .iter()
        .fold(KeyMap::new(prefix), rule)
        .rule("head.linear", "classifier")
        .rule("head.cls", "cls_classifier")
        .rule("head.distillation", "distillation_classifier")
        .optional("backbone.pooler")
        .ignore("**.mask_token", "of masked image modelling")
}

/// The first token through a linear map and an activation.
#[derive(Module, Debug)]
struct Pooler {
    dense: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Pooler {
    fn new(config: &VitConfig, init: &mut Init) -> Self {
        Self { dense: init.linear(config.hidden_size, config.pooler_width()), activation: config.pooler_act }
    }

    fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        self.activation.after(&self.dense, first_token(hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::key_map;

    #[test]
    fn the_table_is_sound_and_maps_both_ways() {
        let map = key_map("deit");
        map.check().expect("no contradiction");
        for (path, key) in [
            ("backbone.embeddings.distillation_token", "deit.embeddings.distillation_token"),
            ("backbone.embeddings.patches.weight", "deit.embeddings.patch_embeddings.projection.weight"),
            ("backbone.encoder.layer.1.attention.key.bias", "deit.encoder.layer.1.attention.attention.key.bias"),
            ("backbone.encoder.layer.1.attention.output.bias", "deit.encoder.layer.1.attention.output.dense.bias"),
            ("backbone.encoder.layer.10.mlp.down.weight", "deit.encoder.layer.10.output.dense.weight"),
            ("head.distillation.bias", "distillation_classifier.bias"),
        ] {
            assert_eq!(map.to_file(path).as_deref(), Some(key));
            assert_eq!(map.to_path(key).as_deref(), Some(path));
        }
    }
}
