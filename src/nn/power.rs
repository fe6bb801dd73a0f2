use burn::tensor::Tensor;

/// At whole exponents that an `i64` does not hold Burn 0.22 panics. This one makes less than 1e-25 of every f32 below 1.
const MOST: f64 = 1e9;

/// Values from 0 to 1 to a power.
pub(crate) fn power<const D: usize>(base: Tensor<D>, exponent: f64) -> Tensor<D> {
    base.powf_scalar(exponent.clamp(-MOST, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_exponent_has_a_power() {
        let of = |exponent: f64| {
            let base =
                Tensor::<1>::from_floats([0.0, 0.5, 1.0 - f32::EPSILON / 2.0, 1.0], &crate::device("flex").unwrap());
            power(base, exponent).into_data().try_to_vec::<f32>().unwrap()
        };
        assert_eq!(of(2.0)[1], 0.25);
        for exponent in [1e9, 1e10, 1e30, f64::MAX, f64::INFINITY] {
            let powers = of(exponent);
            assert_eq!((powers[0], powers[1], powers[3]), (0.0, 0.0, 1.0), "{exponent}");
            assert!(powers[2] < 1e-25, "{exponent}: {powers:?}");
        }
        assert!(of(f64::NAN)[1].is_nan());
    }
}
