use super::*;
use crate::kernel::RmsNorm;

fn composed(x: Tensor<2>, weight: Tensor<2>, norm: RmsNorm) -> Tensor<2> {
    let mean_square = (x.clone() * x.clone()).mean_dim(1);
    x / (mean_square + norm.epsilon).sqrt() * (weight + norm.base)
}

#[test]
fn rms_norm_agrees() {
    for ([rows, width, _], scale) in SIZES.into_iter().zip([1.0, 1e3, 1.0, 1e-2, 1.0, 1e4]) {
        // A single value over its own root has almost no slope, which f32 cannot tell.
        let width = width.max(2);
        for (base, epsilon) in [(0.0, 1e-5), (1.0, 1e-6)] {
            let norm = RmsNorm { epsilon, base };
            let inputs = matrices(&[[rows, width], [1, width]], scale);
            let fused = |x: &[Tensor<2>]| kernel::rms_norm(x[0].clone(), row(&x[1]), norm);
            let reference = |x: &[Tensor<2>]| composed(x[0].clone(), x[1].clone(), norm);
            compare(&format!("rms norm {rows} x {width}, {base}"), &inputs, &fused, &reference);
        }
    }
}

#[test]
fn rms_norm_after_the_residual_agrees() {
    for ([rows, width, _], prob) in
        SIZES.into_iter().chain([[600, 257, 0]]).flat_map(|size| [0.0, 0.1].map(|prob| (size, prob)))
    {
        let width = width.max(2);
        let (draw, norm) = (draw(prob), RmsNorm { epsilon: 1e-5, base: 0.0 });
        let inputs = matrices(&[[rows, width], [rows, width], [1, width]], 1.0);
        // Both outputs are read, as in a network.
        let fused = |x: &[Tensor<2>]| {
            let [sum, normal] = kernel::residual_rms_norm(x[0].clone(), x[1].clone(), draw, row(&x[2]), norm);
            Tensor::cat(vec![sum, normal], 1)
        };
        let reference = |x: &[Tensor<2>]| {
            let sum = x[0].clone() * mask(&x[0], draw) + x[1].clone();
            Tensor::cat(vec![sum.clone(), composed(sum, x[2].clone(), norm)], 1)
        };
        compare(&format!("residual rms norm {rows} x {width}, {prob}"), &inputs, &fused, &reference);
    }
}

#[test]
fn rms_norm_takes_strided_inputs_and_gradients() {
    let inputs = matrices(&[[7, 6], [7, 6], [1, 7]], 1.0);
    let norm = RmsNorm { epsilon: 1e-5, base: 1.0 };
    let fused = |x: &[Tensor<2>]| {
        let [input, residual] = [0, 1].map(|at: usize| x[at].clone().transpose().flip([0]).reshape([2, 3, 7]));
        let [sum, normal] = kernel::residual_rms_norm(input, residual, None, row(&x[2]), norm);
        let again = kernel::rms_norm(sum.swap_dims(0, 1), row(&x[2]), norm).swap_dims(0, 1);
        (normal + again).reshape([6, 7]).transpose()
    };
    let reference = |x: &[Tensor<2>]| {
        let sum = (x[0].clone() + x[1].clone()).transpose().flip([0]);
        composed(sum, x[2].clone(), norm).mul_scalar(2.0).transpose()
    };
    compare("strided rms norm", &inputs, &fused, &reference);
}

#[test]
fn rms_norm_makes_only_the_gradients_that_are_needed() {
    let inputs = matrices(&[[3, 4], [3, 4], [1, 4]], 1.0);
    for tracked in 0..3 {
        let leaf = |index: usize| {
            let leaf = inputs[index].clone().autodiff();
            if index == tracked { leaf.require_grad() } else { leaf }
        };
        let leaves = [leaf(0), leaf(1), leaf(2)];
        let norm = RmsNorm { epsilon: 1e-5, base: 0.0 };
        let [_, normal] = kernel::residual_rms_norm(leaves[0].clone(), leaves[1].clone(), None, row(&leaves[2]), norm);
        let gradients = normal.sum().backward();
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(leaf.grad(&gradients).is_some(), index == tracked);
        }
    }
}

#[test]
fn a_row_of_an_rms_norm_is_the_same_alone_and_with_any_number_of_threads() {
    let inputs = matrices(&[[300, 384], [1, 384]], 1.0);
    let op = |x: Tensor<2>| kernel::rms_norm(x, row(&inputs[1]), RmsNorm { epsilon: 1e-5, base: 0.0 });
    let leaf = || inputs[1].clone().autodiff().require_grad();
    let slope = |weight: Tensor<2>| {
        let output = kernel::rms_norm(inputs[0].clone().autodiff(), row(&weight), RmsNorm { epsilon: 1e-5, base: 0.0 });
        host(weight.grad(&(output.clone() * output).sum().backward()).unwrap())
    };
    let (whole, sums) = (host(op(inputs[0].clone())), slope(leaf()));
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| host(op(inputs[0].clone()))), whole, "{threads} threads");
        assert_eq!(pool.install(|| slope(leaf())), sums, "{threads} threads");
    }
    for rows in [1, 8, 299] {
        let part = host(op(inputs[0].clone().narrow(0, 0, rows)));
        assert_eq!(part, whole[..part.len()], "{rows} rows");
    }
}
