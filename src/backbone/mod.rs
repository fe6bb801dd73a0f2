//! [`Backbone`]: a network body that runs stage by stage, and what heads may see of it.

mod auto;
pub(crate) mod config;
mod decoder;
mod encoder;
mod features;
mod input;
pub(crate) mod rope;
mod routed;
mod seq2seq;
mod stages;
mod text_state;
mod towers;
pub(crate) mod trail;
mod vision;

pub use auto::{AutoText, AutoTextConfig};
pub use decoder::{
    CausalDecoder, Gemma2, Gemma2Config, Gemma3, Gemma3Config, Gpt2, Gpt2Config, GptNeox, GptNeoxConfig, LayerKind,
    Llama, LlamaConfig, Mistral, MistralConfig, Mixtral, MixtralConfig, Opt, OptConfig, Phi3, Phi3Config, Qwen2,
    Qwen2Config, Qwen3, Qwen3Config,
};
pub use encoder::{
    Albert, AlbertConfig, Bert, BertConfig, DebertaV2, DebertaV2Config, DistilBert, DistilBertConfig, Electra,
    ElectraConfig, Esm, EsmConfig, EsmPositions, EuroBert, EuroBertConfig, Kinds, ModernBert, ModernBertConfig, MpNet,
    MpNetConfig, NomicBert, NomicBertConfig, Roberta, RobertaConfig, albert_key_map, bert_key_map, deberta_v2_key_map,
    distilbert_key_map, electra_key_map, esm_key_map, eurobert_key_map, modernbert_key_map, mpnet_key_map,
    nomic_bert_key_map, roberta_key_map,
};
pub use features::{Maps, Pooled, Pooling, TextFeatures, Tied, Tokens};
pub(crate) use features::{first_token, last_real};
pub use input::{InputError, TextInput};
pub use routed::{Routed, RoutedFeatures, RoutedState};
pub use seq2seq::{
    Bart, BartConfig, DecoderStart, EosTokens, MaskedIds, Memory, Seq2SeqFeatures, Seq2SeqInput, Seq2SeqState,
    SpeechInput, T5, T5Config, T5Encoder, Target, Whisper, WhisperConfig, bart_key_map, t5_encoder_key_map, t5_key_map,
    whisper_key_map,
};
pub use stages::{Stage, Stages};
pub use text_state::TextState;
pub use towers::{
    ClipConfig, ClipTextConfig, ClipVisionConfig, Flow, ImageText, ImageTextConfig, SiglipConfig, SiglipTextConfig,
    SiglipVisionConfig, TextTower, TextTowerState, Towers, VisionTower, VisionTowerConfig,
};
pub use vision::{
    ConvNext, ConvNextConfig, Dinov2, Dinov2Config, ImageInput, MapFeatures, MapState, PatchFeatures, PatchState,
    ResNet, ResNetConfig, ResNetLayer, Sides, Swin, SwinConfig, Vit, VitConfig,
};

use crate::nn::ReuseScope;
use crate::rows::Rows;
use burn::module::{Module, ModuleDisplay};
use std::fmt::Debug;

/// A network body: input in, features out, one stage after the other.
///
/// A stage is a layer group, the unit of freezing and an entry of the learning-rate table at once. Each stage reads only
/// the parameters it owns and only the part of the state that its `reads` stages made; [`check_stages`] tests that.
///
/// [`check_stages`]: crate::params::check_stages
pub trait Backbone: Module + ModuleDisplay {
    /// What a batch feeds in.
    type Input: Rows;
    /// What flows from stage to stage; it holds all that later stages need, so that a row of it can be cached.
    type State: Rows;
    /// What heads see.
    type Features: Clone + Debug + Send + 'static;

    /// Names the stages and the parameters each one reads; every parameter belongs to at least one.
    fn stages(&self) -> Stages;

    /// Says whether this network can read `input`; `fit`, `evaluate` and predictors ask before they run it.
    ///
    /// # Errors
    /// [`InputError`], such as a sequence longer than the position table.
    fn check(&self, _input: &Self::Input) -> Result<(), InputError> {
        Ok(())
    }

    /// The longest row that it can read, in tokens; `None` where there is no limit.
    fn positions(&self) -> Option<usize> {
        None
    }

    /// Multiplications and additions with which a stage mixes the positions of one row of `seq`: those of its matrix
    /// products in which no parameter takes part, such as attention's two. A forecast counts them.
    fn mixing_operations(&self, _stage: usize, _seq: usize) -> f64 {
        0.0
    }

    /// Whether padding on the right changes what it makes of a row, so that an input that is kept keeps its padding.
    fn reads_padding(&self) -> bool {
        false
    }

    /// Runs stage 0.
    fn embed(&self, input: Self::Input) -> Self::State;

    /// Runs stage `index`, one of `1..self.stages().len()`.
    fn stage(&self, index: usize, state: Self::State) -> Self::State;

    /// Runs stage `index` for a head that reads pooled features alone ([`TaskHead::POOLED_ONLY`]): what no pooling reads may
    /// be left out of the state. The pooled features stay the same, to the bit.
    ///
    /// [`TaskHead::POOLED_ONLY`]: crate::head::TaskHead::POOLED_ONLY
    fn stage_pooled(&self, index: usize, state: Self::State) -> Self::State {
        self.stage(index, state)
    }

    /// Multiplications and additions that [`stage_pooled`](Self::stage_pooled) leaves out of one row of `seq`; 0 where it
    /// computes what [`stage`](Self::stage) does. A forecast counts them.
    fn operations_spared(&self, _stage: usize, _seq: usize) -> f64 {
        0.0
    }

    /// Whether [`stage_pooled`](Self::stage_pooled) leaves anything out of the state: the key of a cached state depends on it.
    fn leaves_out(&self, stage: usize) -> bool {
        self.operations_spared(stage, 2) > 0.0
    }

    /// Unpacks the last state. It computes with no parameter (it may show one to the heads, as a tied embedding).
    fn finish(&self, state: Self::State) -> Self::Features;

    /// All stages in order.
    fn forward(&self, input: Self::Input) -> Self::Features {
        let _reuse = ReuseScope::new();
        self.finish(run_stages(self, 1..self.stages().len(), false, self.embed(input)))
    }

    /// Runs after each optimizer step: parameters that follow others, such as an EMA teacher's.
    fn after_step(self) -> Self {
        self
    }
}

/// Runs stages in their order, as far as a head reads them that may be `pooled_only`.
pub(crate) fn run_stages<B: Backbone>(
    backbone: &B,
    stages: impl Iterator<Item = usize>,
    pooled_only: bool,
    state: B::State,
) -> B::State {
    stages.fold(state, |state, stage| match pooled_only {
        true => backbone.stage_pooled(stage, state),
        false => backbone.stage(stage, state),
    })
}
