//! Layer normalisation over the last axis, with dropout and the residual connection before it if wanted.

use super::buffer::{block, contiguous, tensor, total, values, zeros};
use super::dropout::{drop_add, drop_scale};
use super::reuse::blank;
use super::simd::{fma, sum_of, sum_of_pairs, vectorised};
use crate::nn::Draw;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Normalises `[.., hidden]`, then scales and shifts by `[hidden]` each.
pub(crate) fn norm<const D: usize>(x: Tensor<D>, scale: Tensor<1>, shift: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let (x, scale, shift) = (x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_norm(x, scale, shift, epsilon))
}

/// [`norm`] of `residual + dropout(x)`; `draw` is what dropout draws, if it is on.
pub(crate) fn residual_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    draw: Option<Draw>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let (x, residual) = (x.into_dispatch(), residual.into_dispatch());
    let (scale, shift) = (scale.into_dispatch(), shift.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_residual_norm(x, residual, draw, scale, shift, epsilon))
}

#[backend_extension(Flex, Autodiff)]
trait NormOps: Backend {
    fn fused_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    fn fused_residual_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        draw: Option<Draw>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

impl NormOps for Flex {
    fn fused_norm(x: FlexTensor, scale: FlexTensor, shift: FlexTensor, epsilon: f64) -> FlexTensor {
        forward(&contiguous(x), &contiguous(scale), &contiguous(shift), epsilon).0
    }

    fn fused_residual_norm(
        x: FlexTensor,
        residual: FlexTensor,
        draw: Option<Draw>,
        scale: FlexTensor,
        shift: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        Self::fused_norm(drop_add(contiguous(x), contiguous(residual), draw), scale, shift, epsilon)
    }
}

impl<C: CheckpointStrategy> NormOps for Autodiff<Flex, C> {
    fn fused_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (scale, scale_node)) = (x.into_parts(), scale.into_parts());
        let (shift, shift_node) = shift.into_parts();
        match NormBackward.prepare::<C>([x_node, scale_node, shift_node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_norm(x, scale, shift, epsilon)),
            OpsKind::Tracked(prep) => {
                let (saved, output) = Saved::new(contiguous(x), scale, shift, epsilon);
                prep.finish(saved, output)
            }
        }
    }

    fn fused_residual_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        draw: Option<Draw>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (residual, residual_node)) = (x.into_parts(), residual.into_parts());
        let ((scale, scale_node), (shift, shift_node)) = (scale.into_parts(), shift.into_parts());
        let nodes = [x_node, residual_node, scale_node, shift_node];
        match ResidualNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => {
                prep.finish(Flex::fused_residual_norm(x, residual, draw, scale, shift, epsilon))
            }
            OpsKind::Tracked(prep) => {
                let sum = drop_add(contiguous(x), contiguous(residual), draw);
                let (saved, output) = Saved::new(sum, scale, shift, epsilon);
                prep.finish((saved, draw), output)
            }
        }
    }
}

#[derive(Debug)]
struct NormBackward;

#[derive(Debug)]
struct ResidualNormBackward;

#[derive(Clone, Debug)]
struct Saved {
    /// What was normalised.
    input: FlexTensor,
    /// Mean and reciprocal deviation of each row.
    moments: Vec<[f32; 2]>,
    scale: FlexTensor,
}

impl Saved {
    fn new(input: FlexTensor, scale: FlexTensor, shift: FlexTensor, epsilon: f64) -> (Self, FlexTensor) {
        let scale = contiguous(scale);
        let (output, moments) = forward(&input, &scale, &contiguous(shift), epsilon);
        (Self { input, moments, scale }, output)
    }

    /// Registers the gradients of scale and shift; gives that of the input.
    fn backward(
        self,
        gradient: FlexTensor,
        [scale_node, shift_node]: [Option<NodeId>; 2],
        gradients: &mut Gradients,
    ) -> FlexTensor {
        let mut gradient = contiguous(gradient);
        let scale = values(&self.scale);
        let [scale_sums, shift_sums] =
            backward(values(&self.input), &self.moments, scale, gradient.storage_mut::<f32>());
        for (node, sums) in [(scale_node, scale_sums), (shift_node, shift_sums)] {
            if let Some(node) = node {
                gradients.register::<Flex>(node, tensor(sums, self.scale.shape()));
            }
        }
        gradient
    }
}

impl Backward<Flex, 3> for NormBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x, scale, shift] = ops.parents.map(|node| node.map(|node| node.id));
        let gradient = gradients.consume::<Flex>(&ops.node);
        let gradient = ops.state.backward(gradient, [scale, shift], gradients);
        if let Some(x) = x {
            gradients.register::<Flex>(x, gradient);
        }
    }
}

