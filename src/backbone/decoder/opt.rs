//! OPT ([Zhang et al., 2022](https://arxiv.org/abs/2205.01068)), as Transformers' `models/opt/modeling_opt.py` runs it:
//! learned positions of the real tokens, norms before or after both parts of a layer.

use super::OptConfig;
use super::body::{mixing_operations, pretrained_decoder};
use super::frame::Frame;
use super::layer::DecoderLayer;
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState};
use crate::nn::{
    Activation, Dropout, Embedding, Init, LayerDrop, LayerNorm, Linear, Reach, Scoring, Visible, attend, linear,
    merge_heads, split_heads,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// Rows of the position table before that of the first token.
const OFFSET: usize = 2;
/// PyTorch's own.
const EPSILON: f64 = 1e-5;

/// The OPT decoder. Parameters are called as in Transformers' files, but that `model.decoder` is the backbone.
#[derive(Module, Debug)]
pub struct Opt {
    embed_tokens: Embedding,
    embed_positions: Embedding,
    project_in: Option<Linear>,
    layers: Vec<OptLayer>,
    final_layer_norm: Option<LayerNorm>,
    /// Whether the norm at the end has neither scale nor shift.
    ends_plain: bool,
    project_out: Option<Linear>,
    #[module(skip)]
    frame: Frame,
}

impl Opt {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`OptConfig::check`] says whether it is.
    pub fn new(config: &OptConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let (hidden, outer, padding) = (config.hidden_size, config.outer_width(), config.pad_token_id);
        let mut init = Init::new(seed, config.init_std, device);
        let projects = outer != hidden;
        Self {
            embed_tokens: init.embedding(config.vocab_size, outer, config.padding_row()),
            embed_positions: init.embedding(config.max_position_embeddings + OFFSET, hidden, None),
            project_in: projects.then(|| init.linear_with(outer, hidden, false)),
            layers: (0..config.num_hidden_layers).map(|_| OptLayer::new(config, &mut init)).collect(),
            final_layer_norm: norm(config, device).filter(|_| config.has_final_norm()),
            ends_plain: config.has_final_norm() && !config.layer_norm_elementwise_affine,
            project_out: projects.then(|| init.linear_with(hidden, outer, false)),
            frame: Frame { pooling, padding, scale: None },
        }
    }
}

impl Backbone for Opt {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        let stages = Stages::new().stage("embed_tokens").also("embed_positions");
        let stages = if self.project_in.is_some() { stages.also("project_in") } else { stages };
        let stages = stages.stages("layers", self.layers.len());
        match (&self.final_layer_norm, &self.project_out) {
            (None, None) if self.ends_plain => stages.bare("final_layer_norm").counted_with_head(),
            (None, None) => stages,
            (Some(_), None) => stages.stage("final_layer_norm").counted_with_head(),
            (None, Some(_)) => stages.stage("project_out").counted_with_head(),
            (Some(_), Some(_)) => stages.stage("final_layer_norm").also("project_out").counted_with_head(),
        }
    }
    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.frame.check(input, self.embed_tokens.weight.dims()[0], self.positions())
    }
    fn positions(&self) -> Option<usize> {
        Some(self.embed_positions.weight.dims()[0] - OFFSET)
    }
    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        mixing_operations(&self.layers, stage, seq)
    }
    fn embed(&self, input: TextInput) -> TextState {
        let real = input.mask.clone().int();
        // Real tokens count from 0, and padding stands before them.
        let counted = match input.documents {
            Some(_) => (input.positions() + 1) * real,
            None => real.clone().cumsum(1) * real,
        };
        let positions = counted + (OFFSET as i64 - 1);
        let tokens = self.embed_tokens.forward(input.ids.clone());
        let tokens = match &self.project_in {
            Some(project) => linear(project, tokens),
            None => tokens,
        };
        self.frame.state(tokens + self.embed_positions.forward(positions), input)
    }
    fn stage(&self, index: usize, mut state: TextState) -> TextState {
        let visible = state.visible();
        state.hidden = match self.layers.get(index - 1) {
            Some(layer) => layer.forward(state.hidden, &visible),
            None => self.end(state.hidden),
        };
        state
    }
    fn finish(&self, state: TextState) -> TextFeatures {
        state.into_features(self.frame.pooling, self.embed_tokens.weight.val())
    }
}

impl Opt {
    /// What follows the layers.
    fn end(&self, hidden: Tensor<3>) -> Tensor<3> {
        let hidden = match &self.final_layer_norm {
            None if !self.ends_plain => hidden,
            norm => normalised(norm, hidden),
        };
        match &self.project_out {
            Some(project) => linear(project, hidden),
            None => hidden,
        }
    }
}

pretrained_decoder!(Opt, OptConfig, "opt", "OPT");

/// A norm's scale and shift; `None` where the configuration leaves them out.
fn norm(config: &OptConfig, device: &Device) -> Option<LayerNorm> {
    config.layer_norm_elementwise_affine.then(|| LayerNorm::new(config.hidden_size, EPSILON, device))
}

