//! Softmax cross-entropy without a copy of the probabilities.

use super::buffer::{block, contiguous, indices, tensor, values, zeros};
use super::simd::{exp, max_of, sum_of, vectorised};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::{Int, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// The summed cross-entropy of logits `[rows, classes]` against classes `[rows]` of 32 or 64 bits; a NaN if a class does
/// not exist.
pub(crate) fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::fused_cross_entropy(logits.into_dispatch(), labels.into_dispatch()))
}

#[backend_extension(Flex, Autodiff)]
trait LossOps: Backend {
    fn fused_cross_entropy(logits: FloatTensor<Self>, labels: IntTensor<Self>) -> FloatTensor<Self>;
}

impl LossOps for Flex {
    fn fused_cross_entropy(logits: FlexTensor, labels: FlexTensor) -> FlexTensor {
        forward(&contiguous(logits), &indices(labels)).0
    }
}

impl<C: CheckpointStrategy> LossOps for Autodiff<Flex, C> {
    fn fused_cross_entropy(logits: FloatTensor<Self>, labels: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let (logits, labels) = (contiguous(logits), indices(labels));
        let (output, moments) = forward(&logits, &labels);
        match LossBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(output),
            OpsKind::Tracked(prep) => prep.finish(Saved { logits, labels, moments }, output),
        }
    }
}

#[derive(Debug)]
struct LossBackward;

#[derive(Clone, Debug)]
struct Saved {
    logits: FlexTensor,
    labels: Vec<usize>,
    /// Of each row the greatest logit and the sum of exponentials below it.
    moments: Vec<[f32; 2]>,
}

impl Backward<Flex, 1> for LossBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = values(&contiguous(gradients.consume::<Flex>(&ops.node)))[0];
        let Saved { mut logits, labels, moments } = ops.state;
        let width = logits.shape()[1];
        let rows = block(width) / width;
        let blocks = logits.storage_mut::<f32>().par_chunks_mut(rows * width).zip(labels.par_chunks(rows));
        blocks.zip(moments.par_chunks(rows)).for_each(|((logits, labels), moments)| {
            rows_backward(labels, moments, gradient, logits);
        });
        if let [Some(node)] = ops.parents {
            gradients.register::<Flex>(node.id, logits);
        }
    }
}

fn forward(logits: &FlexTensor, labels: &[usize]) -> (FlexTensor, Vec<[f32; 2]>) {
    let width = logits.shape()[1];
    let rows = block(width) / width;
    let (mut losses, mut moments) = (zeros(labels.len()), vec![[0.0; 2]; labels.len()]);
    let blocks = values(logits).par_chunks(rows * width).zip(moments.par_chunks_mut(rows));
    let blocks = blocks.zip(losses.par_chunks_mut(rows)).zip(labels.par_chunks(rows));
    blocks.for_each(|(((logits, moments), losses), labels)| {
        row_moments(logits, moments);
        for (((row, [greatest, sum]), label), loss) in logits.chunks_exact(width).zip(moments).zip(labels).zip(losses) {
            *loss = row.get(*label).map_or(f32::NAN, |logit| *greatest - logit + sum.ln());
        }
    });
    let sum = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() as f32;
    (tensor(vec![sum], Shape::from([1])), moments)
}

vectorised! {
    fn row_moments<'a, S>(logits: &'a [f32], moments: &'a mut [[f32; 2]]) {
        for (row, moments) in logits.chunks_exact(logits.len() / moments.len()).zip(moments) {
            let greatest = max_of(row);
            *moments = [greatest, sum_of(row, |sum, logit| sum + exp::<S>(logit - greatest))];
        }
    }
}

vectorised! {
    fn rows_backward<'a, S>(labels: &'a [usize], moments: &'a [[f32; 2]], gradient: f32, logits: &'a mut [f32]) {
        let width = logits.len() / labels.len();
        for ((row, [greatest, sum]), label) in logits.chunks_exact_mut(width).zip(moments).zip(labels) {
            let factor = gradient / sum;
            for logit in row.iter_mut() {
                *logit = exp::<S>(*logit - greatest) * factor;
            }
            if let Some(value) = row.get_mut(*label) {
                *value -= gradient;
            }
        }
    }
}
