use super::{Answer, Batch, Draws, Objective, hash_row, text_input};
use crate::backbone::TextInput;
use crate::data::{DataError, Labels, TaggedExample, TextTokenizer, TokenRow, pad_rows};
use crate::head::IGNORED;
use crate::random::mix;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A sentence's tokens and the class of each.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedRow {
    /// The tokens.
    pub row: TokenRow,
    /// A class index for the first token of each word, [`IGNORED`] for all other tokens.
    pub labels: Vec<i64>,
    /// How many words the sentence has.
    pub words: usize,
}

impl TaggedRow {
    /// For each word that has a token in the row, the word and its first token.
    pub fn first_tokens(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let words = &self.row.word_ids;
        let first = |(place, word): (usize, &Option<u32>)| match word {
            Some(word) if place == 0 || words[place - 1] != Some(*word) => Some((*word as usize, place)),
            _ => None,
        };
        words.iter().enumerate().filter_map(first)
    }

    /// Words without a token: those that were cut off, and those that the tokenizer makes nothing of.
    pub fn lost_words(&self) -> usize {
        self.words - self.first_tokens().count()
    }
}

/// Supervised classes of words, such as named entities: the first token of a word has its tag, the others count nothing,
/// for a [`TokenClassifier`](crate::head::TokenClassifier).
#[derive(Clone, Debug)]
pub struct TokenTagging {
    tokenizer: TextTokenizer,
    labels: Labels,
    max_length: usize,
    pad_id: u32,
}

impl TokenTagging {
    /// Sentences are cut to `max_length` tokens, the special ones counted; [`TaggedRow::lost_words`] says what that cost.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no padding token.
    pub fn new(tokenizer: TextTokenizer, labels: Labels, max_length: usize) -> Result<Self, DataError> {
        let pad_id = tokenizer.require_pad_id()?;
        Ok(Self { tokenizer, labels, max_length, pad_id })
    }

    /// The tags that occur in `examples`, `O` first and the rest by name.
    ///
    /// # Errors
    /// [`DataError::NoExamples`] and [`DataError::OneClass`] where there is nothing to tell apart.
    pub fn labels_of(examples: &[TaggedExample]) -> Result<Labels, DataError> {
        let mut names: Vec<String> = examples.iter().flat_map(|example| example.tags.iter().cloned()).collect();
        names.sort_by(|a, b| (a != "O", a).cmp(&(b != "O", b)));
        names.dedup();
        Labels::from_names(names)
    }

    /// The label map.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Longest sentence in tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Tokenises sentences and gives each word's first token its class.
    ///
    /// # Errors
    /// [`DataError::UnknownLabel`] for a tag outside the map, [`DataError::TagCount`] for a sentence that has not one tag a
    /// word.
    pub fn encode(&self, examples: &[TaggedExample]) -> Result<Vec<TaggedRow>, DataError> {
        let wrong = examples.iter().position(|example| example.tokens.len() != example.tags.len());
        if let Some(index) = wrong {
            let TaggedExample { tokens, tags } = &examples[index];
            return Err(DataError::TagCount { index, words: tokens.len(), tags: tags.len() });
        }
        let words: Vec<&[String]> = examples.iter().map(|example| example.tokens.as_slice()).collect();
        let encodings = self.tokenizer.encode_words(&words, self.max_length)?;
        encodings.rows.into_iter().zip(examples).map(|(row, example)| self.row(row, example)).collect()
    }

    fn row(&self, row: TokenRow, example: &TaggedExample) -> Result<TaggedRow, DataError> {
        let classes: Vec<usize> = example.tags.iter().map(|tag| self.labels.index(tag)).collect::<Result<_, _>>()?;
        let mut tagged = TaggedRow { labels: vec![IGNORED; row.len()], row, words: classes.len() };
        let first: Vec<(usize, usize)> = tagged.first_tokens().collect();
        for (word, place) in first {
            tagged.labels[place] = classes[word] as i64;
        }
        Ok(tagged)
    }

    /// A tag for each word from one class a token of its row; words without a token are `O`, as are classes without a name.
    pub fn tags(&self, row: &TaggedRow, classes: &[usize]) -> Vec<String> {
        let mut tags = vec!["O".to_string(); row.words];
        for (word, place) in row.first_tokens() {
            let name = classes.get(place).and_then(|class| self.labels.name(*class));
            if let (Some(tag), Some(name)) = (tags.get_mut(word), name) {
                *tag = name.into();
            }
        }
        tags
    }
}

impl Objective for TokenTagging {
    type Example = TaggedRow;
    type Input = TextInput;
    type Targets = Tensor<2, Int>;

    fn batch(
        &self,
        examples: &[&TaggedRow],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<2, Int>>, DataError> {
        let rows: Vec<&TokenRow> = examples.iter().map(|example| &example.row).collect();
        let padded = pad_rows(&rows, self.pad_id);
        let shape = [padded.rows, padded.seq];
        let mut labels = Vec::with_capacity(padded.rows * padded.seq);
        for (index, example) in examples.iter().enumerate() {
            labels.extend(example.labels.iter().take(padded.seq));
            labels.resize((index + 1) * padded.seq, IGNORED);
        }
        let targets = Tensor::from_data(TensorData::new(labels, shape), device);
        Ok(Batch { input: text_input(padded, device), targets })
    }

    fn length(&self, example: &TaggedRow) -> usize {
        example.row.len()
    }

    fn fingerprint(&self, example: &TaggedRow) -> u64 {
        let labels: Vec<u64> = example.labels.iter().map(|label| *label as u64).collect();
        mix(&[hash_row(&example.row), mix(&labels)])
    }

    fn input_fingerprint(&self, example: &TaggedRow) -> Option<u64> {
        Some(hash_row(&example.row))
    }

    fn answer(&self, example: &TaggedRow) -> Answer {
        if example.labels.iter().all(|label| *label == IGNORED) { Answer::Missing } else { Answer::Given }
    }

    fn is_truncated(&self, example: &TaggedRow) -> Option<bool> {
        Some(example.row.truncated)
    }

    fn repeats(&self) -> bool {
        true
    }
}
