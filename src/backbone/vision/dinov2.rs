//! DINOv2 ([Oquab et al., 2023](https://arxiv.org/abs/2304.07193)), as Transformers' `models/dinov2/modeling_dinov2.py`
//! runs it.

use super::{Dinov2Config, ImageInput, Mlp, PatchFeatures, PatchState, SelfAttention, Sight, TokenEmbeddings};
use crate::backbone::{Backbone, InputError, Pooling, Stages};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::nn::{Activation, DropPath, Init, LayerNorm, Linear, linear};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// The DINOv2 encoder. Parameter paths follow the names of published files.
///
/// Its pooled features are the class token and the mean of the patches side by side, `[batch, 2 * hidden]`, as its classifier
/// reads them. It reads images of any size of at least one patch.
#[derive(Module, Debug)]
pub struct Dinov2 {
    embeddings: TokenEmbeddings,
    encoder: Encoder,
    layernorm: LayerNorm,
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Layer>,
}

impl Dinov2 {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`Dinov2Config::check`](Dinov2Config::check) says whether it is.
    pub fn new(config: &Dinov2Config, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            embeddings: TokenEmbeddings::new(config.embeddings(), &mut init),
            encoder: Encoder { layer: (0..config.num_hidden_layers).map(|_| Layer::new(config, &mut init)).collect() },
            layernorm: LayerNorm::new(config.hidden_size, config.layer_norm_eps, device),
        }
    }
}

impl Backbone for Dinov2 {
    type Input = ImageInput;
    type State = PatchState;
    type Features = PatchFeatures;

    fn stages(&self) -> Stages {
        let layers = Stages::new().stage("embeddings").stages("encoder.layer", self.encoder.layer.len());
        layers.stage("layernorm").counted_with_head()
    }

    fn check(&self, input: &ImageInput) -> Result<(), InputError> {
        self.embeddings.check(input)
    }

    fn mixing_operations(&self, stage: usize, _: usize) -> f64 {
        let layer = stage.checked_sub(1).and_then(|index| self.encoder.layer.get(index));
        layer.map_or(0.0, |layer| layer.attention.mixing_operations(self.embeddings.tokens()))
    }

    fn embed(&self, input: ImageInput) -> PatchState {
        PatchState::new(self.embeddings.forward(input.pixels))
    }

    fn stage(&self, index: usize, mut state: PatchState) -> PatchState {
        state.hidden = match self.encoder.layer.get(index - 1) {
            Some(layer) => layer.forward(state.hidden),
            None => self.layernorm.forward(state.hidden),
        };
        state
    }

    fn finish(&self, PatchState { hidden, pooler_output }: PatchState) -> PatchFeatures {
        PatchFeatures { hidden, pooler_output, pooling: Pooling::Cls, with_mean: true, class_tokens: 1 }
    }
}

impl FromPretrained for Dinov2 {
    type Config = Dinov2Config;
    const MODEL_TYPES: &'static [&'static str] = &["dinov2"];

    fn check_config(config: &Dinov2Config) -> Result<(), CheckpointError> {
        config.check()
    }
    /// It pools in one way, whatever is asked.
    fn build(config: &Dinov2Config, _: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, seed, device)
    }
    fn key_map(_: &Dinov2Config) -> KeyMap {
        key_map()
    }
    fn hidden_size(config: &Dinov2Config) -> usize {
        2 * config.hidden_size
    }
    fn pooling(&self) -> Pooling {
        Pooling::Cls
    }
    fn class_prefix(_: &Dinov2Config) -> &'static str {
        "Dinov2"
    }
    fn classification_pooling(_: &Dinov2Config) -> Pooling {
        Pooling::Cls
    }
}

