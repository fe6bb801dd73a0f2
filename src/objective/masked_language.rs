use super::{Batch, ByDocument, Draws, Objective, hash_row, text_input};
use crate::backbone::TextInput;
use crate::data::{DataError, TextTokenizer, TokenRow, pad_documents, pad_rows};
use crate::head::MaskedTargets;
use crate::random::mix;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};

/// How tokens are masked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Masking {
    /// The share of tokens to predict (`mlm_probability`).
    pub probability: f64,
    /// Mask all tokens of a word together.
    pub whole_word: bool,
}

impl Default for Masking {
    fn default() -> Self {
        Self { probability: 0.15, whole_word: false }
    }
}

/// Masked language modelling ([Devlin et al., 2019](https://arxiv.org/abs/1810.04805)): of the chosen tokens 80 % become
/// the mask token, 10 % a random one, 10 % stay. Special tokens are never chosen; a row with any other token has at
/// least one chosen.
#[derive(Clone, Debug)]
pub struct MaskedLanguage {
    masking: Masking,
    pad_id: u32,
    mask_id: u32,
    special: Vec<u32>,
    replacements: Vec<u32>,
}

impl MaskedLanguage {
    /// Takes the special ids and the vocabulary from the tokenizer.
    ///
    /// # Errors
    /// [`DataError`] if the tokenizer has no mask or padding token, or the probability is outside 0..=1.
    pub fn new(tokenizer: &TextTokenizer, masking: Masking) -> Result<Self, DataError> {
        if !(masking.probability > 0.0 && masking.probability <= 1.0) {
            return Err(DataError::BadMasking { probability: masking.probability });
        }
        let (pad_id, mask_id) = (tokenizer.require_pad_id()?, tokenizer.require_mask_id()?);
        let special = tokenizer.special_ids();
        let replacements = (0..tokenizer.vocab_size() as u32).filter(|id| !special.contains(id)).collect();
        Ok(Self { masking, pad_id, mask_id, special, replacements })
    }

    /// Masks a row in place; gives the chosen places and the ids that stood there.
    fn mask(&self, row: &mut TokenRow, rng: &mut ChaCha8Rng) -> Vec<(usize, u32)> {
        let units = self.units(row);
        let mut chosen: Vec<&Vec<usize>> = units.iter().filter(|_| rng.random_bool(self.masking.probability)).collect();
        if chosen.is_empty() && !units.is_empty() {
            chosen.push(&units[rng.random_range(0..units.len())]);
        }
        let mut masked = vec![];
        for place in chosen.into_iter().flatten().copied() {
            masked.push((place, row.ids[place]));
            row.ids[place] = self.replacement(row.ids[place], rng);
        }
        masked
    }

    /// Masks rows that hold documents one after the other, each document by itself, in place.
    fn targets(&self, rows: &mut [Vec<TokenRow>], draws: &Draws, device: &Device) -> Result<MaskedTargets, DataError> {
        let length = |row: &Vec<TokenRow>| row.iter().map(TokenRow::len).sum();
        let seq: usize = rows.iter().map(length).max().unwrap_or(0);
        let (mut at, mut tokens) = (vec![], vec![]);
        for (index, row) in rows.iter_mut().enumerate() {
            let (mut start, mut rng) = (index * seq, draws.stream(index));
            for document in row {
                for (place, id) in self.mask(document, &mut rng) {
                    at.push((start + place) as i64);
                    tokens.push(i64::from(id));
                }
                start += document.len();
            }
        }
        if at.is_empty() {
            return Err(DataError::NothingToMask { rows: rows.len() });
        }
        let count = [at.len()];
        Ok(MaskedTargets {
            at: Tensor::from_data(TensorData::new(at, count), device),
            tokens: Tensor::from_data(TensorData::new(tokens, count), device),
        })
    }

    /// What is masked together: the places of a word, or single places.
    fn units(&self, row: &TokenRow) -> Vec<Vec<usize>> {
        let mut units: Vec<Vec<usize>> = vec![];
        let mut last = None;
        // A text may hold special tokens too: what the vocabulary cannot spell, or their names written out.
        let maskable =
            |place: &usize| row.special.get(*place) != Some(&true) && !self.special.contains(&row.ids[*place]);
        for place in (0..row.len()).filter(maskable) {
            let word = row.word_ids.get(place).copied().flatten().filter(|_| self.masking.whole_word);
            match (units.last_mut(), word) {
                (Some(unit), Some(_)) if word == last => unit.push(place),
                _ => units.push(vec![place]),
            }
            last = word;
        }
        units
    }

    fn replacement(&self, id: u32, rng: &mut ChaCha8Rng) -> u32 {
        match rng.next_u64() % 10 {
            0..8 => self.mask_id,
            8 if !self.replacements.is_empty() => self.replacements[rng.random_range(0..self.replacements.len())],
            _ => id,
        }
    }
}

impl Objective for MaskedLanguage {
    type Example = TokenRow;
    type Input = TextInput;
    type Targets = MaskedTargets;

    fn batch(
        &self,
        examples: &[&TokenRow],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, MaskedTargets>, DataError> {
        let mut rows: Vec<Vec<TokenRow>> = examples.iter().map(|row| vec![(*row).clone()]).collect();
        let targets = self.targets(&mut rows, draws, device)?;
        let padded = pad_rows(&rows.iter().flatten().collect::<Vec<_>>(), self.pad_id);
        Ok(Batch { input: text_input(padded, device), targets })
    }

    fn length(&self, example: &TokenRow) -> usize {
        example.len()
    }

    fn fingerprint(&self, example: &TokenRow) -> u64 {
        let Masking { probability, whole_word } = self.masking;
        mix(&[hash_row(example), probability.to_bits(), u64::from(whole_word)])
    }

    fn input_fingerprint(&self, example: &TokenRow) -> Option<u64> {
        Some(hash_row(example))
    }

    fn is_truncated(&self, example: &TokenRow) -> Option<bool> {
        Some(example.truncated)
    }
}

impl ByDocument for MaskedLanguage {
    fn packed_batch(
        &self,
        rows: &[&[TokenRow]],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, MaskedTargets>, DataError> {
        let mut rows: Vec<Vec<TokenRow>> = rows.iter().map(|row| row.to_vec()).collect();
        let targets = self.targets(&mut rows, draws, device)?;
        let padded = pad_documents(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), self.pad_id);
        Ok(Batch { input: text_input(padded, device), targets })
    }
}
