use burn::tensor::{Bool, Int, Tensor};

/// Where the places of `[batch, seq]` may look: at themselves and at the real ones (`mask` true) before them,
/// `[batch, 1, seq, seq]` over queries and keys.
pub fn causal_mask(mask: &Tensor<2, Bool>) -> Tensor<4, Bool> {
    let [batch, seq] = mask.dims();
    let (square, shape) = ([1, 1, seq, seq], [batch, 1, seq, seq]);
    let places = Tensor::<1, Int>::arange(0..seq as i64, &mask.device());
    let key = places.clone().reshape([1, 1, 1, seq]).expand(square);
    let query = places.reshape([1, 1, seq, 1]).expand(square);
    let visible = mask.clone().reshape([batch, 1, 1, seq]).expand(shape);
    key.lower_equal(query).expand(shape).bool_and(visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_sees_itself_and_the_real_ones_before() {
        let name = if cfg!(feature = "flex") { "flex" } else { "ndarray" };
        let device = crate::device(name).expect("a device of this build");
        let mask = Tensor::<2, Bool>::from_data([[true, false, true]], &device);
        let expected = vec![true, false, false, true, false, false, true, false, true];
        assert_eq!(causal_mask(&mask).into_data().iter::<bool>().collect::<Vec<_>>(), expected);
    }
}
