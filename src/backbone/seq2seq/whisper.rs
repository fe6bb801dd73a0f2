//! Whisper ([Radford et al., 2022](https://arxiv.org/abs/2212.04356)), as Transformers' `models/whisper/modeling_whisper.py`
//! runs it: convolutions over frames of sound, then BART's layers with the norms first.

use super::input::check_rows;
use super::layer::{DecoderLayer, EPSILON, EncoderLayer};
use super::positions::sinusoids;
use super::spec_augment::SpecAugment;
use super::table::{Place, Side, stages};
use super::{MaskedIds, Seq2SeqFeatures, Seq2SeqState, WhisperConfig};
use crate::backbone::{Backbone, InputError, Pooling, Stages};
use crate::checkpoint::{CheckpointError, FromPretrained, KeyMap};
use crate::head::Seq2SeqLm;
use crate::nn::{Buffer, Conv1d, Dropout, Embedding, Init, LayerNorm, gelu};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// What Whisper reads.
#[derive(Clone, Debug)]
pub struct SpeechInput {
    /// Log-mel features of 30 seconds of sound, `[batch, mel bins, frames]`.
    pub features: Tensor<3>,
    /// What the decoder reads: [`DecoderStart::shift`](super::DecoderStart::shift) makes it from the tokens to predict.
    pub target: MaskedIds,
}
crate::rows!(SpeechInput { features, target });

/// Whisper. The encoder's positions are fixed; they are not trained.
#[derive(Module, Debug)]
pub struct Whisper {
    encoder: Encoder,
    decoder: Decoder,
    #[module(skip)]
    pooling: Pooling,
}

impl Whisper {
    /// A fresh network with weights drawn from `seed`.
    ///
    /// The configuration is taken as valid; [`WhisperConfig::check`] says whether it is.
    pub fn new(config: &WhisperConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        let mut init = Init::new(seed, config.init_std, device);
        Self { encoder: Encoder::new(config, &mut init), decoder: Decoder::new(config, &mut init), pooling }
    }

    /// A fresh language head in the form of `WhisperForConditionalGeneration`.
    pub fn language_head(config: &WhisperConfig, seed: u64, device: &Device) -> Seq2SeqLm {
        match config.tie_word_embeddings {
            true => Seq2SeqLm::tied(config.vocab_size),
            false => Seq2SeqLm::untied(config.d_model, config.vocab_size, seed, device),
        }
    }

    fn place(&self, stage: usize) -> Place {
        Place::of(stage, self.encoder.layers.len())
    }
}

impl Backbone for Whisper {
    type Input = SpeechInput;
    type State = Seq2SeqState;
    type Features = Seq2SeqFeatures;

    fn stages(&self) -> Stages {
        let side = |name, embeddings, layers, count, norm| Side {
            name,
            embeddings,
            layers,
            count,
            shared: None,
            norm: Some(norm),
        };
        let (encoder, decoder) = (self.encoder.layers.len(), self.decoder.layers.len());
        stages(
            side("encoder", &["encoder.embeddings"], "encoder.layers", encoder, "encoder.layer_norm"),
            side("decoder", &["decoder.embeddings"], "decoder.layers", decoder, "decoder.layer_norm"),
        )
    }

    fn check(&self, input: &SpeechInput) -> Result<(), InputError> {
        let Embeddings { conv1, embed_positions, .. } = &self.encoder.embeddings;
        let expected = [conv1.weight.dims()[1], 2 * embed_positions.weight.dims()[0]];
        let found = input.features.dims();
        if found[0] == 0 || found[1..] != expected {
            return Err(InputError::SoundShape { found: found.to_vec(), bins: expected[0], frames: expected[1] });
        }
        let TargetEmbeddings { embed_tokens, embed_positions, .. } = &self.decoder.embeddings;
        let ([entries, _], [positions, _]) = (embed_tokens.weight.dims(), embed_positions.weight.dims());
        input.target.check("the mask of the target", Some(positions), entries)?;
        check_rows(found[0], &input.target)
    }

