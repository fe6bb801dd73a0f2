use super::{in_batches, softmax};
use crate::backbone::{AutoText, Backbone, TextInput};
use crate::checkpoint::{FromPretrained, load_tagger};
use crate::data::{Labels, TokenRow};
use crate::error::Error;
use crate::head::{TaskHead, TokenClassifier};
use crate::metric::{Entity, EntityScheme, MetricError, entities};
use crate::model::Model;
use crate::objective::{TaggedRow, TokenTagging};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use std::path::Path;

/// What a token classifier says about a word.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WordTag {
    /// The most probable tag.
    pub tag: String,
    /// Its probability, 0 to 1; `None` for a word that the model did not read (cut off, or none to its tokenizer), whose tag
    /// is `O`.
    pub probability: Option<f64>,
}

/// The tags of a sentence's words, in their order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TaggedWords {
    /// One a word.
    pub words: Vec<WordTag>,
    /// Whether the sentence was longer than the model reads.
    pub truncated: bool,
}

/// A run of words with a type.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FoundEntity {
    /// Type, first word and the word after the last one.
    #[serde(flatten)]
    pub entity: Entity,
    /// The mean probability of its words' tags, 0 to 1.
    pub score: f64,
}

impl TaggedWords {
    /// The tags.
    pub fn tags(&self) -> Vec<&str> {
        self.words.iter().map(|word| word.tag.as_str()).collect()
    }

    /// The entities that the tags make, in their order.
    ///
    /// # Errors
    /// [`MetricError::BadTag`] for a tag that the scheme does not know, such as one for a part of speech.
    pub fn entities(&self, scheme: EntityScheme) -> Result<Vec<FoundEntity>, MetricError> {
        let scored = |entity: Entity| {
            let words = &self.words[entity.start..entity.end];
            let sum: f64 = words.iter().map(|word| word.probability.unwrap_or(0.0)).sum();
            FoundEntity { score: sum / words.len() as f64, entity }
        };
        Ok(entities(&self.tags(), scheme)?.into_iter().map(scored).collect())
    }
}

/// A token classifier ready to answer: words in, a tag for each out.
#[derive(Debug)]
pub struct Tagger<B = AutoText> {
    model: Model<B, TokenClassifier>,
    task: TokenTagging,
    batch_size: usize,
}

impl Tagger {
    /// From a folder that [`save_tagger`](crate::checkpoint::save_tagger) or Transformers wrote, whatever its architecture
    /// is, as far as [`AutoText`] knows it.
    ///
    /// # Errors
    /// As [`load_tagger`].
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Self::load_as(folder, device)
    }
}

impl<B> Tagger<B>
where
    B: FromPretrained + Backbone<Input = TextInput>,
    TokenClassifier: TaskHead<B::Features, Output = Tensor<3>>,
{
    /// From a model that is in memory.
    pub fn new(model: &Model<B, TokenClassifier>, task: TokenTagging) -> Self {
        Self { model: model.valid(), task, batch_size: 32 }
    }

    /// As [`load`](Tagger::load), with the backbone that the type names: `Tagger::<Mine>::load_as(folder, &device)`.
    ///
    /// # Errors
    /// As [`load_tagger`].
    pub fn load_as(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let saved = load_tagger::<B>(folder, device)?;
        Ok(Self::new(&saved.model, saved.task))
    }

    /// The label map.
    pub fn labels(&self) -> &Labels {
        self.task.labels()
    }

    /// The same tagger, reading at most so many sentences at once (32 unless said otherwise; 0 counts as 1).
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
    }

    /// Tags sentences that are in words, in their order: a word has the most probable class of its first token.
    ///
    /// # Errors
    /// A head with another number of classes than there are labels; words that the tokenizer cannot encode; tokens that the
    /// network has no place for.
    pub fn tag<W: AsRef<[String]>>(&self, sentences: &[W]) -> Result<Vec<TaggedWords>, Error> {
        self.task.labels().check_count(self.model.head.num_labels())?;
        let words: Vec<&[String]> = sentences.iter().map(AsRef::as_ref).collect();
        let encodings = self.task.tokenizer().encode_words(&words, self.task.max_length())?;
        let rows = encodings.rows.into_iter().zip(&words);
        let rows: Vec<TaggedRow> =
            rows.map(|(row, words)| TaggedRow { row, labels: vec![], words: words.len() }).collect();
        let mut tagged = vec![TaggedWords { words: vec![], truncated: false }; rows.len()];
        let tokens: Vec<&TokenRow> = rows.iter().map(|row| &row.row).collect();
        in_batches(&self.model, &tokens, self.task.tokenizer(), self.batch_size, |indices, output| {
            let [_, seq, classes] = output.dims();
            let values: Vec<f64> = output.into_data().iter::<f64>().collect();
            for (logits, index) in values.chunks_exact((seq * classes).max(1)).zip(indices) {
                tagged[*index] = self.read(&rows[*index], logits, classes);
            }
        })?;
        Ok(tagged)
    }

    /// The tags of a row from its logits, `classes` values a token.
    fn read(&self, row: &TaggedRow, logits: &[f64], classes: usize) -> TaggedWords {
        let mut words = vec![WordTag { tag: "O".into(), probability: None }; row.words];
        for (word, place) in row.first_tokens() {
            let probabilities = softmax(&logits[place * classes..(place + 1) * classes]);
            let best = (0..classes).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
            if let (Some(tag), Some(best)) = (words.get_mut(word), best) {
                let name = self.task.labels().name(best).unwrap_or_default();
                *tag = WordTag { tag: name.into(), probability: Some(probabilities[best]) };
            }
        }
        TaggedWords { words, truncated: row.row.truncated }
    }
}