/// The norm of `[.., hidden]`.
fn normalised(norm: &Option<LayerNorm>, input: Tensor<3>) -> Tensor<3> {
    if let Some(norm) = norm {
        return norm.forward(input);
    }
    let centred = input.clone() - input.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    centred / (variance + EPSILON).sqrt()
}

#[derive(Module, Debug)]
struct OptLayer {
    self_attn: OptAttention,
    self_attn_layer_norm: Option<LayerNorm>,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: Option<LayerNorm>,
    dropout: Dropout,
    layer_drop: LayerDrop,
    /// Whether norms stand before both parts of the layer, not after them.
    norm_first: bool,
    #[module(skip)]
    activation: Activation,
}

impl OptLayer {
    fn new(config: &OptConfig, init: &mut Init) -> Self {
        let (hidden, inner, bias) = (config.hidden_size, config.ffn_dim, config.enable_bias);
        let width = hidden / config.num_attention_heads.max(1);
        Self {
            self_attn: OptAttention {
                q_proj: init.linear_with(hidden, hidden, bias),
                k_proj: init.linear_with(hidden, hidden, bias),
                v_proj: init.linear_with(hidden, hidden, bias),
                out_proj: init.linear_with(hidden, hidden, bias),
                dropout: Dropout::new(config.attention_dropout),
                heads: config.num_attention_heads,
                scoring: Scoring::of_width(width, Reach::Back),
            },
            self_attn_layer_norm: norm(config, init.device()),
            fc1: init.linear_with(hidden, inner, bias),
            fc2: init.linear_with(inner, hidden, bias),
            final_layer_norm: norm(config, init.device()),
            dropout: Dropout::new(config.dropout),
            layer_drop: LayerDrop::new(config.layerdrop),
            norm_first: config.do_layer_norm_before,
            activation: config.activation_function,
        }
    }

    /// `part` of `hidden`, added to it, with `norm` before or after.
    fn add(&self, norm: &Option<LayerNorm>, hidden: Tensor<3>, part: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        match self.norm_first {
            true => hidden.clone() + self.dropout.forward(part(normalised(norm, hidden))),
            false => normalised(norm, hidden.clone() + self.dropout.forward(part(hidden))),
        }
    }
}

impl DecoderLayer for OptLayer {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        self.layer_drop.forward(hidden, |hidden| {
            let hidden = self.add(&self.self_attn_layer_norm, hidden, |hidden| self.self_attn.forward(hidden, visible));
            let inner = |hidden| linear(&self.fc2, self.activation.after(&self.fc1, hidden));
            self.add(&self.final_layer_norm, hidden, inner)
        })
    }

    fn attention_width(&self) -> usize {
        self.self_attn.q_proj.weight.dims()[0]
    }
}

#[derive(Module, Debug)]
struct OptAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    dropout: Dropout,
    heads: usize,
    #[module(skip)]
    scoring: Scoring,
}

impl OptAttention {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let [query, key, value] = [&self.q_proj, &self.k_proj, &self.v_proj]
            .map(|layer| split_heads(linear(layer, hidden.clone()), self.heads));
        let mixed = attend(query, key, value, self.scoring, visible.clone(), &self.dropout);
        linear(&self.out_proj, merge_heads(mixed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::RandomScope;
    use burn::tensor::Tolerance;

    fn layer(layerdrop: f64) -> (OptLayer, Tensor<3>) {
        let mut init = Init::new(7, 0.5, &crate::nn::test_device());
        let config = OptConfig {
            hidden_size: 4,
            num_attention_heads: 2,
            ffn_dim: 5,
            dropout: 0.0,
            layerdrop,
            layer_norm_elementwise_affine: false,
            ..OptConfig::default()
        };
        (OptLayer::new(&config, &mut init), Init::new(8, 1.0, &crate::nn::test_device()).normal([1, 3, 4]))
    }

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn while_training_a_layer_is_left_out_whole_or_not_at_all() {
        let (layer, hidden) = layer(0.5);
        let read = values(hidden.clone());
        let run = || values(layer.forward(hidden.clone(), &Visible::All));
        let whole = run();
        assert!(whole != read);
        let _scope = RandomScope::new(3);
        let runs: Vec<_> = (0..40).map(|_| run()).collect();
        let left_out = runs.iter().filter(|run| **run == read).count();
        assert!((8..32).contains(&left_out), "{left_out}");
        assert!(runs.iter().all(|run| *run == read || *run == whole));
    }

    #[test]
    fn a_norm_may_have_neither_scale_nor_shift() {
        let (layer, _) = layer(0.0);
        assert!(layer.self_attn_layer_norm.is_none() && layer.final_layer_norm.is_none());
        let input = Tensor::<3>::from_data([[[1.0, 5.0]]], &crate::nn::test_device());
        let output = normalised(&None, input).into_data();
        output.assert_approx_eq::<f32>(&[[[-1.0, 1.0]]].into(), Tolerance::absolute(1e-5));
    }
}
