use super::{Batch, Draws, Objective};
use crate::backbone::TextInput;
use crate::data::{DataError, PackedRow, TokenRow};
use crate::random::mix;
use burn::tensor::Device;

/// An objective of documents that can make rows of several.
pub trait ByDocument: Objective<Example = TokenRow, Input = TextInput> {
    /// Makes a batch whose rows hold these documents one after the other, so that each is trained as if it had a row of its
    /// own: it sees itself alone, its positions begin at 0, and nothing is predicted across a border.
    ///
    /// # Errors
    /// As [`Objective::batch`].
    fn packed_batch(
        &self,
        rows: &[&[TokenRow]],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Self::Targets>, DataError>;
}

/// An objective whose examples are [`PackedRow`]s: documents that [`pack`](crate::data::pack) put together, so that next to
/// nothing is padded and every batch has as many tokens. Summed losses and gradients are those of the documents in rows of
/// their own; only dropout and the choice of masked tokens fall otherwise.
///
/// A batch of so many rows holds the documents of several unpacked batches: it wants a learning rate to match.
#[derive(Clone, Debug)]
pub struct Packed<O> {
    objective: O,
}

impl<O> Packed<O> {
    /// What `objective` makes of documents, in shared rows.
    pub fn new(objective: O) -> Self {
        Self { objective }
    }

    /// The objective of single documents.
    pub fn inner(&self) -> &O {
        &self.objective
    }
}

impl<O: ByDocument> Objective for Packed<O> {
    type Example = PackedRow;
    type Input = TextInput;
    type Targets = O::Targets;

    fn batch(
        &self,
        examples: &[&PackedRow],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, O::Targets>, DataError> {
        let rows: Vec<&[TokenRow]> = examples.iter().map(|row| row.documents.as_slice()).collect();
        self.objective.packed_batch(&rows, draws, device)
    }

    fn length(&self, example: &PackedRow) -> usize {
        example.len()
    }

    fn documents(&self, example: &PackedRow) -> Vec<usize> {
        example.documents.iter().map(TokenRow::len).collect()
    }

    fn fingerprint(&self, example: &PackedRow) -> u64 {
        let documents = example.documents.iter().map(|document| self.objective.fingerprint(document));
        mix(&documents.collect::<Vec<_>>())
    }

    fn input_fingerprint(&self, example: &PackedRow) -> Option<u64> {
        let documents = example.documents.iter().map(|document| self.objective.input_fingerprint(document));
        Some(mix(&documents.collect::<Option<Vec<_>>>()?))
    }

    fn is_truncated(&self, example: &PackedRow) -> Option<bool> {
        let documents = example.documents.iter().map(|document| self.objective.is_truncated(document));
        Some(documents.collect::<Option<Vec<_>>>()?.contains(&true))
    }

    fn repeats(&self) -> bool {
        self.objective.repeats()
    }
}
