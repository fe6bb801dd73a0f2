//! CLIP's configuration file.

use super::{TextPool, TextSizes, VisionSizes, check_text, check_vision};
use crate::backbone::config::ensure;
use crate::backbone::vision::{AttentionSizes, BlockSizes, Sides};
use crate::checkpoint::CheckpointError;
use crate::nn::Activation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// CLIP's `config.json`, in Transformers' names. Keys that are not read are kept and written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// Width of the vectors in which images and texts are compared.
    pub projection_dim: usize,
    /// Logarithm of what a fresh head scales similarities by.
    pub logit_scale_init_value: f64,
    /// The text tower.
    pub text_config: ClipTextConfig,
    /// The vision tower.
    pub vision_config: ClipVisionConfig,
    /// The other keys of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for ClipConfig {
    /// The sizes of `clip-vit-base-patch32`.
    fn default() -> Self {
        Self {
            projection_dim: 512,
            logit_scale_init_value: 2.6592,
            text_config: ClipTextConfig::default(),
            vision_config: ClipVisionConfig::default(),
            extra: Map::new(),
        }
    }
}

/// The text tower in CLIP's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// Between the linear maps of the feed-forward layer.
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// The token whose first place stands for the text, which is the first token where it is not among them. 2, as files of
    /// before 2023 have it, stands for the highest id.
    pub eos_token_id: usize,
    /// The other keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            attention_dropout: 0.0,
            initializer_range: 0.02,
            eos_token_id: 49407,
            extra: Map::new(),
        }
    }
}

/// The vision tower in CLIP's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Channels of an image.
    pub num_channels: usize,
    /// Size of the images that the position table is made for.
    pub image_size: Sides,
    /// Size of a patch.
    pub patch_size: Sides,
    /// Between the linear maps of the feed-forward layer.
    pub hidden_act: Activation,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Dropout on attention probabilities while training.
    pub attention_dropout: f64,
    /// Deviation of fresh weights.
    pub initializer_range: f64,
    /// The other keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: Sides::Equal(224),
            patch_size: Sides::Equal(32),
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            attention_dropout: 0.0,
            initializer_range: 0.02,
            extra: Map::new(),
        }
    }
}

impl ClipVisionConfig {
    /// Without a projection.
    pub(super) fn sizes(&self) -> VisionSizes {
        VisionSizes {
            channels: self.num_channels,
            image: self.image_size,
            patch: self.patch_size,
            layers: self.num_hidden_layers,
            block: BlockSizes {
                attention: AttentionSizes {
                    hidden: self.hidden_size,
                    heads: self.num_attention_heads,
                    bias: true,
                    dropout: self.attention_dropout,
                },
                inner: self.intermediate_size,
                activation: self.hidden_act,
                epsilon: self.layer_norm_eps,
                dropout: 0.0,
            },
            deviation: self.initializer_range,
            class_token: true,
            projection: None,
        }
    }
}

/// What stands for the highest id: what files had before the tokenizer's own id was put in.
const LEGACY_EOS: usize = 2;

impl ClipConfig {
    pub(super) fn text(&self) -> TextSizes {
        let text = &self.text_config;
        TextSizes {
            vocabulary: text.vocab_size,
            positions: text.max_position_embeddings,
            layers: text.num_hidden_layers,
            block: BlockSizes {
                attention: AttentionSizes {
                    hidden: text.hidden_size,
                    heads: text.num_attention_heads,
                    bias: true,
                    dropout: text.attention_dropout,
                },
                inner: text.intermediate_size,
                activation: text.hidden_act,
                epsilon: text.layer_norm_eps,
                dropout: 0.0,
            },
            deviation: text.initializer_range,
            causal: true,
            pool: if text.eos_token_id == LEGACY_EOS { TextPool::Highest } else { TextPool::Eos(text.eos_token_id) },
            projection: self.projection_dim,
            bias: false,
        }
    }

    pub(super) fn vision(&self) -> VisionSizes {
        VisionSizes { projection: Some(self.projection_dim), ..self.vision_config.sizes() }
    }

    /// Says whether a network of this configuration can be built here and computes what Transformers computes.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    pub fn check(&self) -> Result<(), CheckpointError> {
        check_vision(self.vision())?;
        check_text(self.text())?;
        let scale = self.logit_scale_init_value;
        ensure(scale.is_finite(), "logit_scale_init_value", scale, "a finite number")?;
        repeats(&self.extra, "text_config_dict", &self.text_config)?;
        repeats(&self.extra, "vision_config_dict", &self.vision_config)
    }
}

/// Early files have a tower's settings twice, and Transformers takes the second, with its defaults for what that leaves out:
/// both must say the same.
fn repeats<T>(extra: &Map<String, Value>, field: &str, tower: &T) -> Result<(), CheckpointError>
where
    T: Default + Serialize + DeserializeOwned,
{
    let Some(again) = extra.get(field).filter(|again| again.is_object()) else { return Ok(()) };
    let read = serde_json::from_value::<T>(again.clone());
    let unreadable = |error: serde_json::Error| ensure(false, field, error, "what the tower's own settings say");
    let again = match read {
        Ok(again) => again,
        Err(error) => return unreadable(error),
    };
    let [read, again, tower] =
        [&T::default(), &again, tower].map(|tower| serde_json::to_value(tower).unwrap_or_default());
    let differs = |key: &&String| !equal(&again[key.as_str()], &tower[key.as_str()]);
    let first = read.as_object().into_iter().flat_map(Map::keys).find(differs);
    let value = first.map_or(String::new(), |key| format!("{key}: {}", again[key.as_str()]));
    ensure(first.is_none(), field, value, "what the tower's own settings say")
}

/// Numbers are equal as numbers: 0 and 0.0.
fn equal(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|one| other.as_f64() == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_that_are_given_twice_must_agree_with_what_the_second_leaves_out() {
        let check = |again: Value| {
            let config = json!({ "text_config": { "hidden_act": "gelu" }, "text_config_dict": again });
            serde_json::from_value::<ClipConfig>(config).expect("a configuration").check()
        };
        check(Value::Null).expect("given once");
        check(json!({ "hidden_act": "gelu", "num_beams": 1 })).expect("the same");
        // Transformers takes `quick_gelu`, its default.
        let error = check(json!({ "hidden_size": 512 })).unwrap_err().to_string();
        assert!(error.contains("text_config_dict") && error.contains("quick_gelu"), "{error}");
    }
}
