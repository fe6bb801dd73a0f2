//! Decoders: every token sees itself and those before it.

mod attention;
mod body;
mod config;
mod experts;
mod frame;
mod gemma;
mod gemma_config;
mod gpt2;
mod gpt2_config;
mod gpt_neox;
mod gpt_neox_config;
mod layer;
mod llama;
mod mistral;
mod mixtral;
mod opt;
mod opt_config;
mod phi3;
mod qwen;

pub use body::CausalDecoder;
pub use config::LayerKind;
pub use gemma::{Gemma2, Gemma3};
pub use gemma_config::{Gemma2Config, Gemma3Config};
pub use gpt_neox::GptNeox;
pub use gpt_neox_config::GptNeoxConfig;
pub use gpt2::Gpt2;
pub use gpt2_config::Gpt2Config;
pub use llama::{Llama, LlamaConfig};
pub use mistral::{Mistral, MistralConfig};
pub use mixtral::{Mixtral, MixtralConfig};
pub use opt::Opt;
pub use opt_config::OptConfig;
pub use phi3::{Phi3, Phi3Config};
pub use qwen::{Qwen2, Qwen2Config, Qwen3, Qwen3Config};
