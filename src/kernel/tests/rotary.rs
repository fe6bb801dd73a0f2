use super::*;
use crate::nn::{RopeScaling, Rotary};
use burn::tensor::Shape;

/// Batch, heads, places, width of a head, and how much of it turns.
const SHAPES: [[usize; 5]; 6] =
    [[1, 1, 1, 2, 2], [2, 3, 17, 8, 8], [3, 2, 33, 34, 34], [2, 4, 7, 19, 6], [1, 5, 70, 64, 64], [2, 1, 130, 5, 4]];

/// How inputs stand in memory.
#[derive(Clone, Copy, Debug)]
enum Stand {
    HeadsFirst,
    PlacesFirst,
    /// In the second third of a wider matrix.
    Part,
    Backwards,
}

fn stand(x: &Tensor<2>, [batch, heads, seq, width, _]: [usize; 5], stand: Stand) -> Tensor<4> {
    let x = x.clone();
    match stand {
        Stand::HeadsFirst => x.reshape([batch, heads, seq, width]),
        Stand::PlacesFirst => x.reshape([batch, seq, heads, width]).swap_dims(1, 2),
        Stand::Part => {
            let x = x.reshape([batch, seq, heads, width]);
            Tensor::cat(vec![x.clone() * 3.0, x.clone(), x * 2.0], 3).narrow(3, width, width).swap_dims(1, 2)
        }
        Stand::Backwards => x.reshape([batch, heads, seq, width]).flip([0, 3]),
    }
}

#[test]
fn rotation_has_the_bits_of_the_composed_one() {
    for shape @ [batch, heads, seq, width, turned] in SHAPES {
        let rotation = Rotary::new(50.0, turned, RopeScaling::None).rotation(seq, &Device::flex());
        let inputs = matrices(&[[batch * heads * seq, width]], 1.0);
        for standing in [Stand::HeadsFirst, Stand::PlacesFirst, Stand::Part, Stand::Backwards] {
            let out = [batch * heads * seq, width];
            let fused = |x: &[Tensor<2>]| rotation.apply(stand(&x[0], shape, standing)).reshape(out);
            let composed = |x: &[Tensor<2>]| rotation.apply_composed(stand(&x[0], shape, standing)).reshape(out);
            let [found, wanted] = [&fused as Op<'_>, &composed].map(|op| run(op, &inputs, FloatDType::F32));
            assert_eq!(found, wanted, "{shape:?}, {standing:?}");
            assert_eq!(host(fused(&inputs)), found[0], "{shape:?}, {standing:?} on the plain device");
        }
    }
}

#[test]
fn each_row_of_a_batch_may_have_angles_of_its_own() {
    let [batch, heads, seq, width, half] = [3, 2, 9, 10, 4];
    let inputs = matrices(&[[batch * heads * seq, width]], 1.0);
    let angles = matrices(&[[batch * seq, half]], 3.0).remove(0).reshape([batch, 1, seq, half]);
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    let fused = |x: &[Tensor<2>]| {
        let x = x[0].clone().reshape([batch, seq, heads, width]).swap_dims(1, 2);
        kernel::rotate(x, cos.clone(), sin.clone()).reshape([batch * heads * seq, width])
    };
    let composed = |x: &[Tensor<2>]| {
        let x = x[0].clone().reshape([batch, seq, heads, width]).swap_dims(1, 2);
        let [cos, sin] = [&cos, &sin].map(|table| table.clone().cast(x.dtype()));
        let [first, second] = [0, half].map(|start| x.clone().narrow(3, start, half));
        let rest = x.narrow(3, 2 * half, width - 2 * half);
        let first_turned = first.clone() * cos.clone() - second.clone() * sin.clone();
        let parts = vec![first_turned, second * cos + first * sin, rest];
        Tensor::cat(parts, 3).reshape([batch * heads * seq, width])
    };
    compare("rotation of packed rows", &inputs, &fused, &composed);
}

#[test]
fn nothing_is_turned_where_there_is_nothing() {
    let rotation = Rotary::new(50.0, 4, RopeScaling::None).rotation(0, &Device::flex());
    let empty = Tensor::<4>::zeros([2, 3, 0, 4], &Device::flex());
    assert_eq!(rotation.apply(empty).shape(), Shape::from([2, 3, 0, 4]));
}
