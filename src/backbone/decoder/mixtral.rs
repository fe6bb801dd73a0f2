//! Mixtral ([Jiang et al., 2024](https://arxiv.org/abs/2401.04088)), as Transformers' `models/mixtral/modeling_mixtral.py`
//! runs it: Mistral's attention, and experts in place of the feed-forward layer.

use super::attention::{AttentionPlan, RotaryAttention};
use super::body::{DecoderFile, RotaryConfig, mixing_operations, pretrained_decoder, stages};
use super::config::{Sizes, causal, check_window, decoder_config, padding_row};
use super::experts::{Experts, chosen};
use super::frame::Frame;
use super::layer::DecoderLayer;
use crate::backbone::config::{check_total, ensure};
use crate::backbone::{Backbone, InputError, Pooling, RoutedFeatures, RoutedState, Stages, TextInput};
use crate::checkpoint::{CheckpointError, KeyMap};
use crate::head::RoutedCausalLm;
use crate::nn::{Activation, Embedding, Init, RmsNorm, Rotary, Scoring, Visible, softmax};
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};

decoder_config! {
    /// Mixtral's `config.json`.
    MixtralConfig, "mixtral" {
        vocab_size: 32_000,
        hidden_size: 4096,
        intermediate_size: 14_336,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: Some(8),
        head_dim: None,
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        pad_token_id: None,
    }
    /// What the gate of an expert goes through.
    hidden_act: Activation = Activation::Silu,
    /// A token sees so many, itself included; all before it where `None`.
    sliding_window: Option<usize> = None,
    /// Experts that a token takes.
    num_experts_per_tok: usize = 2,
    /// Experts of a layer.
    num_local_experts: usize = 8,
    /// Whether the loss asks that tokens fall evenly to the experts.
    output_router_logits: bool = false,
    /// How much it asks.
    router_aux_loss_coef: f64 = 0.001,
    /// How far from 1 the numbers are that what experts read is multiplied by, while training.
    router_jitter_noise: f64 = 0.0,
}

impl MixtralConfig {
    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        let sizes = self.sizes();
        sizes.check("mixtral")?;
        check_window(self.sliding_window)?;
        ensure(self.num_local_experts > 0, "num_local_experts", 0, "a number above 0")?;
        check_total(&[&[self.num_hidden_layers, self.num_local_experts, 3, self.hidden_size, self.intermediate_size]])?;
        let (taken, all) = (self.num_experts_per_tok, self.num_local_experts);
        let fits = (1..=all).contains(&taken);
        ensure(fits, "num_experts_per_tok", taken, &format!("1 to num_local_experts ({all})"))?;
        let coefficient = self.router_aux_loss_coef;
        ensure(coefficient.is_finite(), "router_aux_loss_coef", coefficient, "a finite number")?;
        let noise = self.router_jitter_noise;
        ensure((0.0..1.0).contains(&noise), "router_jitter_noise", noise, "a number from 0 to below 1")?;
        self.rotary().map(drop)
    }

    fn rotary(&self) -> Result<Rotary, CheckpointError> {
        self.sizes().rope().with_theta(("rope_theta", 1e6)).shared()
    }
}

impl RotaryConfig for MixtralConfig {
    type Layer = MixtralLayer;

    fn sizes(&self) -> Sizes<'_> {
        self.sizes()
    }

    fn layer(&self, _: usize, init: &mut Init) -> MixtralLayer {
        let sizes = self.sizes();
        let scoring = Scoring::of_width(sizes.head_dim, causal(self.sliding_window));
        let attention = AttentionPlan::new(&sizes, scoring, self.rotary().unwrap_or_else(|_| sizes.rotary()));
        let Sizes { hidden_size, intermediate_size, rms_norm_eps, .. } = sizes;
        let (count, noise) = ([self.num_local_experts, self.num_experts_per_tok], self.router_jitter_noise);
        MixtralLayer {
            input_layernorm: RmsNorm::new(hidden_size, rms_norm_eps, init.device()),
            self_attn: RotaryAttention::new(&attention, init),
            post_attention_layernorm: RmsNorm::new(hidden_size, rms_norm_eps, init.device()),
            block_sparse_moe: Experts::new([hidden_size, intermediate_size], count, self.hidden_act, noise, init),
        }
    }

    fn with_own_heads(&self, map: KeyMap) -> KeyMap {
        match self.tie_word_embeddings {
            true => map,
            false => map.rule("head.language.lm_head", "lm_head"),
        }
    }
}

/// Mixtral's layer.
#[derive(Module, Debug)]
pub(super) struct MixtralLayer {
    input_layernorm: RmsNorm,
    self_attn: RotaryAttention,
    post_attention_layernorm: RmsNorm,
    block_sparse_moe: Experts,
}