impl Backward<Flex, 4> for ResidualNormBackward {
    type State = (Saved, Option<Draw>);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x, residual, scale, shift] = ops.parents.map(|node| node.map(|node| node.id));
        let (saved, draw) = ops.state;
        let gradient = gradients.consume::<Flex>(&ops.node);
        let gradient = saved.backward(gradient, [scale, shift], gradients);
        if let Some(x) = x {
            let gradient = match draw {
                Some(draw) => drop_scale(gradient.clone(), draw),
                None => gradient.clone(),
            };
            gradients.register::<Flex>(x, gradient);
        }
        if let Some(residual) = residual {
            gradients.register::<Flex>(residual, gradient);
        }
    }
}

/// The output, and mean and reciprocal deviation of each row.
fn forward(x: &FlexTensor, scale: &FlexTensor, shift: &FlexTensor, epsilon: f64) -> (FlexTensor, Vec<[f32; 2]>) {
    let (input, scale, shift) = (values(x), values(scale), values(shift));
    let (width, block) = (scale.len(), block(scale.len()));
    let (mut out, mut moments) = (blank(input.len()), vec![[0.0; 2]; input.len() / width]);
    let blocks = out.par_chunks_mut(block).zip(input.par_chunks(block)).zip(moments.par_chunks_mut(block / width));
    blocks.for_each(|((out, input), moments)| norm_rows(input, scale, shift, epsilon as f32, out, moments));
    (tensor(out, x.shape()), moments)
}

/// Turns the gradient of the output into that of the input; gives those of scale and shift.
fn backward(input: &[f32], moments: &[[f32; 2]], scale: &[f32], gradient: &mut [f32]) -> [Vec<f32>; 2] {
    let (width, block) = (scale.len(), block(scale.len()));
    let blocks = gradient.par_chunks_mut(block).zip(input.par_chunks(block)).zip(moments.par_chunks(block / width));
    let parts = blocks.map(|((gradient, input), moments)| {
        let (mut scales, mut shifts) = (zeros(width), zeros(width));
        norm_rows_backward(input, moments, scale, gradient, &mut scales, &mut shifts);
        (scales, shifts)
    });
    let (scales, shifts): (Vec<_>, Vec<_>) = parts.unzip();
    [total(scales, width), total(shifts, width)]
}

vectorised! {
    fn norm_rows<'a, S>(
        input: &'a [f32],
        scale: &'a [f32],
        shift: &'a [f32],
        epsilon: f32,
        out: &'a mut [f32],
        moments: &'a mut [[f32; 2]],
    ) {
        let width = scale.len();
        let rows = out.chunks_exact_mut(width).zip(input.chunks_exact(width));
        for ((out, input), moments) in rows.zip(moments) {
            let mean = sum_of(input, |sum, x| sum + x) / width as f32;
            let square = |sum, x| fma::<S>(x - mean, x - mean, sum);
            let reciprocal = 1.0 / (sum_of(input, square) / width as f32 + epsilon).sqrt();
            for (((out, x), scale), shift) in out.iter_mut().zip(input).zip(scale).zip(shift) {
                *out = fma::<S>((x - mean) * reciprocal, *scale, *shift);
            }
            *moments = [mean, reciprocal];
        }
    }
}

vectorised! {
    fn norm_rows_backward<'a, S>(
        input: &'a [f32],
        moments: &'a [[f32; 2]],
        scale: &'a [f32],
        gradient: &'a mut [f32],
        scales: &'a mut [f32],
        shifts: &'a mut [f32],
    ) {
        let width = scale.len();
        let rows = gradient.chunks_exact_mut(width).zip(input.chunks_exact(width));
        for ((gradient, input), [mean, reciprocal]) in rows.zip(moments) {
            let sums = scales.iter_mut().zip(shifts.iter_mut());
            for ((((gradient, x), scale), scale_sum), shift_sum) in
                gradient.iter_mut().zip(input).zip(scale).zip(sums).map(|((a, b), (c, d))| (((a, b), c), d))
            {
                *scale_sum = fma::<S>(*gradient, (x - mean) * reciprocal, *scale_sum);
                *shift_sum += *gradient;
                *gradient *= scale;
            }
            let mean_gradient = sum_of(gradient, |sum, g| sum + g) / width as f32;
            let along = sum_of_pairs(gradient, input, |sum, g, x| fma::<S>(g, (x - mean) * reciprocal, sum));
            let along = along / width as f32;
            for (gradient, x) in gradient.iter_mut().zip(input) {
                let normal = (x - mean) * reciprocal;
                *gradient = reciprocal * (*gradient - mean_gradient - normal * along);
            }
        }
    }
}