/// The table between paths and the keys of published files.
fn key_map() -> KeyMap {
    let rules = [
        ("embeddings", "embeddings"),
        ("embeddings.patches", "embeddings.patch_embeddings.projection"),
        ("encoder.layer.*.attention_norm", "encoder.layer.*.norm1"),
        ("encoder.layer.*.attention", "encoder.layer.*.attention.attention"),
        ("encoder.layer.*.attention.output", "encoder.layer.*.attention.output.dense"),
        ("encoder.layer.*.attention_scale", "encoder.layer.*.layer_scale1.lambda1"),
        ("encoder.layer.*.mlp_norm", "encoder.layer.*.norm2"),
        ("encoder.layer.*.mlp.up", "encoder.layer.*.mlp.fc1"),
        ("encoder.layer.*.mlp.down", "encoder.layer.*.mlp.fc2"),
        ("encoder.layer.*.gated", "encoder.layer.*.mlp"),
        ("encoder.layer.*.mlp_scale", "encoder.layer.*.layer_scale2.lambda1"),
        ("layernorm", "layernorm"),
    ];
    let rule =
        |map: KeyMap, (path, key): &(&str, &str)| map.rule(&format!("backbone.{path}"), &format!("dinov2.{key}"));
    rules
        .iter()
        .fold(KeyMap::new("dinov2"), rule)
        .rule("head.linear", "classifier")
        .ignore("**.mask_token", "of pretraining by masked patches")
}

/// Attention and feed-forward layer, each on the norm of what it is added to, scaled feature by feature.
#[derive(Module, Debug)]
struct Layer {
    attention_norm: LayerNorm,
    attention: SelfAttention,
    /// `[hidden]`.
    attention_scale: Param<Tensor<1>>,
    mlp_norm: LayerNorm,
    mlp: Option<Mlp>,
    gated: Option<Gated>,
    /// `[hidden]`.
    mlp_scale: Param<Tensor<1>>,
    drop_path: DropPath,
}

impl Layer {
    fn new(config: &Dinov2Config, init: &mut Init) -> Self {
        let (hidden, inner, gated) = (config.hidden_size, config.inner(), config.use_swiglu_ffn);
        let device = init.device().clone();
        let norm = || LayerNorm::new(hidden, config.layer_norm_eps, &device);
        let scale = || Param::from_tensor(Tensor::full([hidden], config.layerscale_value, &device));
        Self {
            attention_norm: norm(),
            attention: SelfAttention::new(config.attention(), init),
            attention_scale: scale(),
            mlp_norm: norm(),
            mlp: (!gated).then(|| Mlp::new(hidden, inner, config.hidden_act, init)),
            gated: gated.then(|| Gated::new(hidden, inner, init)),
            mlp_scale: scale(),
            drop_path: DropPath::new(config.drop_path_rate),
        }
    }

    fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let normed = self.attention_norm.forward(hidden.clone());
        let mixed = self.attention.forward(normed.clone(), normed, &Sight::All);
        let hidden = self.drop_path.forward(mixed * self.attention_scale.val().unsqueeze()) + hidden;
        let normed = self.mlp_norm.forward(hidden.clone());
        let inner = match (&self.mlp, &self.gated) {
            (Some(mlp), _) => mlp.forward(normed),
            (None, Some(gated)) => gated.forward(normed),
            (None, None) => normed,
        };
        self.drop_path.forward(inner * self.mlp_scale.val().unsqueeze()) + hidden
    }
}

/// SwiGLU ([Shazeer, 2020](https://arxiv.org/abs/2002.05202)): one linear map makes the gate and what it gates.
#[derive(Module, Debug)]
struct Gated {
    weights_in: Linear,
    weights_out: Linear,
}

impl Gated {
    fn new(hidden: usize, inner: usize, init: &mut Init) -> Self {
        Self { weights_in: init.linear(hidden, 2 * inner), weights_out: init.linear(inner, hidden) }
    }

    fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        linear(&self.weights_out, Activation::Silu.gate_halves(linear(&self.weights_in, input)))
    }
}

#[cfg(test)]
mod tests {
    use super::key_map;

    #[test]
    fn the_table_is_sound_and_maps_both_ways() {
        let map = key_map();
        map.check().expect("no contradiction");
        for (path, key) in [
            ("backbone.encoder.layer.1.attention.value.bias", "dinov2.encoder.layer.1.attention.attention.value.bias"),
            ("backbone.encoder.layer.1.attention_scale", "dinov2.encoder.layer.1.layer_scale1.lambda1"),
            ("backbone.encoder.layer.10.mlp.down.weight", "dinov2.encoder.layer.10.mlp.fc2.weight"),
            ("backbone.encoder.layer.0.gated.weights_in.bias", "dinov2.encoder.layer.0.mlp.weights_in.bias"),
        ] {
            assert_eq!(map.to_file(path).as_deref(), Some(key));
            assert_eq!(map.to_path(key).as_deref(), Some(path));
        }
    }
}