    fn positions(&self) -> Option<usize> {
        Some(self.decoder.embeddings.embed_positions.weight.dims()[0])
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        let [source, width] = self.encoder.embeddings.embed_positions.weight.dims();
        let pairs = |asking: usize, asked: usize| 4.0 * (asking * asked * width) as f64;
        match stage.checked_sub(1).map(|_| self.place(stage)) {
            Some(Place::Encoder(_)) => pairs(source, source),
            Some(Place::Decoder(_)) => pairs(seq, seq) + pairs(seq, source),
            _ => 0.0,
        }
    }

    fn embed(&self, input: SpeechInput) -> Seq2SeqState {
        let hidden = self.encoder.last(0, self.encoder.embeddings.forward(input.features));
        let [batch, places, _] = hidden.dims();
        let mask = Tensor::full([batch, places], true, &input.target.ids.device());
        Seq2SeqState::new(hidden, mask, input.target)
    }

    fn stage(&self, index: usize, mut state: Seq2SeqState) -> Seq2SeqState {
        match self.place(index) {
            Place::Encoder(index) => {
                let hidden = match self.encoder.layers.get(index) {
                    Some(layer) => layer.forward(state.source.hidden, &state.source.mask),
                    None => state.source.hidden,
                };
                state.source.hidden = self.encoder.last(index + 1, hidden);
                state
            }
            Place::Target => {
                let hidden = self.decoder.embeddings.forward(state.target.ids.clone());
                state.target.hidden = Some(self.decoder.last(0, hidden));
                state
            }
            Place::Decoder(index) => state.decode(|hidden, mask, memory| {
                let hidden = match self.decoder.layers.get(index) {
                    Some(layer) => layer.forward(hidden, mask, memory),
                    None => hidden,
                };
                self.decoder.last(index + 1, hidden)
            }),
        }
    }

    fn finish(&self, state: Seq2SeqState) -> Seq2SeqFeatures {
        Seq2SeqFeatures::new(state, self.pooling, self.decoder.embeddings.embed_tokens.weight.val())
    }
}

impl FromPretrained for Whisper {
    type Config = WhisperConfig;
    const MODEL_TYPES: &'static [&'static str] = &["whisper"];
    const INPUT_NAMES: &'static [&'static str] = &["input_features"];

    fn check_config(config: &WhisperConfig) -> Result<(), CheckpointError> {
        config.check()
    }
    fn build(config: &WhisperConfig, pooling: Pooling, seed: u64, device: &Device) -> Self {
        Self::new(config, pooling, seed, device)
    }
    fn key_map(config: &WhisperConfig) -> KeyMap {
        whisper_key_map(config)
    }
    fn hidden_size(config: &WhisperConfig) -> usize {
        config.d_model
    }
    fn max_length(config: &WhisperConfig) -> usize {
        config.max_target_positions
    }
    fn head_dropout(config: &WhisperConfig) -> f64 {
        config.dropout
    }
    fn pooling(&self) -> Pooling {
        self.pooling
    }
    fn class_prefix(_: &WhisperConfig) -> &'static str {
        "Whisper"
    }
    fn classification_pooling(_: &WhisperConfig) -> Pooling {
        Pooling::Mean
    }
}

/// The table for `WhisperModel` and `WhisperForConditionalGeneration`, as Transformers names their parameters.
pub fn whisper_key_map(config: &WhisperConfig) -> KeyMap {
    let map = KeyMap::new("model")
        .rule("backbone.encoder.embeddings", "model.encoder")
        .rule("backbone.encoder.layers", "model.encoder.layers")
        .rule("backbone.encoder.layer_norm", "model.encoder.layer_norm")
        .rule("backbone.decoder.embeddings", "model.decoder")
        .rule("backbone.decoder.layers", "model.decoder.layers")
        .rule("backbone.decoder.layer_norm", "model.decoder.layer_norm")
        .rule("head.lm_head", "proj_out");
    match config.tie_word_embeddings {
        true => map.tied("proj_out.weight", "model.decoder.embed_tokens.weight"),
        false => map,
    }
}