impl MixtralLayer {
    /// The layer, and the router's logits, `[batch, seq, experts]`.
    fn route(&self, hidden: Tensor<3>, visible: &Visible) -> (Tensor<3>, Tensor<3>) {
        let mixed = self.self_attn.forward(self.input_layernorm.forward(hidden.clone()), visible);
        let [hidden, normal] = self.post_attention_layernorm.forward_residual(mixed, hidden, None);
        let (inner, logits) = self.block_sparse_moe.forward(normal);
        (hidden + inner, logits)
    }
}

impl DecoderLayer for MixtralLayer {
    fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        self.route(hidden, visible).0
    }

    fn attention_width(&self) -> usize {
        self.self_attn.width()
    }
}

/// The Mixtral decoder. Parameters are called as in published files, but that `model` is the backbone.
#[derive(Module, Debug)]
pub struct Mixtral {
    embed_tokens: Embedding,
    layers: Vec<MixtralLayer>,
    norm: RmsNorm,
    /// Experts that a token takes, where the balance counts.
    balanced: Option<usize>,
    #[module(skip)]
    frame: Frame,
}

impl Mixtral {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`MixtralConfig::check`] says whether it is.
    pub fn new(config: &MixtralConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let Sizes { vocab_size, hidden_size, pad_token_id: padding, .. } = config.sizes();
        let mut init = Init::new(seed, config.initializer_range, device);
        let row = padding.and_then(|id| padding_row(id, vocab_size));
        Self {
            embed_tokens: init.embedding(vocab_size, hidden_size, row),
            layers: (0..config.num_hidden_layers).map(|index| config.layer(index, &mut init)).collect(),
            norm: config.norm(device),
            balanced: config.output_router_logits.then_some(config.num_experts_per_tok),
            frame: Frame { pooling, padding, scale: None },
        }
    }

    /// A fresh head for the next token, whose loss asks for balance where the configuration says so.
    pub fn routed_lm(config: &MixtralConfig, seed: u64, device: &Device) -> RoutedCausalLm {
        RoutedCausalLm::new(config.causal_lm(seed, device), config.router_aux_loss_coef)
    }
}

impl Backbone for Mixtral {
    type Input = TextInput;
    type State = RoutedState;
    type Features = RoutedFeatures;

    fn stages(&self) -> Stages {
        stages(self.layers.len())
    }
    fn check(&self, input: &TextInput) -> Result<(), InputError> {
        self.frame.check(input, self.embed_tokens.weight.dims()[0], None)
    }
    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        mixing_operations(&self.layers, stage, seq)
    }
    fn embed(&self, input: TextInput) -> RoutedState {
        let text = self.frame.state(self.embed_tokens.forward(input.ids.clone()), input);
        RoutedState { text, routing: vec![] }
    }
    fn stage(&self, index: usize, RoutedState { mut text, mut routing }: RoutedState) -> RoutedState {
        match self.layers.get(index - 1) {
            Some(layer) => {
                let visible = text.visible();
                let (hidden, logits) = layer.route(text.hidden, &visible);
                text.hidden = hidden;
                routing.extend(self.balanced.map(|_| logits));
            }
            None => text.hidden = self.norm.forward(text.hidden),
        }
        RoutedState { text, routing }
    }
    fn finish(&self, RoutedState { text, routing }: RoutedState) -> RoutedFeatures {
        let balance = self.balanced.and_then(|taken| balance(routing, taken, &text.mask));
        RoutedFeatures { text: text.into_features(self.frame.pooling, self.embed_tokens.weight.val()), balance }
    }
}

pretrained_decoder!(Mixtral, MixtralConfig, "mixtral", "Mixtral");

/// For each expert, the share of the tokens of all layers that it gets times the mean probability that it had of them,
/// summed, times the number of experts: `[1]`. Padding counts nothing.
fn balance(routing: Vec<Tensor<3>>, taken: usize, mask: &Tensor<2, Bool>) -> Option<Tensor<1>> {
    let [batch, seq] = mask.dims();
    let layers = routing.len();
    let real = mask.clone().float().reshape([batch * seq, 1]);
    let of_layer = |logits: Tensor<3>| {
        let [.., experts] = logits.dims();
        let probabilities = softmax(logits.reshape([batch * seq, experts]));
        let real = real.clone().cast(probabilities.dtype());
        let tokens = (chosen(&probabilities, taken) * real.clone()).sum_dim(0);
        (tokens, (probabilities * real).sum_dim(0))
    };
    let sums = routing.into_iter().map(of_layer);
    let (tokens, probabilities) = sums.reduce(|all, layer| (all.0 + layer.0, all.1 + layer.1))?;
    let [_, experts] = tokens.dims();
    let total = real.sum().reshape([1, 1]).cast(tokens.dtype()) * layers as f64;
    Some((tokens / total.clone() * (probabilities / total)).sum() * experts as f64)
}
