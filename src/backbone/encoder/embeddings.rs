//! The embeddings of BERT and its kin: tables of tokens, positions and segments, added up and normalised.

use crate::backbone::{InputError, TextInput};
use crate::nn::{Dropout, Embedding, Init, LayerNorm};
use burn::module::Module;
use burn::tensor::{Int, Tensor};

/// What [`Embeddings`] are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct EmbeddingsConfig {
    pub(super) width: usize,
    pub(super) vocabulary: usize,
    pub(super) positions: usize,
    /// Segments; 0 where there is no table of them.
    pub(super) types: usize,
    /// The token whose look-up adds nothing to the gradient.
    pub(super) padding: Option<usize>,
    /// The position whose look-up adds nothing to the gradient.
    pub(super) padding_position: Option<usize>,
    pub(super) epsilon: f64,
    pub(super) dropout: f64,
}

#[derive(Module, Debug)]
pub(super) struct Embeddings {
    pub(super) word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Option<Embedding>,
    norm: LayerNorm,
    dropout: Dropout,
}

impl Embeddings {
    pub(super) fn new(config: EmbeddingsConfig, init: &mut Init) -> Self {
        let EmbeddingsConfig { width, vocabulary, positions, types, .. } = config;
        Self {
            word_embeddings: init.embedding(vocabulary, width, config.padding),
            position_embeddings: init.embedding(positions, width, config.padding_position),
            token_type_embeddings: (types > 0).then(|| init.embedding(types, width, None)),
            norm: LayerNorm::new(width, config.epsilon, init.device()),
            dropout: Dropout::new(config.dropout),
        }
    }

    /// The same tables with other positions, `[positions, width]`.
    pub(super) fn with_positions(mut self, positions: Tensor<2>) -> Self {
        self.position_embeddings = Embedding::new(positions, None);
        self
    }

    /// Segments; 0 where there is no table of them.
    pub(super) fn types(&self) -> usize {
        self.token_type_embeddings.as_ref().map_or(0, |table| table.weight.dims()[0])
    }

    /// Whether the tables have an entry for each id, and `max_length` positions suffice.
    pub(super) fn check(&self, input: &TextInput, max_length: usize) -> Result<(), InputError> {
        check_tokens(&self.word_embeddings, input, max_length)?;
        self.check_types(input)
    }

    /// As [`check`](Self::check), of rows that may be packed: the positions must suffice for each document.
    pub(super) fn check_documents(&self, input: &TextInput, max_length: usize) -> Result<(), InputError> {
        check_documents(&self.word_embeddings, input, max_length)?;
        self.check_types(input)
    }

    fn check_types(&self, input: &TextInput) -> Result<(), InputError> {
        match self.types() {
            0 => Ok(()),
            types => InputError::check_ids("segment", &input.type_ids, types),
        }
    }

    /// `[batch, seq, width]`; `positions` is `[batch, seq]`, or `[1, seq]` where they are those of every row.
    pub(super) fn forward(
        &self,
        ids: Tensor<2, Int>,
        type_ids: Tensor<2, Int>,
        positions: Tensor<2, Int>,
    ) -> Tensor<3> {
        let mut sum = self.word_embeddings.forward(ids);
        if let Some(table) = &self.token_type_embeddings {
            sum = sum + table.forward(type_ids);
        }
        self.dropout.forward(self.norm.forward(sum + self.position_embeddings.forward(positions)))
    }
}

/// Whether a table has an entry for each token, and `max_length` positions suffice.
pub(super) fn check_tokens(table: &Embedding, input: &TextInput, max_length: usize) -> Result<(), InputError> {
    InputError::check_shapes(input)?;
    InputError::check_length(&input.ids, max_length)?;
    InputError::check_ids("token", &input.ids, table.weight.dims()[0])
}

/// As [`check_tokens`], of rows that may be packed: `max_length` positions must suffice for each document.
pub(super) fn check_documents(table: &Embedding, input: &TextInput, max_length: usize) -> Result<(), InputError> {
    InputError::check_documents(input, max_length)?;
    InputError::check_ids("token", &input.ids, table.weight.dims()[0])
}

/// Positions of ids `[batch, seq]` as RoBERTa counts them: real tokens from `padding + 1`, padding stays at `padding`.
pub(super) fn counted_past(padding: usize, ids: &Tensor<2, Int>) -> Tensor<2, Int> {
    let real = ids.clone().not_equal_elem(padding as i64).int();
    real.clone().cumsum(1) * real + padding as i64
}
