//! Encoder and decoder of BART and Marian.

use super::layer::{DecoderLayer, EPSILON, EncoderLayer};
use super::positions::Positions;
use super::{BartConfig, Memory};
use crate::nn::{Buffer, Dropout, Embedding, Init, LayerNorm};
use burn::module::Module;
use burn::tensor::{Bool, Int, Tensor};

#[derive(Module, Debug)]
pub(super) struct Encoder {
    pub(super) embeddings: Embeddings,
    pub(super) layers: Vec<EncoderLayer>,
}

impl Encoder {
    pub(super) fn new(config: &BartConfig, init: &mut Init) -> Self {
        let layer = config.encoder_layer();
        Self {
            embeddings: Embeddings::new(config, init),
            layers: (0..config.encoder_layers).map(|_| EncoderLayer::new(&layer, init)).collect(),
        }
    }

    /// Layer `index`; what comes in goes out where there is none.
    pub(super) fn layer(&self, index: usize, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        match self.layers.get(index) {
            Some(layer) => layer.forward(hidden, mask),
            None => hidden,
        }
    }
}

#[derive(Module, Debug)]
pub(super) struct Decoder {
    pub(super) embeddings: Embeddings,
    pub(super) layers: Vec<DecoderLayer>,
}

impl Decoder {
    pub(super) fn new(config: &BartConfig, init: &mut Init) -> Self {
        let layer = config.decoder_layer();
        Self {
            embeddings: Embeddings::new(config, init),
            layers: (0..config.decoder_layers).map(|_| DecoderLayer::new(&layer, init)).collect(),
        }
    }

    /// Layer `index`; what comes in goes out where there is none.
    pub(super) fn layer(&self, index: usize, hidden: Tensor<3>, mask: &Tensor<2, Bool>, memory: &Memory) -> Tensor<3> {
        match self.layers.get(index) {
            Some(layer) => layer.forward(hidden, mask, memory),
            None => hidden,
        }
    }
}

/// The tables of tokens: one for both sides, or one for each.
#[derive(Module, Debug)]
pub(super) enum Tokens {
    Shared(Embedding),
    Separate(Separate),
}

#[derive(Module, Debug)]
pub(super) struct Separate {
    encoder: Embedding,
    decoder: Embedding,
    /// A third table that files then still hold and nothing reads.
    unread: Option<Buffer<2>>,
}

impl Tokens {
    pub(super) fn new(config: &BartConfig, init: &mut Init) -> Self {
        let mut table = |entries| init.embedding(entries, config.d_model, config.pad_token_id);
        if config.has_one_table() {
            return Self::Shared(table(config.vocab_size));
        }
        let (encoder, decoder) = (table(config.vocab_size), table(config.target_vocab_size()));
        let unread = || Buffer::new(Tensor::zeros([config.vocab_size, config.d_model], init.device()));
        Self::Separate(Separate { encoder, decoder, unread: config.has_unread_table().then(unread) })
    }

    pub(super) fn source(&self) -> &Embedding {
        match self {
            Self::Shared(table) => table,
            Self::Separate(tables) => &tables.encoder,
        }
    }

    pub(super) fn target(&self) -> &Embedding {
        match self {
            Self::Shared(table) => table,
            Self::Separate(tables) => &tables.decoder,
        }
    }

    /// What the embeddings of a side read; the unread table goes with the encoder's.
    pub(super) fn paths(&self, side: &str) -> Vec<&'static str> {
        match (self, side) {
            (Self::Shared(_), "encoder") => vec!["encoder.embeddings", "embed_tokens"],
            (Self::Shared(_), _) => vec!["decoder.embeddings", "embed_tokens"],
            (Self::Separate(Separate { unread: Some(_), .. }), "encoder") => {
                vec!["encoder.embeddings", "embed_tokens.encoder", "embed_tokens.unread"]
            }
            (Self::Separate(_), "encoder") => vec!["encoder.embeddings", "embed_tokens.encoder"],
            (Self::Separate(_), _) => vec!["decoder.embeddings", "embed_tokens.decoder"],
        }
    }
}

/// What comes before the layers of a side.
#[derive(Module, Debug)]
pub(super) struct Embeddings {
    embed_positions: Positions,
    /// BART has it, Marian has not.
    layernorm_embedding: Option<LayerNorm>,
    dropout: Dropout,
    scale: f64,
    /// Entries of the position table before the first position.
    offset: usize,
}

impl Embeddings {
    fn new(config: &BartConfig, init: &mut Init) -> Self {
        let (hidden, positions) = (config.d_model, config.max_position_embeddings);
        let is_marian = config.is_marian();
        let offset = if is_marian { 0 } else { BART_OFFSET };
        Self {
            embed_positions: match is_marian {
                true => Positions::marian(positions, hidden, init.device()),
                false => Positions::learned(positions + offset, hidden, init),
            },
            layernorm_embedding: (!is_marian).then(|| LayerNorm::new(hidden, EPSILON, init.device())),
            dropout: Dropout::new(config.dropout),
            scale: if config.scale_embedding { (hidden as f64).sqrt() } else { 1.0 },
            offset,
        }
    }

    /// `[batch, seq]` to `[batch, seq, hidden]`, with the side's table of tokens.
    pub(super) fn forward(&self, table: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, seq] = ids.dims();
        let tokens = table.forward(ids);
        let tokens = if self.scale == 1.0 { tokens } else { tokens * self.scale };
        let sum = tokens + self.embed_positions.range(self.offset, seq);
        let sum = match &self.layernorm_embedding {
            Some(norm) => norm.forward(sum),
            None => sum,
        };
        self.dropout.forward(sum)
    }
}

/// The first two entries of BART's position tables stand for nothing: fairseq counted positions past the padding id.
const BART_OFFSET: usize = 2;
