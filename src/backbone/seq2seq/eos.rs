//! Where classifiers look: the last end-of-sequence token of each row.

use super::Seq2SeqInput;
use crate::backbone::InputError;
use crate::backbone::features::last_real;
use burn::tensor::{Int, Tensor};

/// The last place of a token in each row, `[batch]`; 0 where it is not.
pub(super) fn last_place(ids: Tensor<2, Int>, token: usize) -> Tensor<1, Int> {
    last_real(ids.equal_elem(token as i64))
}

/// Each row ends as many texts as the others, one at least, and the decoder reads as many tokens as the encoder: what
/// Transformers' classifiers ask for.
pub(super) fn check_eos(input: &Seq2SeqInput, eos: Option<usize>) -> Result<(), InputError> {
    let (source, target) = (input.source.ids.dims(), input.target.ids.dims());
    if source != target {
        let (found, expected) = (target.to_vec(), source.to_vec());
        return Err(InputError::ShapeMismatch {
            what: "the target, which is pooled where the source ends,",
            found,
            expected,
        });
    }
    let is_eos = eos.map(|eos| input.source.ids.clone().equal_elem(eos as i64).int().sum_dim(1));
    let counts: Vec<i64> = is_eos.map_or(vec![0], |counts| counts.into_data().iter::<i64>().collect());
    match counts.iter().all(|count| *count > 0 && *count == counts[0]) {
        true => Ok(()),
        false => Err(InputError::EosCounts { counts }),
    }
}
