use super::{Answer, Batch, Draws, Objective};
use crate::backbone::{DecoderStart, MaskedIds, Seq2SeqInput, TextInput};
use crate::data::DataError;
use burn::tensor::Device;

/// An objective of texts for an encoder-decoder: both sides read the text, the decoder one place late, as BART and T5
/// classify a text and find spans in it. Segment ids are not read.
#[derive(Clone, Debug)]
pub struct Mirrored<O> {
    objective: O,
    start: DecoderStart,
}

impl<O> Mirrored<O> {
    /// What `objective` makes of examples, for a decoder that begins with `start`.
    pub fn new(objective: O, start: DecoderStart) -> Self {
        Self { objective, start }
    }

    /// The objective of texts.
    pub fn inner(&self) -> &O {
        &self.objective
    }
}

impl<O: Objective<Input = TextInput>> Objective for Mirrored<O> {
    type Example = O::Example;
    type Input = Seq2SeqInput;
    type Targets = O::Targets;

    fn batch(
        &self,
        examples: &[&O::Example],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<Seq2SeqInput, O::Targets>, DataError> {
        let Batch { input, targets } = self.objective.batch(examples, draws, device)?;
        let TextInput { ids, mask, documents, .. } = input;
        if documents.is_some() {
            return Err(DataError::Packed);
        }
        Ok(Batch { input: Seq2SeqInput::mirrored(MaskedIds { ids, mask }, self.start), targets })
    }

    fn length(&self, example: &O::Example) -> usize {
        self.objective.length(example)
    }

    fn fingerprint(&self, example: &O::Example) -> u64 {
        self.objective.fingerprint(example)
    }

    fn input_fingerprint(&self, example: &O::Example) -> Option<u64> {
        self.objective.input_fingerprint(example)
    }

    fn answer(&self, example: &O::Example) -> Answer {
        self.objective.answer(example)
    }

    fn class_names(&self) -> Vec<String> {
        self.objective.class_names()
    }

    fn is_truncated(&self, example: &O::Example) -> Option<bool> {
        self.objective.is_truncated(example)
    }

    fn repeats(&self) -> bool {
        self.objective.repeats()
    }
}
