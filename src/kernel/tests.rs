//! Each operation against Burn's own in f64: values, gradients, and the same bits on the plain device.

use crate::kernel::{self, Attention};
use crate::nn::{Draw, Dropout, Precision, PrecisionScope, RandomScope, Reach, Scoring, attend, attend_composed};
use crate::random::stream;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, TensorData, activation};
use rand::Rng;

mod gates;
mod level;
mod linear;
mod rms_norm;
mod rotary;

/// An operation on matrices.
type Op<'a> = &'a dyn Fn(&[Tensor<2>]) -> Tensor<2>;

/// Values uniform in `-scale..scale`.
fn uniform(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut random = stream(&[seed]);
    (0..len).map(|_| scale * ((random.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0)).collect()
}

fn matrices(shapes: &[[usize; 2]], scale: f32) -> Vec<Tensor<2>> {
    let matrix = |(index, shape): (usize, &[usize; 2])| {
        let values = uniform(index as u64, shape[0] * shape[1], scale);
        Tensor::from_data(TensorData::new(values, *shape), &Device::flex())
    };
    shapes.iter().enumerate().map(matrix).collect()
}

fn host(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The output and the gradients of its product with fixed weights.
fn run(op: Op<'_>, inputs: &[Tensor<2>], dtype: FloatDType) -> Vec<Vec<f64>> {
    let leaves: Vec<_> = inputs.iter().map(|input| input.clone().cast(dtype).autodiff().require_grad()).collect();
    let output = op(&leaves);
    let [rows, columns] = output.dims();
    let weights =
        Tensor::<2>::from_data(TensorData::new(uniform(99, rows * columns, 1.0), [rows, columns]), &Device::flex());
    let gradients = (output.clone() * weights.cast(dtype)).sum().backward();
    let gradients = leaves.iter().map(|leaf| host(leaf.grad(&gradients).unwrap()));
    std::iter::once(host(output.inner())).chain(gradients).collect()
}

/// The greatest difference, relative to the greatest value.
fn apart(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let greatest = wanted.iter().fold(1e-30f64, |most, value| most.max(value.abs()));
    let apart = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, |most: f64, apart| if apart.is_nan() { f64::INFINITY } else { most.max(apart) }) / greatest
}

/// Compares `fused` with `reference` in f64. It may be off by 1e-6, and where that asks too much of f32 (differences of
/// near values), by as much as twice what `reference` is off in f32.
fn compare(name: &str, inputs: &[Tensor<2>], fused: Op<'_>, reference: Op<'_>) {
    let (found, wanted) = (run(fused, inputs, FloatDType::F32), run(reference, inputs, FloatDType::F64));
    let composed = run(reference, inputs, FloatDType::F32);
    assert_eq!(host(fused(inputs)), found[0], "{name}: the plain device gives other bits than autodiff");
    for (index, ((found, wanted), composed)) in found.iter().zip(&wanted).zip(&composed).enumerate() {
        let (off, composed_off) = (apart(found, wanted), apart(composed, wanted));
        let what = if index == 0 { "output".into() } else { format!("gradient {index}") };
        eprintln!("{name}: {what} is off by {off:.1e} (composed {composed_off:.1e})");
        assert!(off <= 1e-6 + 2.0 * composed_off, "{name}: {what} is off by {off:e} (composed {composed_off:e})");
    }
}

fn row(tensor: &Tensor<2>) -> Tensor<1> {
    tensor.clone().reshape([-1])
}

/// Sizes around the widths of registers and tiles.
const SIZES: [[usize; 3]; 6] = [[1, 1, 1], [1, 17, 3], [3, 16, 33], [17, 33, 1], [33, 3, 17], [130, 96, 129]];

#[test]
fn linear_agrees() {
    for [rows, width_in, width] in SIZES {
        for (gelu, scale) in [(false, 1.0), (true, 1.0), (true, 30.0)] {
            let inputs = matrices(&[[rows, width_in], [width_in, width], [1, width]], scale);
            let fused = |x: &[Tensor<2>]| kernel::linear(x[0].clone(), x[1].clone(), row(&x[2]), gelu);
            let reference = |x: &[Tensor<2>]| {
                let sum = x[0].clone().matmul(x[1].clone()) + x[2].clone();
                if gelu { activation::gelu(sum) } else { sum }
            };
            compare(&format!("linear {rows} x {width_in} x {width}, gelu {gelu}"), &inputs, &fused, &reference);
        }
    }
}

/// The nearest bfloat16 values, in f64.
fn rounded(tensor: &Tensor<2>) -> Tensor<2> {
    let values: Vec<f32> = tensor.to_data().iter::<f32>().map(|value| half::bf16::from_f32(value).to_f32()).collect();
    Tensor::<2>::from_data(TensorData::new(values, tensor.dims()), &Device::flex()).cast(FloatDType::F64)
}

#[test]
fn linear_in_bf16_multiplies_rounded_factors() {
    if !Precision::Bf16.is_available(&Device::flex()) {
        println!("skipped: this processor has no bf16 products");
        return;
    }
    for [rows, width_in, width] in SIZES.into_iter().chain([[200, 1100, 70]]) {
        let inputs = matrices(&[[rows, width_in], [width_in, width], [1, width]], 1.0);
        let scope = PrecisionScope::new(Precision::Bf16);
        let fused = |x: &[Tensor<2>]| kernel::linear(x[0].clone(), x[1].clone(), row(&x[2]), false);
        let found = run(&fused, &inputs, FloatDType::F32);
        drop(scope);
        let gradient = TensorData::new(uniform(99, rows * width, 1.0), [rows, width]);
        let gradient = Tensor::from_data(gradient, &Device::flex());
        let [x, weight, gradient] = [&inputs[0], &inputs[1], &gradient].map(rounded);
        let output = x.clone().matmul(weight.clone()) + inputs[2].clone().cast(FloatDType::F64);
        let wanted = [output, gradient.clone().matmul(weight.transpose()), x.transpose().matmul(gradient)];
        for (found, wanted) in found.iter().zip(wanted) {
            let off = apart(found, &host(wanted));
            assert!(off < 1e-6, "{rows} x {width_in} x {width}: off by {off:e}");
        }
    }
}

#[test]
fn linear_takes_strided_and_batched_inputs() {
    let inputs = matrices(&[[5, 12], [7, 5], [1, 7]], 1.0);
    let fused = |x: &[Tensor<2>]| {
        let rows = x[0].clone().transpose().reshape([3, 4, 5]);
        kernel::linear(rows, x[1].clone().flip([0]).transpose(), row(&x[2]), true).reshape([12, 7])
    };
    let reference = |x: &[Tensor<2>]| {
        activation::gelu(x[0].clone().transpose().matmul(x[1].clone().flip([0]).transpose()) + x[2].clone())
    };
    compare("strided linear", &inputs, &fused, &reference);
}

#[test]
fn linear_makes_only_the_gradients_that_are_needed() {
    let inputs = matrices(&[[3, 4], [4, 5], [1, 5]], 1.0);
    for tracked in 0..3 {
        let leaf = |index: usize| {
            let leaf = inputs[index].clone().autodiff();
            if index == tracked { leaf.require_grad() } else { leaf }
        };
        let leaves = [leaf(0), leaf(1), leaf(2)];
        let output = kernel::linear(leaves[0].clone(), leaves[1].clone(), row(&leaves[2]), true);
        let gradients = output.sum().backward();
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(leaf.grad(&gradients).is_some(), index == tracked);
        }
    }
}

