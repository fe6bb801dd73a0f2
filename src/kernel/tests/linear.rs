use super::*;

#[test]
fn a_product_without_bias_agrees() {
    for [rows, width_in, width] in SIZES {
        let inputs = matrices(&[[rows, width_in], [width_in, width]], 1.0);
        let fused = |x: &[Tensor<2>]| kernel::linear_without_bias(x[0].clone(), x[1].clone());
        let reference = |x: &[Tensor<2>]| x[0].clone().matmul(x[1].clone());
        compare(&format!("product {rows} x {width_in} x {width}"), &inputs, &fused, &reference);
    }
    let inputs = matrices(&[[5, 12], [7, 5]], 1.0);
    let fused = |x: &[Tensor<2>]| {
        let rows = x[0].clone().transpose().reshape([3, 4, 5]);
        kernel::linear_without_bias(rows, x[1].clone().flip([0]).transpose()).reshape([12, 7]).transpose()
    };
    let reference = |x: &[Tensor<2>]| x[0].clone().transpose().matmul(x[1].clone().flip([0]).transpose()).transpose();
    compare("strided product", &inputs, &fused, &reference);
}

#[test]
fn a_product_without_bias_is_that_with_a_bias_of_zero() {
    let inputs = matrices(&[[130, 96], [96, 129]], 1.0);
    let zero = Tensor::<1>::zeros([129], &Device::flex());
    for precision in [Precision::F32, Precision::Bf16] {
        if !precision.is_available(&Device::flex()) {
            println!("skipped: this processor has no {precision} products");
            continue;
        }
        let _scope = PrecisionScope::new(precision);
        let without = |x: &[Tensor<2>]| kernel::linear_without_bias(x[0].clone(), x[1].clone());
        let with = |x: &[Tensor<2>]| kernel::linear(x[0].clone(), x[1].clone(), zero.clone(), false);
        let [found, wanted] = [&without as Op<'_>, &with].map(|op| run(op, &inputs, FloatDType::F32));
        assert_eq!(found, wanted, "{precision}");
    }
}

#[test]
fn a_product_makes_only_the_gradients_that_are_needed() {
    let inputs = matrices(&[[3, 4], [4, 5]], 1.0);
    for tracked in 0..2 {
        let leaf = |index: usize| {
            let leaf = inputs[index].clone().autodiff();
            if index == tracked { leaf.require_grad() } else { leaf }
        };
        let leaves = [leaf(0), leaf(1)];
        let gradients = kernel::linear_without_bias(leaves[0].clone(), leaves[1].clone()).sum().backward();
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(leaf.grad(&gradients).is_some(), index == tracked);
        }
    }
}
