use super::*;
use crate::kernel::Curve;

const CURVES: [Curve; 4] = [Curve::Normal, Curve::NormalByTanh, Curve::Logistic(1.0), Curve::Logistic(1.702)];

fn composed(x: Tensor<2>, curve: Curve) -> Tensor<2> {
    match curve {
        Curve::Normal => activation::gelu(x),
        Curve::NormalByTanh => {
            let inner =
                (x.clone() + x.clone() * x.clone() * x.clone() * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
            x * (inner.tanh() + 1.0) * 0.5
        }
        Curve::Logistic(factor) => x.clone() * activation::sigmoid(x * f64::from(factor)),
    }
}

#[test]
fn activations_agree() {
    for curve in CURVES {
        for ([rows, width, _], scale) in SIZES.into_iter().zip([1.0, 1.0, 3.0, 30.0, 1e-3, 6.0]) {
            let inputs = matrices(&[[rows, width]], scale);
            let fused = |x: &[Tensor<2>]| kernel::activate(x[0].clone(), curve);
            let reference = |x: &[Tensor<2>]| composed(x[0].clone(), curve);
            compare(&format!("{curve:?} {rows} x {width} of {scale}"), &inputs, &fused, &reference);
        }
    }
}

#[test]
fn gates_agree() {
    for curve in CURVES {
        for ([rows, width, _], scale) in SIZES.into_iter().zip([1.0, 1.0, 3.0, 30.0, 1e-3, 6.0]) {
            let inputs = matrices(&[[rows, width], [rows, width]], scale);
            let fused = |x: &[Tensor<2>]| kernel::gated(x[0].clone(), x[1].clone(), curve);
            let reference = |x: &[Tensor<2>]| composed(x[0].clone(), curve) * x[1].clone();
            compare(&format!("gate of {curve:?} {rows} x {width} of {scale}"), &inputs, &fused, &reference);
            let inputs = matrices(&[[rows, 2 * width]], scale);
            let fused = |x: &[Tensor<2>]| kernel::gated_halves(x[0].clone(), curve);
            let reference = |x: &[Tensor<2>]| {
                let [gate, up] = [0, width].map(|start| x[0].clone().narrow(1, start, width));
                composed(gate, curve) * up
            };
            compare(&format!("halves by {curve:?} {rows} x {width} of {scale}"), &inputs, &fused, &reference);
        }
    }
}

#[test]
fn activations_take_strided_inputs_and_gradients() {
    let inputs = matrices(&[[10, 6], [10, 6]], 2.0);
    for curve in CURVES {
        let fused = |x: &[Tensor<2>]| {
            let [gate, up] = [0, 1].map(|at: usize| x[at].clone().transpose().flip([1]).reshape([2, 3, 10]));
            let gated = kernel::gated(kernel::activate(gate.swap_dims(0, 1), curve), up.swap_dims(0, 1), curve);
            kernel::gated_halves(gated.swap_dims(0, 1), curve).reshape([6, 5]).transpose()
        };
        let reference = |x: &[Tensor<2>]| {
            let [gate, up] = [0, 1].map(|at: usize| x[at].clone().transpose().flip([1]));
            let gated = composed(composed(gate, curve), curve) * up;
            (composed(gated.clone().narrow(1, 0, 5), curve) * gated.narrow(1, 5, 5)).transpose()
        };
        compare(&format!("strided {curve:?}"), &inputs, &fused, &reference);
    }
}

#[test]
fn far_from_zero_an_activation_is_flat_and_nan_stays() {
    let places = [-1e30f32, -3e4, -200.0, -90.0, 90.0, 200.0, 3e4, 1e30, f32::NAN];
    for curve in CURVES {
        let x = Tensor::<1>::from_data(places, &Device::flex()).autodiff().require_grad();
        let output = kernel::activate(x.clone(), curve);
        let slope = x.grad(&output.clone().sum().backward()).unwrap();
        let [output, slope] = [output.inner(), slope].map(|found| found.into_data().iter::<f32>().collect::<Vec<_>>());
        for ((place, output), slope) in places.into_iter().zip(output).zip(slope) {
            let (value, steep) = if place > 0.0 { (place, 1.0) } else { (0.0, 0.0) };
            let near = |found: f32, wanted: f32| (found - wanted).abs() <= 1e-6 * wanted.abs().max(1.0);
            match place.is_nan() {
                true => assert!(output.is_nan() && slope.is_nan(), "{curve:?}"),
                false => assert!(near(output, value) && near(slope, steep), "{curve:?} at {place}: {output}, {slope}"),
            }
        }
    }
}

#[test]
fn a_gate_makes_only_the_gradients_that_are_needed() {
    let inputs = matrices(&[[3, 4], [3, 4]], 1.0);
    for tracked in 0..2 {
        let leaf = |index: usize| {
            let leaf = inputs[index].clone().autodiff();
            if index == tracked { leaf.require_grad() } else { leaf }
        };
        let leaves = [leaf(0), leaf(1)];
        let output = kernel::gated(leaves[0].clone(), leaves[1].clone(), Curve::Normal);
        let gradients = output.sum().backward();
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(leaf.grad(&gradients).is_some(), index == tracked);
        }
    }
}
