//! GPT-2 ([Radford et al., 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)),
//! as Transformers' `models/gpt2/modeling_gpt2.py` runs it: learned positions, norms before both parts of a layer, and
//! linear maps that files keep as they are in memory.

use super::Gpt2Config;
use super::body::{mixing_operations, pretrained_decoder, stage};
use super::frame::Frame;
use super::layer::DecoderLayer;
use crate::backbone::{Backbone, InputError, Pooling, Stages, TextFeatures, TextInput, TextState};
use crate::nn::{
    Activation, Dropout, Embedding, Init, LayerNorm, Linear, Reach, Scoring, Visible, attend, linear, merge_heads,
    split_heads,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// The GPT-2 decoder. Parameters are called as in Transformers' files, but that `transformer` is the backbone.
#[derive(Module, Debug)]
pub struct Gpt2 {
    wte: Embedding,
    wpe: Embedding,
    drop: Dropout,
    h: Vec<Gpt2Layer>,
    ln_f: LayerNorm,
    #[module(skip)]
    frame: Frame,
}

impl Gpt2 {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`Gpt2Config::check`] says whether it is.
    pub fn new(config: &Gpt2Config, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.initializer_range, device);
        Self {
            wte: init.embedding(config.vocab_size, config.n_embd, None),
            wpe: init.embedding(config.n_positions, config.n_embd, None),
            drop: Dropout::new(config.embd_pdrop),
            h: (0..config.n_layer).map(|index| Gpt2Layer::new(config, index, &mut init)).collect(),
            ln_f: LayerNorm::new(config.n_embd, config.layer_norm_epsilon, device),
            frame: Frame { pooling, padding: config.pad_token_id, scale: None },
        }
    }
}

impl Backbone for Gpt2 {
    type Input = TextInput;
    type State = TextState;
    type Features = TextFeatures;

    fn stages(&self) -> Stages {
        let stages = Stages::new().stage("wte").also("wpe").also("drop").stages("h", self.h.len());
        stages.stage("ln_f").counted_with_head()
    }
    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.frame.check(input, self.wte.weight.dims()[0], self.positions())
    }
    fn positions(&self) -> Option<usize> {
        Some(self.wpe.weight.dims()[0])
    }
    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        mixing_operations(&self.h, stage, seq)
    }
    fn embed(&self, input: TextInput) -> TextState {
        let sum = self.wte.forward(input.ids.clone()) + self.wpe.forward(input.positions());
        self.frame.state(self.drop.forward(sum), input)
    }
    fn stage(&self, index: usize, state: TextState) -> TextState {
        stage(&self.h, |hidden| self.ln_f.forward(hidden), index, state)
    }
    fn finish(&self, state: TextState) -> TextFeatures {
        state.into_features(self.frame.pooling, self.wte.weight.val())
    }
}

pretrained_decoder!(Gpt2, Gpt2Config, "gpt2", "GPT2");

#[derive(Module, Debug)]
struct Gpt2Layer {
    ln_1: LayerNorm,
    attn: Gpt2Attention,
    ln_2: LayerNorm,
    mlp: Gpt2Mlp,
    dropout: Dropout,
}

impl Gpt2Layer {
    fn new(config: &Gpt2Config, index: usize, init: &mut Init) -> Self {
        let (hidden, inner) = (config.n_embd, config.inner());
        Self {
            ln_1: LayerNorm::new(hidden, config.layer_norm_epsilon, init.device()),
            attn: Gpt2Attention {
                c_attn: init.linear(hidden, 3 * hidden),
                c_proj: init.linear(hidden, hidden),
                dropout: Dropout::new(config.attn_pdrop),
                heads: config.n_head,
                scoring: Scoring { scale: config.scale(index), soft_cap: None, reach: Reach::Back },
            },
            ln_2: LayerNorm::new(hidden, config.layer_norm_epsilon, init.device()),
            mlp: Gpt2Mlp {
                c_fc: init.linear(hidden, inner),
                c_proj: init.linear(inner, hidden),
                activation: config.activation_function,
            },
            dropout: Dropout::new(config.resid_pdrop),
        }
    }
}

impl DecoderLayer for Gpt2Layer {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let mixed = self.attn.forward(self.ln_1.forward(hidden.clone()), visible);
        let hidden = self.dropout.forward(mixed) + hidden;
        let inner = self.mlp.forward(self.ln_2.forward(hidden.clone()));
        hidden + self.dropout.forward(inner)
    }

    fn attention_width(&self) -> usize {
        self.attn.c_proj.weight.dims()[0]
    }
}

/// Attention whose queries, keys and values, in this order, are the result of one map.
#[derive(Module, Debug)]
struct Gpt2Attention {
    c_attn: Linear,
    c_proj: Linear,
    dropout: Dropout,
    heads: usize,
    #[module(skip)]
    scoring: Scoring,
}

impl Gpt2Attention {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let all = split_heads(linear(&self.c_attn, hidden), 3 * self.heads);
        let [query, key, value] = [0, 1, 2].map(|part| all.clone().narrow(1, part * self.heads, self.heads));
        let mixed = attend(query, key, value, self.scoring, visible.clone(), &self.dropout);
        linear(&self.c_proj, merge_heads(mixed))
    }
}

#[derive(Module, Debug)]
struct Gpt2Mlp {
    c_fc: Linear,
    c_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Gpt2Mlp {
    fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        linear(&self.c_proj, self.activation.after(&self.c_fc, hidden))
    }
}
