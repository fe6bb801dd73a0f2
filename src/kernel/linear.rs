//! `x w`, and `x w + b` with exact GELU on top if wanted.

use super::buffer::{block, column_sums, contiguous, tensor, total, values, with_width, zeros};
use super::gemm::{Matrix, forward_strides, multiply, steady_rows};
use super::reuse::{Buffer, blank};
use super::simd::{fma, normal, vectorised};
use crate::nn::{Precision, PrecisionScope};
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// `[.., in]` times `[in, out]` plus `[out]`, through exact GELU where `gelu`.
pub(crate) fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>, gelu: bool) -> Tensor<D> {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_linear(x, weight, bias, gelu))
}

/// `[.., in]` times `[in, out]`.
pub(crate) fn linear_without_bias<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::fused_product(x.into_dispatch(), weight.into_dispatch()))
}

#[backend_extension(Flex, Autodiff)]
trait LinearOps: Backend {
    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gelu: bool,
    ) -> FloatTensor<Self>;
}

impl LinearOps for Flex {
    fn fused_product(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let (x, weight) = (contiguous(x), forward_strides(weight));
        tensor(product(&x, &weight), with_width(x.shape(), weight.shape()[1]))
    }

    fn fused_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, gelu: bool) -> FlexTensor {
        let (x, weight, bias) = (contiguous(x), forward_strides(weight), contiguous(bias));
        let shape = with_width(x.shape(), weight.shape()[1]);
        let output = if gelu { activate(&product(&x, &weight), values(&bias)) } else { affine(&x, &weight, &bias) };
        tensor(output, shape)
    }
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let tracked = [x.is_tracked(), weight.is_tracked()];
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        match ProductBackward.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_product(x, weight)),
            OpsKind::Tracked(prep) => {
                let (x, weight) = (contiguous(x), forward_strides(weight));
                let output = tensor(product(&x, &weight), with_width(x.shape(), weight.shape()[1]));
                prep.finish(Factors::new(x, weight, tracked), output)
            }
        }
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gelu: bool,
    ) -> FloatTensor<Self> {
        let tracked = [x.is_tracked(), weight.is_tracked()];
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        match LinearBackward.prepare::<C>([x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_linear(x, weight, bias, gelu)),
            OpsKind::Tracked(prep) => {
                let (x, weight, bias) = (contiguous(x), forward_strides(weight), contiguous(bias));
                let shape = with_width(x.shape(), weight.shape()[1]);
                let (output, gelu) = if gelu {
                    let product = product(&x, &weight);
                    (activate(&product, values(&bias)), Some((tensor(product, shape.clone()), bias)))
                } else {
                    (affine(&x, &weight, &bias), None)
                };
                prep.finish((Factors::new(x, weight, tracked), gelu), tensor(output, shape))
            }
        }
    }
}

#[derive(Debug)]
struct ProductBackward;

#[derive(Debug)]
struct LinearBackward;

/// What the gradients of a product are made of.
#[derive(Clone, Debug)]
struct Factors {
    /// For the weight's gradient.
    x: Option<FlexTensor>,
    x_shape: Shape,
    /// For the input's gradient.
    weight: Option<FlexTensor>,
    precision: Precision,
}

impl Factors {
    /// Of the two factors, keeps what the gradients need that are `tracked`.
    fn new(x: FlexTensor, weight: FlexTensor, [x_tracked, weight_tracked]: [bool; 2]) -> Self {
        let x_shape = x.shape();
        let (x, weight) = (weight_tracked.then_some(x), x_tracked.then_some(weight));
        Self { x, x_shape, weight, precision: PrecisionScope::current() }
    }

    /// Registers the gradients of both, given that of their product.
    fn backward(self, gradient: Matrix<'_>, [x_node, weight_node]: [Option<NodeId>; 2], gradients: &mut Gradients) {
        let Self { x, x_shape, weight, precision } = self;
        let (width_in, width) = (x_shape[x_shape.num_dims() - 1], gradient.columns());
        if let (Some(node), Some(weight)) = (x_node, weight) {
            let mut out = blank(x_shape.num_elements());
            multiply(gradient, Matrix::of(&weight).transposed(), &mut out, false, precision);
            gradients.register::<Flex>(node, tensor(out, x_shape));
        }
        if let (Some(node), Some(x)) = (weight_node, x) {
            let mut out = blank(width_in * width);
            multiply(Matrix::rows(values(&x), width_in).transposed(), gradient, &mut out, false, precision);
            gradients.register::<Flex>(node, tensor(out, Shape::from([width_in, width])));
        }
    }
}

impl Backward<Flex, 2> for ProductBackward {
    type State = Factors;