fn layer_norm(x: Tensor<2>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + 1e-5).sqrt() * scale + shift
}

fn draw(prob: f64) -> Option<Draw> {
    let _scope = RandomScope::new(7);
    crate::nn::Dropout::new(prob).draw()
}

fn mask(like: &Tensor<2>, draw: Option<Draw>) -> Tensor<2> {
    let [rows, columns] = like.dims();
    let mask = draw.map_or(vec![1.0; rows * columns], |draw| draw.mask(rows * columns));
    Tensor::<2>::from_data(TensorData::new(mask, [rows, columns]), &Device::flex()).cast(like.dtype())
}

#[test]
fn norm_agrees() {
    for ([rows, width, _], scale) in SIZES.into_iter().zip([1.0, 1e3, 1.0, 1e-2, 1.0, 1e4]) {
        let width = width.max(2);
        let inputs = matrices(&[[rows, width], [1, width], [1, width]], scale);
        let fused = |x: &[Tensor<2>]| kernel::norm(x[0].clone(), row(&x[1]), row(&x[2]), 1e-5);
        let reference = |x: &[Tensor<2>]| layer_norm(x[0].clone(), x[1].clone(), x[2].clone());
        compare(&format!("norm {rows} x {width}"), &inputs, &fused, &reference);
        for prob in [0.0, 0.1, 0.75] {
            let draw = draw(prob);
            let inputs = matrices(&[[rows, width], [rows, width], [1, width], [1, width]], 1.0);
            let fused =
                |x: &[Tensor<2>]| kernel::residual_norm(x[0].clone(), x[1].clone(), draw, row(&x[2]), row(&x[3]), 1e-5);
            let reference = |x: &[Tensor<2>]| {
                layer_norm(x[0].clone() * mask(&x[0], draw) + x[1].clone(), x[2].clone(), x[3].clone())
            };
            compare(&format!("residual norm {rows} x {width}, {prob}"), &inputs, &fused, &reference);
        }
    }
}

