//! Dropout in one pass, its mask made again in the backward pass.

use super::buffer::{block, contiguous, values};
use super::simd::vectorised;
use crate::nn::Draw;
use crate::random::mix_into;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Multiplies by the mask of `draw`.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, draw: Draw) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::fused_dropout(x.into_dispatch(), draw))
}

#[backend_extension(Flex, Autodiff)]
trait DropoutOps: Backend {
    fn fused_dropout(x: FloatTensor<Self>, draw: Draw) -> FloatTensor<Self>;
}

impl DropoutOps for Flex {
    fn fused_dropout(x: FlexTensor, draw: Draw) -> FlexTensor {
        drop_scale(x, draw)
    }
}

impl<C: CheckpointStrategy> DropoutOps for Autodiff<Flex, C> {
    fn fused_dropout(x: FloatTensor<Self>, draw: Draw) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = drop_scale(x, draw);
        match DropoutBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(output),
            OpsKind::Tracked(prep) => prep.finish(draw, output),
        }
    }
}

#[derive(Debug)]
struct DropoutBackward;

impl Backward<Flex, 1> for DropoutBackward {
    type State = Draw;

    fn backward(self, ops: Ops<Draw, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            gradients.register::<Flex>(node.id, drop_scale(gradient, ops.state));
        }
    }
}

/// `x` times the mask; in place where nobody else holds `x`.
pub(super) fn drop_scale(x: FlexTensor, draw: Draw) -> FlexTensor {
    let (mut x, mask) = (contiguous(x), Mask::new(draw));
    let blocks = x.storage_mut::<f32>().par_chunks_mut(block(1)).enumerate();
    blocks.for_each(|(index, x)| scale_by_mask(mask, index * block(1), x));
    x
}

/// `x` times the mask if there is one, plus `residual`; in place where nobody else holds `x`.
pub(super) fn drop_add(x: FlexTensor, residual: FlexTensor, draw: Option<Draw>) -> FlexTensor {
    let (mut x, residual) = (contiguous(x), contiguous(residual));
    let mask = draw.map(Mask::new);
    let blocks = x.storage_mut::<f32>().par_chunks_mut(block(1)).zip(values(&residual).par_chunks(block(1)));
    blocks.enumerate().for_each(|(index, (x, residual))| add_dropped(mask, index * block(1), residual, x));
    x
}

/// A block of [`drop_add`], which starts at value `first`.
pub(super) fn add_dropped(mask: Option<Mask>, first: usize, residual: &[f32], x: &mut [f32]) {
    if let Some(mask) = mask {
        scale_by_mask(mask, first, x);
    }
    add(residual, x);
}

/// What a mask is made from.
#[derive(Clone, Copy)]
pub(super) struct Mask {
    state: u64,
    limit: u32,
    keep: f32,
}

impl Mask {
    pub(super) fn new(draw: Draw) -> Self {
        Self { state: draw.state(), limit: draw.limit(), keep: draw.keep() }
    }

    /// The factors of values `first..first + out.len()`, as [`Draw::mask`] gives them.
    #[inline(always)]
    pub(super) fn fill(self, first: usize, out: &mut [f32]) {
        const HASHES: usize = 16;
        let lead = first.next_multiple_of(4) - first;
        let (head, body) = out.split_at_mut(lead.min(out.len()));
        for (offset, value) in head.iter_mut().enumerate() {
            *value = self.factor(first + offset);
        }
        for (group, out) in body.chunks_mut(4 * HASHES).enumerate() {
            let block = ((first + lead) / 4 + group * HASHES) as u64;
            let mut draws = [0u16; 4 * HASHES];
            for (hash, draws) in draws.chunks_exact_mut(4).enumerate() {
                let bits = mix_into(self.state, block + hash as u64);
                for (draw, shift) in draws.iter_mut().zip([0, 16, 32, 48]) {
                    *draw = (bits >> shift) as u16;
                }
            }
            for (value, draw) in out.iter_mut().zip(draws) {
                *value = if u32::from(draw) < self.limit { 0.0 } else { self.keep };
            }
        }
    }

    #[inline(always)]
    fn factor(self, index: usize) -> f32 {
        let bits = mix_into(self.state, index as u64 / 4) >> (16 * (index % 4));
        if (bits & 0xffff) as u32 >= self.limit { self.keep } else { 0.0 }
    }
}

vectorised! {
    fn scale_by_mask<'a, S>(mask: Mask, first: usize, x: &'a mut [f32]) {
        let mut factors = [0.0; 256];
        for (group, x) in x.chunks_mut(256).enumerate() {
            let factors = &mut factors[..x.len()];
            mask.fill(first + group * 256, factors);
            for (x, factor) in x.iter_mut().zip(factors) {
                *x *= *factor;
            }
        }
    }
}

vectorised! {
    fn add<'a, S>(residual: &'a [f32], x: &'a mut [f32]) {
        for (x, residual) in x.iter_mut().zip(residual) {
            *x += residual;
        }
    }
}
