use super::card::load_whole_backbone;
use super::pretrained::read_json;
use super::save::{mapped_backbone, write_json, write_model_folder, write_tokenizer, write_weights};
use super::{Checkpoint, CheckpointError, FromPretrained, SaveFormat};
use crate::backbone::Pooling;
use crate::data::TextTokenizer;
use crate::error::Error;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a saved backbone takes and gives, kept in `features.json` beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Signature {
    /// Version of this crate that wrote the folder.
    pub rekindle: String,
    /// Names of the inputs, each `[batch, seq]`.
    pub inputs: Vec<String>,
    /// Texts are cut to this many tokens.
    pub max_length: usize,
    /// How a sequence becomes one vector.
    pub pooling: Pooling,
    /// Width of the output, which is `[batch, width]` in float32.
    pub width: usize,
}

const SIGNATURE: &str = "features.json";

impl Signature {
    pub(crate) fn of<B: FromPretrained>(backbone: &B, config: &B::Config, max_length: usize) -> Self {
        Self {
            rekindle: env!("CARGO_PKG_VERSION").into(),
            inputs: B::input_names(config).iter().map(|name| name.to_string()).collect(),
            max_length,
            pooling: backbone.pooling(),
            width: B::hidden_size(config),
        }
    }

    fn check<B: FromPretrained>(&self, config: &B::Config) -> Result<(), CheckpointError> {
        let differs = |field: &str, value: String, supported: String| {
            Err(CheckpointError::UnsupportedConfig { field: format!("{field} of {SIGNATURE}"), value, supported })
        };
        let (width, longest) = (B::hidden_size(config), B::max_length(config));
        if self.width != width {
            return differs("width", self.width.to_string(), format!("{width}, as config.json says"));
        }
        if !(1..=longest).contains(&self.max_length) {
            return differs("max_length", self.max_length.to_string(), format!("1 to {longest}, as config.json says"));
        }
        if self.inputs != B::input_names(config) {
            return differs("inputs", self.inputs.join(", "), B::input_names(config).join(", "));
        }
        Ok(())
    }
}

/// Writes a backbone, its tokenizer and its signature, atomically; Transformers loads the folder too.
pub(crate) fn save_extractor<B: FromPretrained>(
    folder: &Path,
    backbone: &B,
    config: &B::Config,
    tokenizer: &TextTokenizer,
    signature: &Signature,
) -> Result<(), Error> {
    signature.check::<B>(config)?;
    write_model_folder(folder, |folder| {
        let extra = [("architectures", vec![B::body_class(config)].into())];
        write_weights(folder, mapped_backbone(backbone, config)?, config, &extra, &SaveFormat::default())?;
        write_tokenizer(folder, tokenizer, signature.max_length, B::input_names(config))?;
        Ok(write_json(&folder.join(SIGNATURE), signature)?)
    })
}

/// Reads what [`save_extractor`] wrote. A parameter that is not in the file is an error.
pub(crate) fn load_extractor<B: FromPretrained>(
    folder: &Path,
    device: &Device,
) -> Result<(B, TextTokenizer, Signature), Error> {
    let checkpoint = Checkpoint::open(folder)?;
    let path = folder.join(SIGNATURE);
    let signature: Signature =
        serde_json::from_value(read_json(&path)?).map_err(|error| CheckpointError::bad_json(&path, &error))?;
    signature.check::<B>(&checkpoint.config::<B>()?)?;
    let backbone = load_whole_backbone::<B>(&checkpoint, signature.pooling, device)?;
    Ok((backbone, checkpoint.tokenizer()?, signature))
}