#[test]
fn dropout_agrees() {
    for [rows, width, _] in SIZES.into_iter().chain([[300, 257, 0]]) {
        let (inputs, draw) = (matrices(&[[rows, width]], 1.0), draw(0.3).unwrap());
        let fused = |x: &[Tensor<2>]| kernel::dropout(x[0].clone(), draw);
        let reference = |x: &[Tensor<2>]| x[0].clone() * mask(&x[0], Some(draw));
        compare(&format!("dropout {rows} x {width}"), &inputs, &fused, &reference);
    }
}

/// Batch, queries, keys, heads, width of a head.
const ATTENTIONS: [[usize; 5]; 6] =
    [[1, 1, 1, 1, 1], [2, 3, 17, 2, 3], [3, 33, 33, 2, 17], [2, 70, 40, 1, 32], [1, 16, 16, 3, 64], [2, 5, 130, 4, 8]];

fn everywhere(heads: usize, width: usize, draw: Option<Draw>) -> Attention {
    Attention { heads, scale: 1.0 / (width as f64).sqrt(), reach: Reach::Everywhere, documents: None, draw }
}

#[test]
fn attention_agrees() {
    for ([batch, queries, keys, heads, width], scale) in ATTENTIONS.into_iter().zip([1.0, 1.0, 3.0, 1.0, 1.0, 30.0]) {
        for prob in [0.0, 0.2] {
            let (draw, hidden) = (draw(prob), heads * width);
            let inputs = matrices(&[[batch * queries, hidden], [batch * keys, hidden], [batch * keys, hidden]], scale);
            let visible: Vec<bool> = (0..batch * keys).map(|at| at < keys / 2 || (at < keys && at % 3 == 0)).collect();
            let visible = Tensor::<2, Bool>::from_data(TensorData::new(visible, [batch, keys]), &Device::flex());
            let fused = |x: &[Tensor<2>]| {
                let [query, key, value] = [(0, queries), (1, keys), (2, keys)]
                    .map(|(index, len): (usize, usize)| x[index].clone().reshape([batch, len, hidden]));
                let output = kernel::attention(query, key, value, visible.clone(), everywhere(heads, width, draw));
                output.reshape([batch * queries, hidden])
            };
            let reference = |x: &[Tensor<2>]| {
                let [query, key, value] = [(0, queries), (1, keys), (2, keys)].map(|(index, len): (usize, usize)| {
                    x[index].clone().reshape([batch, len, heads, width]).swap_dims(1, 2)
                });
                let scores = query.matmul(key.swap_dims(2, 3)) / (width as f64).sqrt();
                let hide = visible.clone().bool_not().reshape([batch, 1, 1, keys]).expand(scores.dims());
                let scores = scores.clone() + (hide.float() * -1e30).cast(scores.dtype());
                let exponents = (scores.clone() - scores.detach().max_dim(3)).exp();
                let probabilities = exponents.clone() / exponents.sum_dim(3);
                let mask = mask(&probabilities.clone().reshape([batch * heads * queries, keys]), draw);
                let probabilities = probabilities * mask.reshape([batch, heads, queries, keys]);
                probabilities.matmul(value).swap_dims(1, 2).reshape([batch * queries, hidden])
            };
            let name = format!("attention {batch} x {queries} x {keys}, {heads} x {width}, {prob}");
            compare(&name, &inputs, &fused, &reference);
        }
    }
}

