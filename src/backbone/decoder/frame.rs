use crate::backbone::{InputError, Pooling, TextInput, TextState, last_real};
use burn::tensor::{Int, Tensor};

/// What a decoder is besides its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) pooling: Pooling,
    /// `pad_token_id`.
    pub(super) padding: Option<i64>,
    /// What embeddings are multiplied by.
    pub(super) scale: Option<f64>,
}

impl Frame {
    /// Whether a network with a table of `vocabulary` tokens, and one of `positions` if any, can read and pool `input`.
    pub(super) fn check(
        &self,
        input: &TextInput,
        vocabulary: usize,
        positions: Option<usize>,
    ) -> Result<(), InputError> {
        InputError::check_documents(input, positions.unwrap_or(usize::MAX))?;
        InputError::check_ids("token", &input.ids, vocabulary)?;
        match self.pooling {
            Pooling::LastToken => self.check_padding(input),
            _ => Ok(()),
        }
    }

    fn check_padding(&self, input: &TextInput) -> Result<(), InputError> {
        let [rows, seq] = input.ids.dims();
        if self.padding.is_none() && rows > 1 {
            return Err(InputError::NoPaddingToken { rows });
        }
        let real: Vec<bool> = input.mask.to_data().iter::<bool>().collect();
        let last: Vec<i64> = self.last_token(&input.ids).into_data().iter::<i64>().collect();
        let padded = last.iter().enumerate().find(|(row, place)| !real[row * seq + **place as usize]);
        padded.map_or(Ok(()), |(row, _)| Err(InputError::PooledPadding { row }))
    }

    /// The place of each row's last token that is not padding, `[batch]`, as Transformers finds it: by its id.
    fn last_token(&self, ids: &Tensor<2, Int>) -> Tensor<1, Int> {
        // Without an id for padding, every place counts.
        let padding = self.padding.unwrap_or(-1);
        last_real(ids.clone().not_equal_elem(padding))
    }

    /// The state after the embeddings, `[batch, seq, hidden]`.
    pub(super) fn state(&self, hidden: Tensor<3>, input: TextInput) -> TextState {
        let hidden = match self.scale {
            Some(scale) => hidden * scale,
            None => hidden,
        };
        let last_token = (self.pooling == Pooling::LastToken).then(|| self.last_token(&input.ids));
        TextState { last_token, ..TextState::packed(hidden, input.mask, input.documents) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Bool;

    fn input(ids: [[i64; 4]; 2], mask: [[bool; 4]; 2]) -> TextInput {
        let device = crate::nn::test_device();
        let ids = Tensor::<2, Int>::from_data(ids, &device);
        TextInput {
            type_ids: ids.zeros_like(),
            ids,
            mask: Tensor::<2, Bool>::from_data(mask, &device),
            documents: None,
        }
    }

    fn last(frame: &Frame, ids: [[i64; 4]; 2]) -> Vec<i64> {
        frame.last_token(&input(ids, [[true; 4]; 2]).ids).into_data().iter::<i64>().collect()
    }

    #[test]
    fn the_last_token_is_the_last_one_that_is_not_the_padding_id() {
        let frame = |padding| Frame { pooling: Pooling::LastToken, padding, scale: None };
        assert_eq!(last(&frame(Some(0)), [[5, 0, 6, 0], [0, 0, 7, 8]]), [2, 3]);
        assert_eq!(last(&frame(Some(0)), [[0, 0, 0, 0], [7, 0, 0, 0]]), [0, 0]);
        assert_eq!(last(&frame(None), [[5, 0, 6, 0], [0, 0, 7, 0]]), [3, 3]);
    }

    #[test]
    fn rows_whose_last_token_cannot_be_told_are_refused() {
        let frame = |pooling, padding| Frame { pooling, padding, scale: None };
        let right = input([[5, 6, 7, 8], [5, 6, 0, 0]], [[true; 4], [true, true, false, false]]);
        let left = input([[5, 6, 7, 8], [0, 0, 5, 6]], [[true; 4], [false, false, true, true]]);
        for input in [&right, &left] {
            assert_eq!(frame(Pooling::LastToken, Some(0)).check(input, 9, None), Ok(()));
            assert_eq!(frame(Pooling::Mean, None).check(input, 9, None), Ok(()));
            let error = frame(Pooling::LastToken, None).check(input, 9, None);
            assert_eq!(error, Err(InputError::NoPaddingToken { rows: 2 }));
        }
        let error = frame(Pooling::LastToken, Some(2)).check(&right, 9, None);
        assert_eq!(error, Err(InputError::PooledPadding { row: 1 }));
        assert_eq!(frame(Pooling::Mean, None).check(&right, 9, Some(3)), Err(InputError::TooLong { found: 4, max: 3 }));
    }
}
