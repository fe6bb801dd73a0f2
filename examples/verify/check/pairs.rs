//! What encoder-decoders were given.

use super::Result;
use super::inputs::{Inputs, SOUND, data};
use burn::tensor::{Device, Int, Tensor};
use rekindle::backbone::{MaskedIds, Seq2SeqInput, SpeechInput};

impl Inputs {
    /// Source and target of some rows.
    pub(crate) fn pair(&self, rows: &[usize], device: &Device) -> Result<Seq2SeqInput> {
        let source = self.masked(self.int("input_ids", rows, device)?, "attention_mask", rows, device)?;
        let target = self.target(Some(&source), rows, device)?;
        Ok(Seq2SeqInput { source, target })
    }

    /// Sound and target of some rows.
    pub(crate) fn speech(&self, rows: &[usize], device: &Device) -> Result<SpeechInput> {
        let features = Tensor::from_data(data::<3, f32>(self.sound.as_ref(), SOUND, rows)?, device);
        Ok(SpeechInput { features, target: self.target(None, rows, device)? })
    }

    /// What the decoder reads of some rows, as Transformers' classes choose it: the decoder's input where the file has one,
    /// else the labels one place late where each token has one, else the source one place late.
    pub(crate) fn target(&self, source: Option<&MaskedIds>, rows: &[usize], device: &Device) -> Result<MaskedIds> {
        let shift = |ids: Tensor<2, Int>| {
            let start = self.start.ok_or("config.json lacks decoder_start_token_id or pad_token_id")?;
            Ok::<_, Box<dyn std::error::Error>>(start.shift(ids))
        };
        let ids = match source {
            _ if self.has("decoder_input_ids") => self.int("decoder_input_ids", rows, device)?,
            _ if self.rank("labels") == Some(2) => shift(self.int("labels", rows, device)?)?,
            Some(source) => shift(source.ids.clone())?,
            None => return Err("inputs.safetensors has neither `decoder_input_ids` nor `labels`".into()),
        };
        self.masked(ids, "decoder_attention_mask", rows, device)
    }

    /// Ids with the mask of this name, or all of them real.
    fn masked(&self, ids: Tensor<2, Int>, mask: &str, rows: &[usize], device: &Device) -> Result<MaskedIds> {
        let mask = if self.has(mask) { self.int(mask, rows, device)? } else { ids.ones_like() };
        Ok(MaskedIds { ids, mask: mask.equal_elem(1) })
    }
}
