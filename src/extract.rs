//! [`FeatureExtractor`]: a frozen backbone that turns texts into vectors, to be saved once and used anywhere.

use crate::backbone::{AutoText, Backbone, Pooled, TextInput};
use crate::checkpoint::{FromPretrained, Signature, load_extractor, save_extractor};
use crate::data::{TextTokenizer, TokenRow};
use crate::error::Error;
use crate::predict::by_length;
use crate::train::plain_device;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// A backbone whose parameters no longer change, with its tokenizer and what it takes and gives: one vector a text.
///
/// ```
/// # mod tiny { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tiny.rs")); }
/// # let folder = tiny::tiny();
/// # std::env::set_current_dir(&folder)?;
/// use rekindle::backbone::{Bert, Pooling};
/// use rekindle::checkpoint::Checkpoint;
/// use rekindle::extract::FeatureExtractor;
///
/// let device = rekindle::device("flex")?;
/// let checkpoint = Checkpoint::open("bert")?;
/// let (config, tokenizer) = (checkpoint.config::<Bert>()?, checkpoint.tokenizer()?);
/// let backbone = checkpoint.backbone::<Bert>(Pooling::Mean, &device)?.module;
/// FeatureExtractor::new(&backbone, &config, tokenizer, 32).save("features", &config)?;
///
/// let extractor = FeatureExtractor::load("features", &device)?;
/// let vectors = extractor.features(&["the parcel is late", "the invoice is wrong"])?;
/// assert_eq!((vectors.len(), vectors[0].len()), (2, extractor.signature().width));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FeatureExtractor<B = AutoText> {
    backbone: B,
    tokenizer: TextTokenizer,
    signature: Signature,
    batch_size: usize,
}

impl FeatureExtractor {
    /// From a folder that [`save`](Self::save) wrote, whatever its architecture is, as far as [`AutoText`] knows it.
    ///
    /// # Errors
    /// A missing or damaged file, a parameter that is missing, a signature that does not fit the configuration.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Self::load_as(folder, device)
    }
}

impl<B> FeatureExtractor<B>
where
    B: FromPretrained + Backbone<Input = TextInput>,
    B::Features: Pooled,
{
    /// From a backbone that is in memory; it is copied, and the copy does not follow it. Texts will be cut to `max_length` tokens.
    pub fn new(backbone: &B, config: &B::Config, tokenizer: TextTokenizer, max_length: usize) -> Self {
        let signature = Signature::of(backbone, config, max_length);
        Self { backbone: backbone.valid(), tokenizer, signature, batch_size: 32 }
    }

    /// As [`load`](FeatureExtractor::load), with the backbone that the type names:
    /// `FeatureExtractor::<Mine>::load_as(folder, &device)`.
    ///
    /// # Errors
    /// As [`load`](FeatureExtractor::load).
    pub fn load_as(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let (backbone, tokenizer, signature) = load_extractor::<B>(folder.as_ref(), device)?;
        Ok(Self { backbone: backbone.valid(), tokenizer, signature, batch_size: 32 })
    }

    /// Writes the folder, atomically: weights, configuration, tokenizer, and the signature in `features.json`.
    ///
    /// # Errors
    /// A signature that does not fit the configuration; a folder that holds something else than a model; a file that cannot be
    /// written.
    pub fn save(&self, folder: impl AsRef<Path>, config: &B::Config) -> Result<(), Error> {
        save_extractor(folder.as_ref(), &self.backbone, config, &self.tokenizer, &self.signature)
    }

    /// What it takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The same extractor, reading at most so many texts at once (32 unless said otherwise; 0 counts as 1).
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
    }

    /// Features of an input, `[batch, width]`, on its plain device: no gradient reaches the backbone.
    ///
    /// # Errors
    /// Tokens that the network has no place for.
    pub fn forward(&self, input: TextInput) -> Result<Tensor<2>, Error> {
        self.backbone.check(&input)?;
        Ok(self.backbone.forward(input).pooled())
    }

    /// A vector of [`width`](Signature::width) values for each text, in their order. They are run in batches of similar length.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode; tokens that the network has no place for, if the two do not belong together.
    pub fn features<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>, Error> {
        let rows = self.tokenizer.encode(texts, self.signature.max_length)?.rows;
        let (rows, device): (Vec<&TokenRow>, _) = (rows.iter().collect(), plain_device(&self.backbone));
        let mut features = vec![vec![]; texts.len()];
        by_length(&rows, &self.tokenizer, self.batch_size, &device, |indices, input| {
            let values: Vec<f32> = self.forward(input)?.into_data().iter::<f32>().collect();
            for (index, vector) in indices.iter().zip(values.chunks(self.signature.width)) {
                features[*index] = vector.to_vec();
            }
            Ok(())
        })?;
        Ok(features)
    }
}