#[derive(Module, Debug)]
struct Encoder {
    embeddings: Embeddings,
    layers: Vec<EncoderLayer>,
    layer_norm: LayerNorm,
}

impl Encoder {
    fn new(config: &WhisperConfig, init: &mut Init) -> Self {
        let layer = config.encoder_layer();
        Self {
            embeddings: Embeddings::new(config, init),
            layers: (0..config.encoder_layers).map(|_| EncoderLayer::new(&layer, init)).collect(),
            layer_norm: LayerNorm::new(config.d_model, EPSILON, init.device()),
        }
    }

    /// The norm, after as many layers as there are.
    fn last(&self, done: usize, hidden: Tensor<3>) -> Tensor<3> {
        if done == self.layers.len() { self.layer_norm.forward(hidden) } else { hidden }
    }
}

/// Frames of sound to places, two to one.
#[derive(Module, Debug)]
struct Embeddings {
    conv1: Conv1d,
    conv2: Conv1d,
    embed_positions: Buffer<2>,
    dropout: Dropout,
    augment: Option<SpecAugment>,
}

impl Embeddings {
    fn new(config: &WhisperConfig, init: &mut Init) -> Self {
        let (width, places) = (config.d_model, config.max_source_positions);
        let step = 10000f64.ln() / (width as f64 / 2.0 - 1.0);
        let positions = sinusoids(places, width, |k| (step * k as f64).exp(), init.device());
        Self {
            conv1: Conv1d::new([config.num_mel_bins, width, 3], 1, init),
            conv2: Conv1d::new([width, width, 3], 2, init),
            embed_positions: Buffer::new(positions),
            dropout: Dropout::new(config.dropout),
            augment: config.apply_spec_augment.then(|| SpecAugment::new(config)),
        }
    }

    /// `[batch, mel bins, frames]` to `[batch, places, hidden]`.
    fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        let features = match &self.augment {
            Some(augment) => augment.forward(features),
            None => features,
        };
        let waves = gelu(self.conv2.forward(gelu(self.conv1.forward(features))));
        self.dropout.forward(waves.swap_dims(1, 2) + self.embed_positions.val().unsqueeze())
    }
}

#[derive(Module, Debug)]
struct Decoder {
    embeddings: TargetEmbeddings,
    layers: Vec<DecoderLayer>,
    layer_norm: LayerNorm,
}

impl Decoder {
    fn new(config: &WhisperConfig, init: &mut Init) -> Self {
        let layer = config.decoder_layer();
        Self {
            embeddings: TargetEmbeddings::new(config, init),
            layers: (0..config.decoder_layers).map(|_| DecoderLayer::new(&layer, init)).collect(),
            layer_norm: LayerNorm::new(config.d_model, EPSILON, init.device()),
        }
    }

    /// The norm, after as many layers as there are.
    fn last(&self, done: usize, hidden: Tensor<3>) -> Tensor<3> {
        if done == self.layers.len() { self.layer_norm.forward(hidden) } else { hidden }
    }
}

#[derive(Module, Debug)]
struct TargetEmbeddings {
    embed_tokens: Embedding,
    embed_positions: Embedding,
    dropout: Dropout,
}

impl TargetEmbeddings {
    fn new(config: &WhisperConfig, init: &mut Init) -> Self {
        Self {
            embed_tokens: init.embedding(config.vocab_size, config.d_model, config.pad_token_id),
            embed_positions: init.embedding(config.max_target_positions, config.d_model, None),
            dropout: Dropout::new(config.dropout),
        }
    }

    /// `[batch, seq]` to `[batch, seq, hidden]`.
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, seq] = ids.dims();
        let places = Tensor::<1, Int>::arange(0..seq as i64, &ids.device()).unsqueeze();
        self.dropout.forward(self.embed_tokens.forward(ids) + self.embed_positions.forward(places))
    }
}
