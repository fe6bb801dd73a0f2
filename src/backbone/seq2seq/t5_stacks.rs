//! T5's encoder and decoder.

use super::relative::RelativeBias;
use super::t5_block::{DecoderBlock, EncoderBlock, norm};
use super::table::Side;
use super::{Memory, T5Config};
use crate::nn::{Dropout, Init, RmsNorm};
use burn::module::Module;
use burn::tensor::{Bool, Tensor};

#[derive(Module, Debug)]
pub(super) struct EncoderStack {
    pub(super) block: Vec<EncoderBlock>,
    ends: Ends,
}

impl EncoderStack {
    pub(super) fn new(config: &T5Config, init: &mut Init) -> Self {
        Self {
            block: (0..config.num_layers).map(|_| EncoderBlock::new(config, init)).collect(),
            ends: Ends::new(config, true, init),
        }
    }

    pub(super) fn side(&self) -> Side<'static> {
        Side {
            name: "encoder",
            embeddings: &["shared", "encoder.ends.embed_dropout"],
            layers: "encoder.block",
            count: self.block.len(),
            shared: Some("encoder.ends.positions"),
            norm: Some("encoder.ends.last"),
        }
    }

    /// What the blocks begin with.
    pub(super) fn begin(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.ends.embed_dropout.forward(hidden)
    }

    /// Block `index`; what comes in goes out where there is none.
    pub(super) fn block(&self, index: usize, hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let Some(block) = self.block.get(index) else { return hidden };
        let bias = self.ends.positions.forward(hidden.dims()[1]);
        self.ends.last(index + 1, self.block.len(), block.forward(hidden, mask, bias))
    }
}

#[derive(Module, Debug)]
pub(super) struct DecoderStack {
    pub(super) block: Vec<DecoderBlock>,
    ends: Ends,
}

impl DecoderStack {
    pub(super) fn new(config: &T5Config, init: &mut Init) -> Self {
        let blocks = (0..config.decoder_layers()).map(|_| DecoderBlock::new(config, init)).collect();
        Self { block: blocks, ends: Ends::new(config, false, init) }
    }

    pub(super) fn side(&self) -> Side<'static> {
        Side {
            name: "decoder",
            embeddings: &["shared", "decoder.ends.embed_dropout"],
            layers: "decoder.block",
            count: self.block.len(),
            shared: Some("decoder.ends.positions"),
            norm: Some("decoder.ends.last"),
        }
    }

    /// What the blocks begin with.
    pub(super) fn begin(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.ends.embed_dropout.forward(hidden)
    }

    /// Block `index`; what comes in goes out where there is none.
    pub(super) fn block(&self, index: usize, hidden: Tensor<3>, mask: &Tensor<2, Bool>, memory: &Memory) -> Tensor<3> {
        let Some(block) = self.block.get(index) else { return hidden };
        let bias = self.ends.positions.forward(hidden.dims()[1]);
        self.ends.last(index + 1, self.block.len(), block.forward(hidden, mask, memory, bias))
    }
}

/// What a side has besides its blocks.
#[derive(Module, Debug)]
struct Ends {
    embed_dropout: Dropout,
    /// Every block reads it; files keep it with the first.
    positions: RelativeBias,
    last: Last,
}

/// What follows the last block.
#[derive(Module, Debug)]
struct Last {
    final_layer_norm: RmsNorm,
    dropout: Dropout,
}

impl Ends {
    fn new(config: &T5Config, both_ways: bool, init: &mut Init) -> Self {
        let deviation = config.initializer_factor * (config.d_model as f64).powf(-0.5);
        let dropout = || Dropout::new(config.dropout_rate);
        Self {
            embed_dropout: dropout(),
            positions: RelativeBias::new(config, both_ways, init.deviating(deviation)),
            last: Last { final_layer_norm: norm(config, init), dropout: dropout() },
        }
    }

    /// The norm, after as many blocks as there are.
    fn last(&self, done: usize, blocks: usize, hidden: Tensor<3>) -> Tensor<3> {
        match done == blocks {
            true => self.last.dropout.forward(self.last.final_layer_norm.forward(hidden)),
            false => hidden,
        }
    }
}
