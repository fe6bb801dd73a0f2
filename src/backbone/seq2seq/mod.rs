//! Encoder-decoders: an encoder reads a source, a decoder writes a target while it looks at what the encoder made.

mod bart;
mod bart_config;
mod bart_keys;
mod eos;
mod features;
mod input;
mod layer;
mod positions;
mod relative;
mod sides;
mod spec_augment;
mod state;
mod t5;
mod t5_block;
mod t5_config;
mod t5_encoder;
mod t5_keys;
mod t5_stacks;
mod table;
mod whisper;
mod whisper_config;

pub use bart::Bart;
pub use bart_config::{BartConfig, EosTokens};
pub use bart_keys::bart_key_map;
pub use features::Seq2SeqFeatures;
pub use input::{DecoderStart, MaskedIds, Seq2SeqInput};
pub use state::{Memory, Seq2SeqState, Target};
pub use t5::T5;
pub use t5_config::T5Config;
pub use t5_encoder::T5Encoder;
pub use t5_keys::{t5_encoder_key_map, t5_key_map};
pub use whisper::{SpeechInput, Whisper, whisper_key_map};
pub use whisper_config::WhisperConfig;
