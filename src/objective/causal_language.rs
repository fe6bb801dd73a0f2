use super::{Batch, ByDocument, Draws, Objective, hash_row, text_input};
use crate::backbone::TextInput;
use crate::data::{DataError, PaddedRows, TextTokenizer, TokenRow, pad_documents, pad_rows};
use crate::head::IGNORED;
use crate::random::mix;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Causal language modelling: a decoder reads a document and says at each place which token comes next, for a
/// [`CausalLm`](crate::head::CausalLm). The first token of a document is not predicted, and padding counts nothing.
#[derive(Clone, Copy, Debug)]
pub struct CausalLanguage {
    pad_id: u32,
    completion_only: bool,
}

impl CausalLanguage {
    /// Short rows are filled with the tokenizer's padding token, or with token 0 where it has none, as decoders' tokenizers
    /// often do: nothing reads it.
    pub fn new(tokenizer: &TextTokenizer) -> Self {
        Self::filled_with(tokenizer.pad_id().unwrap_or(0))
    }

    /// Short rows are filled with `pad_id`, any token of the network.
    pub fn filled_with(pad_id: u32) -> Self {
        Self { pad_id, completion_only: false }
    }

    /// Of pairs of a prompt and its completion ([`TextTokenizer::encode_pairs`]) the tokens of the prompt are read, but not
    /// predicted: those whose segment id is not 1, as the frame around them.
    pub fn completion_only(mut self) -> Self {
        self.completion_only = true;
        self
    }

    fn label(&self, document: &TokenRow, place: usize) -> i64 {
        let completes = !self.completion_only || document.type_ids.get(place) == Some(&1);
        if place > 0 && completes { i64::from(document.ids[place]) } else { IGNORED }
    }

    /// Labels of rows that hold documents one after the other and are padded.
    fn batch_of(
        &self,
        rows: &[&[TokenRow]],
        padded: PaddedRows,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<2, Int>>, DataError> {
        let mut labels = Vec::with_capacity(padded.ids.len());
        for (index, row) in rows.iter().enumerate() {
            for document in *row {
                labels.extend((0..document.len()).map(|place| self.label(document, place)));
            }
            labels.resize((index + 1) * padded.seq, IGNORED);
        }
        if labels.iter().all(|label| *label == IGNORED) {
            return Err(DataError::NothingToPredict { rows: rows.len() });
        }
        let targets = Tensor::from_data(TensorData::new(labels, [padded.rows, padded.seq]), device);
        Ok(Batch { input: text_input(padded, device), targets })
    }
}

impl Objective for CausalLanguage {
    type Example = TokenRow;
    type Input = TextInput;
    type Targets = Tensor<2, Int>;

    fn batch(
        &self,
        examples: &[&TokenRow],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<2, Int>>, DataError> {
        let rows: Vec<&[TokenRow]> = examples.iter().map(|row| std::slice::from_ref(*row)).collect();
        self.batch_of(&rows, pad_rows(examples, self.pad_id), device)
    }

    fn length(&self, example: &TokenRow) -> usize {
        example.len()
    }

    fn fingerprint(&self, example: &TokenRow) -> u64 {
        mix(&[hash_row(example), u64::from(self.completion_only)])
    }

    fn input_fingerprint(&self, example: &TokenRow) -> Option<u64> {
        Some(hash_row(example))
    }

    fn is_truncated(&self, example: &TokenRow) -> Option<bool> {
        Some(example.truncated)
    }

    fn repeats(&self) -> bool {
        true
    }
}

impl ByDocument for CausalLanguage {
    fn packed_batch(
        &self,
        rows: &[&[TokenRow]],
        _draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<2, Int>>, DataError> {
        self.batch_of(rows, pad_documents(rows, self.pad_id), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ids: &[u32], type_ids: &[u32]) -> TokenRow {
        TokenRow { ids: ids.to_vec(), type_ids: type_ids.to_vec(), ..TokenRow::default() }
    }

    fn labels(targets: Tensor<2, Int>) -> Vec<i64> {
        targets.into_data().iter::<i64>().collect()
    }

    #[test]
    fn what_begins_a_document_and_padding_are_not_predicted() {
        let (device, draws) = (crate::nn::test_device(), Draws::new(0, 0, &[0, 1]));
        let (long, short) = (row(&[5, 6, 7], &[]), row(&[8, 9], &[]));
        let objective = CausalLanguage::filled_with(4);
        let batch = objective.batch(&[&long, &short], &draws, &device).expect("tokens");
        assert_eq!(labels(batch.targets), [IGNORED, 6, 7, IGNORED, 9, IGNORED]);
        assert_eq!(labels(batch.input.ids), [5, 6, 7, 8, 9, 4]);
        let packed = objective.packed_batch(&[&[long, short]], &draws, &device).expect("tokens");
        assert_eq!(labels(packed.targets), [IGNORED, 6, 7, IGNORED, 9]);
        assert_eq!(packed.input.documents.map(labels), Some(vec![1, 1, 1, 2, 2]));
    }

    #[test]
    fn a_prompt_is_read_but_not_predicted() {
        let (device, draws) = (crate::nn::test_device(), Draws::new(0, 0, &[0]));
        let (pair, prompt) = (row(&[5, 6, 7, 8], &[0, 0, 1, 1]), row(&[5, 6], &[0, 0]));
        let objective = CausalLanguage::filled_with(0).completion_only();
        let batch = objective.batch(&[&pair], &draws, &device).expect("a completion");
        assert_eq!(labels(batch.targets), [IGNORED, IGNORED, 7, 8]);
        assert_ne!(objective.fingerprint(&pair), CausalLanguage::filled_with(0).fingerprint(&pair));
        for row in [prompt, self::row(&[5], &[1])] {
            let error = objective.batch(&[&row], &draws, &device).expect_err("nothing to predict");
            assert!(matches!(error, DataError::NothingToPredict { rows: 1 }));
        }
    }
}
