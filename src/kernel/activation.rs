//! Activations that are `x` times something between 0 and 1, alone and as the gate of another tensor, in one pass.

use super::buffer::{block, contiguous, tensor, values, with_width};
use super::reuse::blank;
use super::simd::{exp, fma, normal, vectorised};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use pulp::Simd;
use rayon::prelude::*;

/// What is between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Curve {
    /// The standard normal distribution's cumulative probability at `x`: exact GELU.
    Normal,
    /// Its approximation by a hyperbolic tangent: GELU's tanh form.
    NormalByTanh,
    /// The logistic function at this many times `x`: SiLU with 1, CLIP's GELU with 1.702.
    Logistic(f32),
}

/// `x` times the curve at `x`.
pub(crate) fn activate<const D: usize>(x: Tensor<D>, curve: Curve) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::fused_activate(x.into_dispatch(), curve))
}

/// [`activate`] of `gate`, times `up`, which has the same shape.
pub(crate) fn gated<const D: usize>(gate: Tensor<D>, up: Tensor<D>, curve: Curve) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::fused_gated(gate.into_dispatch(), up.into_dispatch(), curve))
}

/// [`gated`] of the two halves of `[.., 2 * width]`, the gate first: `[.., width]`.
pub(crate) fn gated_halves<const D: usize>(both: Tensor<D>, curve: Curve) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::fused_gated_halves(both.into_dispatch(), curve))
}

#[backend_extension(Flex, Autodiff)]
trait ActivationOps: Backend {
    fn fused_activate(x: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self>;
    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self>;
    fn fused_gated_halves(both: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self>;
}

impl ActivationOps for Flex {
    fn fused_activate(x: FlexTensor, curve: Curve) -> FlexTensor {
        let x = contiguous(x);
        let mut out = blank(values(&x).len());
        let blocks = out.par_chunks_mut(block(1)).zip(values(&x).par_chunks(block(1)));
        blocks.for_each(|(out, x)| activate_values(curve, x, out));
        tensor(out, x.shape())
    }

    fn fused_gated(gate: FlexTensor, up: FlexTensor, curve: Curve) -> FlexTensor {
        let (gate, up) = (contiguous(gate), contiguous(up));
        let mut out = blank(values(&gate).len());
        let inputs = values(&gate).par_chunks(block(1)).zip(values(&up).par_chunks(block(1)));
        out.par_chunks_mut(block(1)).zip(inputs).for_each(|(out, (gate, up))| gate_values(curve, gate, up, out));
        tensor(out, gate.shape())
    }

    fn fused_gated_halves(both: FlexTensor, curve: Curve) -> FlexTensor {
        let both = contiguous(both);
        let width = last_axis(&both) / 2;
        let mut out = blank(both.shape().num_elements() / 2);
        let blocks = out.par_chunks_mut(block(width)).zip(values(&both).par_chunks(2 * block(width)));
        blocks.for_each(|(out, both)| {
            for (out, both) in out.chunks_exact_mut(width).zip(both.chunks_exact(2 * width)) {
                let (gate, up) = both.split_at(width);
                gate_values(curve, gate, up, out);
            }
        });
        tensor(out, with_width(both.shape(), width))
    }
}

impl<C: CheckpointStrategy> ActivationOps for Autodiff<Flex, C> {
    fn fused_activate(x: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match ActivateBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_activate(x, curve)),
            OpsKind::Tracked(prep) => prep.finish((x.clone(), curve), Flex::fused_activate(x, curve)),
        }
    }

    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        match GatedBackward.prepare::<C>([gate_node, up_node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_gated(gate, up, curve)),
            OpsKind::Tracked(prep) => {
                let (gate, up) = (contiguous(gate), contiguous(up));
                prep.finish(([gate.clone(), up.clone()], curve), Flex::fused_gated(gate, up, curve))
            }
        }
    }

    fn fused_gated_halves(both: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self> {
        let (both, node) = both.into_parts();
        match HalvesBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_gated_halves(both, curve)),
            OpsKind::Tracked(prep) => {
                let both = contiguous(both);
                prep.finish((both.clone(), curve), Flex::fused_gated_halves(both, curve))
            }
        }
    }
}

#[derive(Debug)]
struct ActivateBackward;

#[derive(Debug)]
struct GatedBackward;

#[derive(Debug)]
struct HalvesBackward;

impl Backward<Flex, 1> for ActivateBackward {
    type State = (FlexTensor, Curve);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (x, curve) = ops.state;
        let (x, mut gradient) = (contiguous(x), contiguous(gradients.consume::<Flex>(&ops.node)));
        let blocks = gradient.storage_mut::<f32>().par_chunks_mut(block(1)).zip(values(&x).par_chunks(block(1)));
        blocks.for_each(|(gradient, x)| activate_backward(curve, x, gradient));
        if let [Some(node)] = ops.parents {
            gradients.register::<Flex>(node.id, gradient);
        }
    }
}

impl Backward<Flex, 2> for GatedBackward {
    type State = ([FlexTensor; 2], Curve);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let ([gate, up], curve) = ops.state;
        let mut gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let mut of_gate = blank(values(&gate).len());
        let blocks = gradient.storage_mut::<f32>().par_chunks_mut(block(1)).zip(of_gate.par_chunks_mut(block(1)));
        let inputs = values(&gate).par_chunks(block(1)).zip(values(&up).par_chunks(block(1)));
        blocks.zip(inputs).for_each(|((gradient, of_gate), (gate, up))| {
            gate_backward(curve, gate, up, gradient, of_gate);
        });
        let [gate_node, up_node] = ops.parents;
        if let Some(node) = gate_node {
            gradients.register::<Flex>(node.id, tensor(of_gate, gate.shape()));
        }
        if let Some(node) = up_node {
            gradients.register::<Flex>(node.id, gradient);
        }
    }
}

