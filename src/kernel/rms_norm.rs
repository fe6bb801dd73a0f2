//! Root mean square normalisation over the last axis, with dropout and the residual connection before it if wanted.

use super::buffer::{block, contiguous, tensor, total, values, zeros};
use super::dropout::{Mask, add_dropped, drop_scale};
use super::reuse::blank;
use super::simd::{fma, sum_of, sum_of_pairs, vectorised};
use crate::nn::Draw;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// What a norm is told besides its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RmsNorm {
    /// Added to the mean square.
    pub(crate) epsilon: f64,
    /// Added to the weight.
    pub(crate) base: f64,
}

/// Divides `[.., hidden]` by its root mean square and multiplies by the weight, `[hidden]`, and what is added to it.
pub(crate) fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, norm: RmsNorm) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::fused_rms_norm(x.into_dispatch(), weight.into_dispatch(), norm))
}

/// The sum `residual + dropout(x)`, and its [`rms_norm`]; `draw` is what dropout draws, if it is on.
pub(crate) fn residual_rms_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    draw: Option<Draw>,
    weight: Tensor<1>,
    norm: RmsNorm,
) -> [Tensor<D>; 2] {
    let (x, residual, weight) = (x.into_dispatch(), residual.into_dispatch(), weight.into_dispatch());
    let (sum, normal) = Dispatch::fused_residual_rms_norm(x, residual, draw, weight, norm);
    [sum, normal].map(Tensor::from_dispatch)
}

#[backend_extension(Flex, Autodiff)]
trait RmsNormOps: Backend {
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, norm: RmsNorm) -> FloatTensor<Self>;

    fn fused_residual_rms_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        draw: Option<Draw>,
        weight: FloatTensor<Self>,
        norm: RmsNorm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl RmsNormOps for Flex {
    fn fused_rms_norm(x: FlexTensor, weight: FlexTensor, norm: RmsNorm) -> FlexTensor {
        forward(&contiguous(x), &contiguous(weight), norm).0
    }

    fn fused_residual_rms_norm(
        x: FlexTensor,
        residual: FlexTensor,
        draw: Option<Draw>,
        weight: FlexTensor,
        norm: RmsNorm,
    ) -> (FlexTensor, FlexTensor) {
        let (sum, normal, _) = residual_forward(x, residual, draw, &contiguous(weight), norm);
        (sum, normal)
    }
}

impl<C: CheckpointStrategy> RmsNormOps for Autodiff<Flex, C> {
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, norm: RmsNorm) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (x, weight) = (contiguous(x), contiguous(weight));
        let (normal, reciprocals) = forward(&x, &weight, norm);
        tracked::<C>([x_node, weight_node], Saved { input: x, reciprocals, weight, norm }, normal)
    }

    fn fused_residual_rms_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        draw: Option<Draw>,
        weight: FloatTensor<Self>,
        norm: RmsNorm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (residual, residual_node)) = (x.into_parts(), residual.into_parts());
        let (weight, weight_node) = weight.into_parts();
        let weight = contiguous(weight);
        let (sum, normal, reciprocals) = residual_forward(x, residual, draw, &weight, norm);
        // An operation has one output, so these are two, of which the second one's input is the first one's output.
        let output = match AddBackward.prepare::<C>([x_node, residual_node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(sum.clone()),
            OpsKind::Tracked(prep) => prep.finish(draw, sum.clone()),
        };
        let nodes = [output.node(), weight_node];
        (output, tracked::<C>(nodes, Saved { input: sum, reciprocals, weight, norm }, normal))
    }
}

fn tracked<C: CheckpointStrategy>(
    nodes: [NodeGuard; 2],
    saved: Saved,
    normal: FlexTensor,
) -> FloatTensor<Autodiff<Flex, C>> {
    match RmsNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::UnTracked(prep) => prep.finish(normal),
        OpsKind::Tracked(prep) => prep.finish(saved, normal),
    }
}

#[derive(Debug)]
struct RmsNormBackward;

#[derive(Debug)]
struct AddBackward;

#[derive(Clone, Debug)]
struct Saved {
    /// What was normalised.
    input: FlexTensor,
    /// Of the root mean square of each row.
    reciprocals: Vec<f32>,
    weight: FlexTensor,
    norm: RmsNorm,
}

impl Backward<Flex, 2> for RmsNormBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let mut gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let Saved { input, reciprocals, weight, norm } = ops.state;
        let base = norm.base as f32;
        let sums = backward(values(&input), &reciprocals, values(&weight), base, gradient.storage_mut::<f32>());
        if let Some(node) = weight_node {
            gradients.register::<Flex>(node.id, tensor(sums, weight.shape()));
        }
        if let Some(node) = x_node {
            gradients.register::<Flex>(node.id, gradient);
        }
    }
}