    fn backward(self, ops: Ops<Factors, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let nodes = ops.parents.map(|node| node.map(|node| node.id));
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let width = gradient.shape()[gradient.shape().num_dims() - 1];
        ops.state.backward(Matrix::rows(values(&gradient), width), nodes, gradients);
    }
}

impl Backward<Flex, 3> for LinearBackward {
    /// The product before bias and activation, and the bias, where there is an activation.
    type State = (Factors, Option<(FlexTensor, FlexTensor)>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node, bias_node] = ops.parents.map(|node| node.map(|node| node.id));
        let mut gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let (factors, gelu) = ops.state;
        let width = gradient.shape()[gradient.shape().num_dims() - 1];
        let bias_sums = match gelu {
            Some((product, bias)) => {
                Some(activate_backward(values(&product), values(&bias), gradient.storage_mut::<f32>()))
            }
            None => bias_node.is_some().then(|| column_sums(values(&gradient), width)),
        };
        factors.backward(Matrix::rows(values(&gradient), width), [x_node, weight_node], gradients);
        if let (Some(node), Some(sums)) = (bias_node, bias_sums) {
            gradients.register::<Flex>(node, tensor(sums, Shape::from([width])));
        }
    }
}

fn product(x: &FlexTensor, weight: &FlexTensor) -> Buffer {
    let width_in = weight.shape()[0];
    multiply_rows(values(x), width_in, Matrix::of(weight), false, blank)
}

fn affine(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> Buffer {
    let [width_in, width] = weight.shape().dims();
    let bias = values(bias);
    multiply_rows(values(x), width_in, Matrix::of(weight), true, |len| {
        let mut out = blank(len);
        out.par_chunks_mut(block(width)).for_each(|rows| {
            rows.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(bias));
        });
        out
    })
}

/// Rows of `width_in` times `weight`, into or onto what `start` gives. A row's bits do not depend on the others.
fn multiply_rows(x: &[f32], width_in: usize, weight: Matrix<'_>, add: bool, start: impl Fn(usize) -> Buffer) -> Buffer {
    let (rows, precision) = (x.len() / width_in, PrecisionScope::current());
    let least = if precision == Precision::F32 { steady_rows(weight) } else { 0 };
    if rows >= least {
        let mut out = start(rows * weight.columns());
        multiply(Matrix::rows(x, width_in), weight, &mut out, add, precision);
        return out;
    }
    let mut padded = zeros(least * width_in);
    padded[..x.len()].copy_from_slice(x);
    let mut out = start(least * weight.columns());
    multiply(Matrix::rows(&padded, width_in), weight, &mut out, add, precision);
    out.truncate(rows * weight.columns());
    out
}

fn activate(product: &[f32], bias: &[f32]) -> Buffer {
    let (mut out, block) = (blank(product.len()), block(bias.len()));
    out.par_chunks_mut(block).zip(product.par_chunks(block)).for_each(|(out, product)| bias_gelu(product, bias, out));
    out
}

/// Turns the gradient of the output into that of what goes into GELU; gives the bias's gradient.
fn activate_backward(product: &[f32], bias: &[f32], gradient: &mut [f32]) -> Vec<f32> {
    let (width, block) = (bias.len(), block(bias.len()));
    let parts = gradient.par_chunks_mut(block).zip(product.par_chunks(block)).map(|(gradient, product)| {
        let mut sums = zeros(width);
        bias_gelu_backward(product, bias, gradient, &mut sums);
        sums
    });
    total(parts.collect(), width)
}

vectorised! {
    fn bias_gelu<'a, S>(product: &'a [f32], bias: &'a [f32], out: &'a mut [f32]) {
        let width = bias.len();
        for (out, product) in out.chunks_exact_mut(width).zip(product.chunks_exact(width)) {
            for ((out, product), bias) in out.iter_mut().zip(product).zip(bias) {
                let x = product + bias;
                *out = x * normal::<S>(x).0;
            }
        }
    }
}

vectorised! {
    fn bias_gelu_backward<'a, S>(product: &'a [f32], bias: &'a [f32], gradient: &'a mut [f32], sums: &'a mut [f32]) {
        let width = bias.len();
        for (gradient, product) in gradient.chunks_exact_mut(width).zip(product.chunks_exact(width)) {
            for (((gradient, product), bias), sum) in gradient.iter_mut().zip(product).zip(bias).zip(sums.iter_mut()) {
                let x = product + bias;
                let (cumulative, density) = normal::<S>(x);
                *gradient *= fma::<S>(x, density, cumulative);
                *sum += *gradient;
            }
        }
    }
}
