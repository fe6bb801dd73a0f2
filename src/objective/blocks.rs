use super::{Batch, ByDocument, Draws, Objective};
use crate::backbone::TextInput;
use crate::data::{DataError, TokenBlock, TokenFile, TokenRow};
use crate::random::mix;
use burn::tensor::Device;
use std::sync::Arc;

/// An objective whose examples are blocks of a [`TokenFile`]: memory stays flat, however long the text is.
///
/// A block is read as one text, whatever documents are in it, as nanoGPT reads; [`by_document`](Self::by_document) parts
/// them.
#[derive(Clone, Debug)]
pub struct Blocks<O> {
    objective: O,
    file: Arc<TokenFile>,
    by_document: bool,
}

impl<O> Blocks<O> {
    /// What `objective` makes of blocks of this file.
    pub fn new(objective: O, file: Arc<TokenFile>) -> Self {
        Self { objective, file, by_document: false }
    }

    /// Each document of a block sees itself alone, its positions begin at 0, and nothing is predicted across borders.
    pub fn by_document(mut self) -> Self {
        self.by_document = true;
        self
    }

    /// The file.
    pub fn file(&self) -> &TokenFile {
        &self.file
    }

    fn documents(&self, block: TokenBlock) -> Result<Vec<TokenRow>, DataError> {
        match self.by_document {
            true => self.file.rows(block),
            false => Ok(vec![TokenRow { ids: self.file.ids(block)?, ..TokenRow::default() }]),
        }
    }
}

impl<O: ByDocument> Objective for Blocks<O> {
    type Example = TokenBlock;
    type Input = TextInput;
    type Targets = O::Targets;

    fn batch(
        &self,
        examples: &[&TokenBlock],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, O::Targets>, DataError> {
        let rows = examples.iter().map(|block| self.documents(**block));
        let rows: Vec<Vec<TokenRow>> = rows.collect::<Result<_, _>>()?;
        match self.by_document {
            true => self.objective.packed_batch(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), draws, device),
            false => self.objective.batch(&rows.iter().flatten().collect::<Vec<_>>(), draws, device),
        }
    }

    fn length(&self, example: &TokenBlock) -> usize {
        example.length
    }

    fn fingerprint(&self, example: &TokenBlock) -> u64 {
        let place = [example.start, example.length].map(|number| number as u64);
        let settings = self.objective.fingerprint(&TokenRow::default());
        mix(&[self.file.fingerprint(), place[0], place[1], u64::from(self.by_document), settings])
    }

    fn is_truncated(&self, _example: &TokenBlock) -> Option<bool> {
        Some(false)
    }

    fn repeats(&self) -> bool {
        self.objective.repeats()
    }
}