/// Batch, heads, groups, queries, keys and width.
const GROUPED: [[usize; 6]; 5] =
    [[1, 1, 1, 1, 1, 1], [2, 4, 2, 37, 37, 5], [2, 6, 1, 70, 70, 16], [1, 2, 2, 3, 40, 8], [3, 4, 4, 33, 33, 17]];

#[test]
fn attention_in_groups_and_of_any_reach_agrees() {
    let reaches = [Reach::Everywhere, Reach::Back, Reach::BackWithin(1), Reach::BackWithin(19), Reach::Within(4)];
    for ([batch, heads, groups, queries, keys, width], reach) in
        GROUPED.into_iter().flat_map(|shape| reaches.map(|reach| (shape, reach)))
    {
        let rows = [batch * heads * queries, batch * groups * keys, batch * groups * keys];
        let inputs = matrices(&rows.map(|rows| [rows, width]), 2.0);
        let scoring = Scoring { scale: 0.7, soft_cap: None, reach };
        // The first row is padded in front, the last one behind, so that some queries see nothing.
        let visible = |row: usize, key: usize| match row {
            0 => key >= keys / 3,
            row if row + 1 == batch => key < keys / 2,
            _ => true,
        };
        let visible: Vec<bool> = (0..batch * keys).map(|at| visible(at / keys, at % keys)).collect();
        let visible = Tensor::<2, Bool>::from_data(TensorData::new(visible, [batch, keys]), &Device::flex());
        let parts = |x: &[Tensor<2>]| {
            // Heads stand side by side in memory, as they come from a linear layer.
            let query = x[0].clone().reshape([batch, queries, heads, width]).swap_dims(1, 2);
            let key = x[1].clone().reshape([batch, groups, keys, width]);
            (query, key, x[2].clone().reshape([batch, keys, groups, width]).swap_dims(1, 2))
        };
        let off = Dropout::new(0.0);
        let run = |x: &[Tensor<2>], composed: bool| {
            let ((query, key, value), visible) = (parts(x), Some(visible.clone()));
            let output = match composed {
                true => attend_composed(query, key, value, scoring, visible, &off),
                false => attend(query, key, value, scoring, visible, &off),
            };
            output.reshape([batch * heads * queries, width])
        };
        let name = format!("{reach:?}, {batch} x {heads} in {groups} x {queries} x {keys} x {width}");
        compare(&name, &inputs, &|x| run(x, false), &|x| run(x, true));
    }
}

#[test]
fn cross_entropy_agrees() {
    for ([rows, _, classes], scale) in SIZES.into_iter().zip([1.0, 10.0, 1e3, 1.0, 30.0, 5.0]) {
        let inputs = matrices(&[[rows, classes]], scale);
        let labels: Vec<i64> = (0..rows).map(|row| (row * 7 % classes) as i64).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows]), &Device::flex());
        let fused = |x: &[Tensor<2>]| kernel::cross_entropy(x[0].clone(), labels.clone()).unsqueeze();
        let reference = |x: &[Tensor<2>]| {
            let chosen = activation::log_softmax(x[0].clone(), 1).gather(1, labels.clone().reshape([rows, 1]));
            chosen.sum().neg().unsqueeze()
        };
        compare(&format!("cross-entropy {rows} x {classes}"), &inputs, &fused, &reference);
    }
}

