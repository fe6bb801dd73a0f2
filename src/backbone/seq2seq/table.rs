//! The stages of an encoder-decoder: the encoder's, and then the decoder's, which begin anew from the input.

use crate::backbone::Stages;

/// One side's stages: embeddings and layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    /// `encoder` or `decoder`.
    pub(super) name: &'a str,
    /// What its embeddings read.
    pub(super) embeddings: &'a [&'a str],
    /// Where its layers are.
    pub(super) layers: &'a str,
    pub(super) count: usize,
    /// What every layer reads besides its own parameters.
    pub(super) shared: Option<&'a str>,
    /// The norm after its last layer, which belongs to the same stage.
    pub(super) norm: Option<&'a str>,
}

/// The stages of both sides. Each layer of the decoder reads what the encoder's last stage made.
pub(super) fn stages(encoder: Side<'_>, decoder: Side<'_>) -> Stages {
    decoder.add(encoder.add(Stages::new(), &[], None), &[0], Some(encoder.count))
}

impl Side<'_> {
    pub(super) fn add(self, stages: Stages, reads: &[usize], memory: Option<usize>) -> Stages {
        let embedded = stages.stage_of(format!("{}.embeddings", self.name), self.embeddings, reads);
        let layered = (0..self.count).fold(embedded, |stages, index| {
            let stages = stages.stage(format!("{}.{index}", self.layers));
            let stages = self.shared.into_iter().fold(stages, Stages::also);
            memory.into_iter().fold(stages, Stages::also_reads)
        });
        self.norm.into_iter().fold(layered, Stages::also)
    }
}

/// Where a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The encoder's layer of this index.
    Encoder(usize),
    /// The decoder's embeddings.
    Target,
    /// The decoder's layer of this index.
    Decoder(usize),
}

impl Place {
    /// Of stage `index`, one of `1..`, after `layers` of the encoder.
    pub(super) fn of(index: usize, layers: usize) -> Self {
        match index.checked_sub(layers + 1) {
            None => Self::Encoder(index.saturating_sub(1)),
            Some(0) => Self::Target,
            Some(past) => Self::Decoder(past - 1),
        }
    }

    /// What a stage of `width` mixes of a source and a target of `seq` places each: queries with keys and probabilities with
    /// values, two operations for each pair of places and each feature.
    pub(super) fn mixing_operations(self, seq: usize, width: usize) -> f64 {
        let pairs = 4.0 * (seq * seq * width) as f64;
        match self {
            Self::Encoder(_) => pairs,
            Self::Target => 0.0,
            // It looks back, and then at the source.
            Self::Decoder(_) => 2.0 * pairs,
        }
    }
}