impl Backward<Flex, 1> for HalvesBackward {
    type State = (FlexTensor, Curve);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (both, curve) = ops.state;
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let width = last_axis(&both) / 2;
        let mut out = blank(both.shape().num_elements());
        let inputs = values(&both).par_chunks(2 * block(width)).zip(values(&gradient).par_chunks(block(width)));
        out.par_chunks_mut(2 * block(width)).zip(inputs).for_each(|(out, (both, gradient))| {
            let rows = both.chunks_exact(2 * width).zip(gradient.chunks_exact(width));
            for (out, (both, gradient)) in out.chunks_exact_mut(2 * width).zip(rows) {
                let ((gate, up), (of_gate, of_up)) = (both.split_at(width), out.split_at_mut(width));
                of_up.copy_from_slice(gradient);
                gate_backward(curve, gate, up, of_up, of_gate);
            }
        });
        if let [Some(node)] = ops.parents {
            gradients.register::<Flex>(node.id, tensor(out, both.shape()));
        }
    }
}

fn last_axis(tensor: &FlexTensor) -> usize {
    let shape = tensor.shape();
    shape[shape.num_dims() - 1]
}

/// `x` within `-limit..limit`; NaN stays.
#[inline(always)]
fn within(limit: f32, x: f32) -> f32 {
    let x = if x > limit { limit } else { x };
    if x < -limit { -limit } else { x }
}

/// The logistic function.
#[inline(always)]
fn logistic<S: Simd>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<S>(-x))
}

/// The activation and its slope at `x`.
#[inline(always)]
fn by_normal<S: Simd>(x: f32) -> (f32, f32) {
    let (cumulative, density) = normal::<S>(x);
    (x * cumulative, fma::<S>(x, density, cumulative))
}

/// As [`by_normal`]. `(1 + tanh(u)) / 2` is the logistic function at `2 u`.
#[inline(always)]
fn by_tanh<S: Simd>(x: f32) -> (f32, f32) {
    const TWICE_ROOT: f32 = 2.0 * 0.797_884_6;
    const CUBIC: f32 = 0.044_715;
    // Beyond it the curve is 0 or 1, and the cube would overflow.
    let near = within(10.0, x);
    let square = near * near;
    let share = logistic::<S>(TWICE_ROOT * near * fma::<S>(CUBIC, square, 1.0));
    let slope = TWICE_ROOT * fma::<S>(3.0 * CUBIC, square, 1.0);
    (x * share, fma::<S>(near * slope, share * (1.0 - share), share))
}

/// As [`by_normal`].
#[inline(always)]
fn by_logistic<S: Simd>(factor: f32, x: f32) -> (f32, f32) {
    // Beyond it the curve is 0 or 1.
    let near = within(88.0, factor * x);
    let share = logistic::<S>(near);
    (x * share, fma::<S>(near, share * (1.0 - share), share))
}

/// Runs a loop with the activation of a curve; a macro, since the loop must be compiled for each.
macro_rules! with_curve {
    ($curve:expr, $simd:ident, $activation:ident => $run:expr) => {
        match $curve {
            Curve::Normal => {
                let $activation = |x: f32| by_normal::<$simd>(x);
                $run
            }
            Curve::NormalByTanh => {
                let $activation = |x: f32| by_tanh::<$simd>(x);
                $run
            }
            Curve::Logistic(factor) => {
                let $activation = |x: f32| by_logistic::<$simd>(factor, x);
                $run
            }
        }
    };
}

vectorised! {
    fn activate_values<'a, S>(curve: Curve, x: &'a [f32], out: &'a mut [f32]) {
        with_curve!(curve, S, activation => for (out, x) in out.iter_mut().zip(x) {
            *out = activation(*x).0;
        })
    }
}

vectorised! {
    fn activate_backward<'a, S>(curve: Curve, x: &'a [f32], gradient: &'a mut [f32]) {
        with_curve!(curve, S, activation => for (gradient, x) in gradient.iter_mut().zip(x) {
            *gradient *= activation(*x).1;
        })
    }
}

vectorised! {
    fn gate_values<'a, S>(curve: Curve, gate: &'a [f32], up: &'a [f32], out: &'a mut [f32]) {
        let inputs = gate.iter().zip(up);
        with_curve!(curve, S, activation => for (out, (gate, up)) in out.iter_mut().zip(inputs) {
            *out = activation(*gate).0 * up;
        })
    }
}

vectorised! {
    /// Turns the gradient of the output into that of `up`.
    fn gate_backward<'a, S>(
        curve: Curve,
        gate: &'a [f32],
        up: &'a [f32],
        gradient: &'a mut [f32],
        of_gate: &'a mut [f32],
    ) {
        let inputs = gate.iter().zip(up);
        let outputs = gradient.iter_mut().zip(of_gate.iter_mut());
        with_curve!(curve, S, activation => for ((gradient, of_gate), (gate, up)) in outputs.zip(inputs) {
            let (value, slope) = activation(*gate);
            *of_gate = *gradient * up * slope;
            *gradient *= value;
        })
    }
}