#[test]
fn adamw_and_the_norm_agree() {
    for len in [1, 17, 100_003] {
        let mut fused = matrices(&[[1, len]; 2], 1.0).iter().map(row).collect::<Vec<_>>();
        let gradient = fused[1].clone();
        let double = |tensor: &Tensor<1>| tensor.clone().into_data().iter::<f64>().collect::<Vec<_>>();
        let (mut wanted, slopes) = (double(&fused[0]), double(&gradient));
        let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
        fused = vec![fused[0].clone(), gradient.zeros_like(), gradient.zeros_like()];
        let shared = fused[0].clone();
        let untouched = double(&shared);
        for step in 1..4 {
            let (correction_1, correction_2) = (1.0 - 0.9f64.powi(step), 1.0 - 0.999f64.powi(step));
            let scalars = kernel::Scalars {
                scale: 0.5,
                decay: 0.999,
                weight_1: 0.1,
                beta_2: 0.999,
                weight_2: 0.001,
                correction_root: correction_2.sqrt() as f32,
                epsilon: 1e-8,
                step: (0.01 / correction_1) as f32,
            };
            let [parameter, moment_1, moment_2] =
                [0, 1, 2].map(|at: usize| std::mem::replace(&mut fused[at], Tensor::zeros([1], &Device::flex())));
            fused = kernel::adamw(parameter, gradient.clone(), moment_1, moment_2, scalars).into();
            for at in 0..len {
                let slope = slopes[at] * 0.5;
                first[at] = 0.9 * first[at] + 0.1 * slope;
                second[at] = 0.999 * second[at] + 0.001 * slope * slope;
                let root = (second[at] / correction_2).sqrt() + 1e-8;
                wanted[at] = wanted[at] * 0.999 - 0.01 / correction_1 * first[at] / root;
            }
        }
        let off = apart(&double(&fused[0]), &wanted);
        eprintln!("adamw {len}: off by {off:.1e}");
        assert!(off < 1e-6);
        assert_eq!(double(&shared), untouched);
        let moved = double(&kernel::towards(shared.clone(), gradient.clone(), 0.25));
        let wanted: Vec<f64> = untouched.iter().zip(&slopes).map(|(old, new)| old + 0.25 * (new - old)).collect();
        assert!(apart(&moved, &wanted) < 1e-6);
        assert_eq!(double(&shared), untouched);
        let squares = double(&kernel::square_sum(gradient))[0];
        let wanted = slopes.iter().map(|slope| slope * slope).sum::<f64>();
        assert!((squares - wanted).abs() < 1e-6 * wanted);
    }
}

#[test]
fn attention_does_not_see_padding() {
    let [long, short, hidden] = [37, 21, 24];
    let run = |len: usize| {
        let inputs = matrices(&[[long, hidden]; 3], 1.0);
        let [query, key, value] = [0, 1, 2].map(|at: usize| inputs[at].clone().narrow(0, 0, len).unsqueeze::<3>());
        let visible: Vec<bool> = (0..len).map(|at| at < short).collect();
        let visible = Tensor::<2, Bool>::from_data(TensorData::new(visible, [1, len]), &Device::flex());
        let output = kernel::attention(query, key, value, visible, everywhere(3, hidden / 3, None));
        host(output.narrow(1, 0, short).reshape([short, hidden]))
    };
    assert_eq!(run(short), run(long));
}

#[test]
fn a_row_is_the_same_alone_and_among_others_and_with_any_number_of_threads() {
    let inputs = matrices(&[[300, 384], [384, 512], [1, 512], [1, 512]], 1.0);
    let op = |x: Tensor<2>| {
        let hidden = kernel::linear(x, inputs[1].clone(), row(&inputs[2]), true);
        kernel::norm(hidden, row(&inputs[3]), row(&inputs[2]), 1e-5)
    };
    let whole = host(op(inputs[0].clone()));
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| host(op(inputs[0].clone()))), whole, "{threads} threads");
    }
    for rows in [8, 64, 299] {
        let part = host(op(inputs[0].clone().narrow(0, 0, rows)));
        assert_eq!(part, whole[..part.len()], "{rows} rows");
    }
}

#[test]
fn a_row_of_a_linear_layer_has_the_same_bits_in_any_company() {
    for (inner, columns) in [(32, 64), (32, 8), (384, 384), (600, 64), (1536, 24), (1536, 384), (700, 3)] {
        for by_columns in [false, true] {
            let [x, weight] = [[90, inner], [inner, columns]].map(|shape| matrices(&[shape], 1.0).remove(0));
            let weight = if by_columns { matrices(&[[columns, inner]], 1.0).remove(0).transpose() } else { weight };
            let bias = matrices(&[[1, columns]], 1.0).remove(0).reshape([columns]);
            for gelu in [false, true] {
                let run = |rows: usize| {
                    let x = x.clone().narrow(0, 0, rows);
                    host(kernel::linear(x, weight.clone(), bias.clone(), gelu))
                };
                let all = run(90);
                for rows in [1, 2, 3, 7, 31, 64, 65, 89] {
                    assert_eq!(run(rows), all[..rows * columns], "{rows} rows, {inner} to {columns}, {by_columns}");
                }
            }
        }
    }
}