impl Backward<Flex, 2> for AddBackward {
    type State = Option<Draw>;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, residual_node] = ops.parents;
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let Some(node) = x_node {
            let gradient = match ops.state {
                Some(draw) => drop_scale(gradient.clone(), draw),
                None => gradient.clone(),
            };
            gradients.register::<Flex>(node.id, gradient);
        }
        if let Some(node) = residual_node {
            gradients.register::<Flex>(node.id, gradient);
        }
    }
}

/// The output, and the reciprocal of each row's root mean square.
fn forward(x: &FlexTensor, weight: &FlexTensor, norm: RmsNorm) -> (FlexTensor, Vec<f32>) {
    let (input, weight, width) = (values(x), values(weight), values(weight).len());
    let (mut out, mut reciprocals) = (blank(input.len()), zeros(input.len() / width));
    let blocks = out.par_chunks_mut(block(width)).zip(reciprocals.par_chunks_mut(block(width) / width));
    blocks.zip(input.par_chunks(block(width))).for_each(|((out, reciprocals), input)| {
        norm_rows(input, weight, norm, out, reciprocals);
    });
    (tensor(out, x.shape()), reciprocals)
}

/// The sum, in place where nobody else holds `x`, its norm, and the reciprocal of each row's root mean square.
fn residual_forward(
    x: FlexTensor,
    residual: FlexTensor,
    draw: Option<Draw>,
    weight: &FlexTensor,
    norm: RmsNorm,
) -> (FlexTensor, FlexTensor, Vec<f32>) {
    let (mut x, residual, mask) = (contiguous(x), contiguous(residual), draw.map(Mask::new));
    let (shape, weight, width) = (x.shape(), values(weight), values(weight).len());
    let (mut out, mut reciprocals) = (blank(shape.num_elements()), zeros(shape.num_elements() / width));
    let sums = x.storage_mut::<f32>().par_chunks_mut(block(width)).zip(values(&residual).par_chunks(block(width)));
    let blocks = out.par_chunks_mut(block(width)).zip(reciprocals.par_chunks_mut(block(width) / width));
    blocks.zip(sums).enumerate().for_each(|(index, ((out, reciprocals), (sum, residual)))| {
        add_dropped(mask, index * block(width), residual, sum);
        norm_rows(sum, weight, norm, out, reciprocals);
    });
    (x, tensor(out, shape), reciprocals)
}

/// Turns the gradient of the output into that of the input; gives that of the weight.
fn backward(input: &[f32], reciprocals: &[f32], weight: &[f32], base: f32, gradient: &mut [f32]) -> Vec<f32> {
    let (width, block) = (weight.len(), block(weight.len()));
    let blocks = gradient.par_chunks_mut(block).zip(input.par_chunks(block));
    let parts = blocks.zip(reciprocals.par_chunks(block / width)).map(|((gradient, input), reciprocals)| {
        let mut sums = zeros(width);
        norm_rows_backward(input, reciprocals, weight, base, gradient, &mut sums);
        sums
    });
    total(parts.collect(), width)
}

vectorised! {
    fn norm_rows<'a, S>(
        input: &'a [f32],
        weight: &'a [f32],
        norm: RmsNorm,
        out: &'a mut [f32],
        reciprocals: &'a mut [f32],
    ) {
        let (width, epsilon, base) = (weight.len(), norm.epsilon as f32, norm.base as f32);
        let rows = out.chunks_exact_mut(width).zip(input.chunks_exact(width));
        for ((out, input), reciprocal) in rows.zip(reciprocals) {
            let squares = sum_of(input, |sum, x| fma::<S>(x, x, sum));
            *reciprocal = 1.0 / (squares / width as f32 + epsilon).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(input).zip(weight) {
                *out = x * *reciprocal * (base + weight);
            }
        }
    }
}

vectorised! {
    fn norm_rows_backward<'a, S>(
        input: &'a [f32],
        reciprocals: &'a [f32],
        weight: &'a [f32],
        base: f32,
        gradient: &'a mut [f32],
        sums: &'a mut [f32],
    ) {
        let width = weight.len();
        let rows = gradient.chunks_exact_mut(width).zip(input.chunks_exact(width));
        for ((gradient, input), reciprocal) in rows.zip(reciprocals) {
            let columns = weight.iter().zip(sums.iter_mut());
            for ((gradient, x), (weight, sum)) in gradient.iter_mut().zip(input).zip(columns) {
                *sum = fma::<S>(*gradient, x * reciprocal, *sum);
                *gradient *= base + weight;
            }
            let along = sum_of_pairs(gradient, input, |sum, g, x| fma::<S>(g, x * reciprocal, sum)) / width as f32;
            for (gradient, x) in gradient.iter_mut().zip(input) {
                *gradient = reciprocal * (*gradient - x * reciprocal * along);
            }
        }
    }
}
