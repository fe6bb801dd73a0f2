use super::in_batches;
use crate::backbone::{AutoText, Backbone, TextInput};
use crate::checkpoint::{FromPretrained, Saved, load_embedder};
use crate::data::{TextTokenizer, TokenRow};
use crate::error::Error;
use crate::head::{SentenceEmbedder, TaskHead};
use crate::model::Model;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// Texts to vectors of length 1, whose products are cosines.
#[derive(Debug)]
pub struct Embedder<B = AutoText> {
    model: Model<B, SentenceEmbedder>,
    tokenizer: TextTokenizer,
    max_length: usize,
    batch_size: usize,
}

impl Embedder {
    /// From a folder that [`save_embedder`](crate::checkpoint::save_embedder) or sentence-transformers wrote, which says how
    /// features are pooled and where texts are cut; whatever its architecture is, as far as [`AutoText`] knows it.
    ///
    /// # Errors
    /// As [`load_embedder`].
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Self::load_as(folder, device)
    }
}

impl<B> Embedder<B>
where
    B: FromPretrained + Backbone<Input = TextInput>,
    SentenceEmbedder: TaskHead<B::Features, Output = Tensor<2>>,
{
    /// From a model that is in memory. Texts are cut to `max_length` tokens, the special ones counted.
    pub fn new(model: &Model<B, SentenceEmbedder>, tokenizer: TextTokenizer, max_length: usize) -> Self {
        Self { model: model.valid(), tokenizer, max_length, batch_size: 32 }
    }

    /// As [`load`](Embedder::load), with the backbone that the type names: `Embedder::<Mine>::load_as(folder, &device)`.
    ///
    /// # Errors
    /// As [`load_embedder`].
    pub fn load_as(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let Saved { model, task } = load_embedder::<B>(folder, device)?;
        Ok(Self::new(&model, task.tokenizer().clone(), task.max_length()))
    }

    /// The same embedder, reading at most so many texts at once (32 unless said otherwise; 0 counts as 1).
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
    }

    /// A vector a text, in their order.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode; tokens that the network has no place for.
    pub fn embed<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>, Error> {
        let encodings = self.tokenizer.encode(texts, self.max_length)?;
        let rows: Vec<&TokenRow> = encodings.rows.iter().collect();
        let mut vectors = vec![vec![]; rows.len()];
        in_batches(&self.model, &rows, &self.tokenizer, self.batch_size, |indices, output| {
            let width = output.dims()[1].max(1);
            let values: Vec<f32> = output.into_data().iter::<f32>().collect();
            for (vector, index) in values.chunks_exact(width).zip(indices) {
                vectors[*index] = vector.to_vec();
            }
        })?;
        Ok(vectors)
    }
}
