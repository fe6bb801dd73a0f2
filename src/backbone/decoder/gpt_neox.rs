//! GPT-NeoX ([Black et al., 2022](https://arxiv.org/abs/2204.06745)), as Transformers'
//! `models/gpt_neox/modeling_gpt_neox.py` runs it: attention and feed-forward layer side by side, and heads that turn in part.

use super::GptNeoxConfig;
use super::attention::{AttentionPlan, Rotated};
use super::body::{mixing_operations, pretrained_decoder, stage};
use super::frame::Frame;
use super::layer::DecoderLayer;
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState};
use crate::nn::{Activation, Dropout, Embedding, Init, LayerNorm, Linear, Visible, linear, split_heads};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The GPT-NeoX decoder. Parameters are called as in Transformers' files, but that `gpt_neox` is the backbone.
#[derive(Module, Debug)]
pub struct GptNeox {
    embed_in: Embedding,
    emb_dropout: Dropout,
    layers: Vec<NeoxLayer>,
    final_layer_norm: LayerNorm,
    #[module(skip)]
    frame: Frame,
}

impl GptNeox {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`GptNeoxConfig::check`] says whether it is.
    pub fn new(config: &GptNeoxConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let GptNeoxConfig { vocab_size, hidden_size, num_hidden_layers, layer_norm_eps, .. } = *config;
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            embed_in: init.embedding(vocab_size, hidden_size, None),
            emb_dropout: Dropout::new(config.hidden_dropout),
            layers: (0..num_hidden_layers).map(|_| NeoxLayer::new(config, &mut init)).collect(),
            final_layer_norm: LayerNorm::new(hidden_size, layer_norm_eps, device),
            frame: Frame { pooling, padding: config.pad_token_id, scale: None },
        }
    }
}

impl Backbone for GptNeox {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        let stages = Stages::new().stage("embed_in").also("emb_dropout").stages("layers", self.layers.len());
        stages.stage("final_layer_norm").counted_with_head()
    }
    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.frame.check(input, self.embed_in.weight.dims()[0], None)
    }
    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        mixing_operations(&self.layers, stage, seq)
    }
    fn embed(&self, input: TextInput) -> TextState {
        let hidden = self.emb_dropout.forward(self.embed_in.forward(input.ids.clone()));
        self.frame.state(hidden, input)
    }
    fn stage(&self, index: usize, state: TextState) -> TextState {
        stage(&self.layers, |hidden| self.final_layer_norm.forward(hidden), index, state)
    }
    fn finish(&self, state: TextState) -> TextFeatures {
        state.into_features(self.frame.pooling, self.embed_in.weight.val())
    }
}

pretrained_decoder!(GptNeox, GptNeoxConfig, "gpt_neox", "GPTNeoX");

#[derive(Module, Debug)]
struct NeoxLayer {
    input_layernorm: LayerNorm,
    attention: NeoxAttention,
    post_attention_layernorm: LayerNorm,
    mlp: NeoxMlp,
    dropout: Dropout,
    /// Whether both parts of the layer read what came into it.
    parallel: bool,
}

impl NeoxLayer {
    fn new(config: &GptNeoxConfig, init: &mut Init) -> Self {
        let GptNeoxConfig { hidden_size, intermediate_size, layer_norm_eps, .. } = *config;
        Self {
            input_layernorm: LayerNorm::new(hidden_size, layer_norm_eps, init.device()),
            attention: NeoxAttention::new(config, init),
            post_attention_layernorm: LayerNorm::new(hidden_size, layer_norm_eps, init.device()),
            mlp: NeoxMlp {
                dense_h_to_4h: init.linear(hidden_size, intermediate_size),
                dense_4h_to_h: init.linear(intermediate_size, hidden_size),
                activation: config.hidden_act,
            },
            dropout: Dropout::new(config.hidden_dropout),
            parallel: config.use_parallel_residual,
        }
    }
}

impl DecoderLayer for NeoxLayer {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.attention.forward(self.input_layernorm.forward(hidden.clone()), visible);
        let mixed = self.dropout.forward(mixed);
        let inner =
            |read: Tensor<3>| self.dropout.forward(self.mlp.forward(self.post_attention_layernorm.forward(read)));
        match self.parallel {
            true => inner(hidden.clone()) + mixed + hidden,
            false => {
                let hidden = mixed + hidden;
                inner(hidden.clone()) + hidden
            }
        }
    }

    fn attention_width(&self) -> usize {
        self.attention.rotated.width()
    }
}

/// Attention whose map gives query, key and value head by head.
#[derive(Module, Debug)]
struct NeoxAttention {
    query_key_value: Linear,
    dense: Linear,
    dropout: Dropout,
    #[module(skip)]
    rotated: Rotated,
}

impl NeoxAttention {
    fn new(config: &GptNeoxConfig, init: &mut Init) -> Self {
        let hidden = config.hidden_size;
        let plan: AttentionPlan = config.attention();
        Self {
            query_key_value: init.linear_with(hidden, 3 * hidden, config.attention_bias),
            dense: init.linear_with(hidden, hidden, config.attention_bias),
            dropout: Dropout::new(plan.dropout),
            rotated: Rotated::new(&plan),
        }
    }

    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let all = split_heads(linear(&self.query_key_value, hidden), self.rotated.heads);
        let width = all.dims()[3] / 3;
        let [query, key, value] = [0, 1, 2].map(|part| all.clone().narrow(3, part * width, width));
        linear(&self.dense, self.rotated.mix(query, key, value, visible, &self.dropout))
    }
}

#[derive(Module, Debug)]
struct NeoxMlp {
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    #[module(skip)]
    activation: Activation,
}

impl NeoxMlp {
    fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        linear(&self.dense_4h_to_h, self.activation.after(&self.dense_h_to_4h, hidden))
    }
}
