//! Scaled dot-product attention over `[batch, seq, hidden]`: heads are read where they stand, and memory is linear in
//! the length, because the backward pass makes the probabilities again.

use super::buffer::{contiguous, tensor, values, zeros};
use super::dropout::Mask;
use super::head::{Head, Out, Part, Pool, Shape};
use crate::nn::Draw;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Bool, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Queries `[batch, queries, hidden]` over keys and values `[batch, keys, hidden]`, each split into `heads`; `visible`,
/// `[batch, keys]`, is true where a key may be looked at. `draw` is what dropout on the probabilities draws.
pub(crate) fn attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    visible: Tensor<2, Bool>,
    heads: usize,
    draw: Option<Draw>,
) -> Tensor<3> {
    let (query, key, value) = (query.into_dispatch(), key.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_attention(query, key, value, visible.into_dispatch(), heads, draw))
}

#[backend_extension(Flex, Autodiff)]
trait AttentionOps: Backend {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        visible: BoolTensor<Self>,
        heads: usize,
        draw: Option<Draw>,
    ) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn fused_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        visible: FlexTensor,
        heads: usize,
        draw: Option<Draw>,
    ) -> FlexTensor {
        Inputs::new([query, key, value], visible, heads, draw).forward().0
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        visible: BoolTensor<Self>,
        heads: usize,
        draw: Option<Draw>,
    ) -> FloatTensor<Self> {
        let ((query, query_node), (key, key_node)) = (query.into_parts(), key.into_parts());
        let (value, value_node) = value.into_parts();
        let inputs = Inputs::new([query, key, value], visible, heads, draw);
        let (output, moments) = inputs.forward();
        match AttentionBackward.prepare::<C>([query_node, key_node, value_node]).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(output),
            OpsKind::Tracked(prep) => prep.finish((inputs, moments), output),
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = (Inputs, Vec<[f32; 2]>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (inputs, moments) = ops.state;
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let made = inputs.backward(&gradient, &moments);
        for ((node, made), input) in ops.parents.into_iter().zip(made).zip(&inputs.tensors) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, tensor(made, input.shape()));
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Inputs {
    /// Query, key and value.
    tensors: [FlexTensor; 3],
    visible: FlexTensor,
    shape: Shape,
    draw: Option<Draw>,
}

impl Inputs {
    fn new(tensors: [FlexTensor; 3], visible: FlexTensor, heads: usize, draw: Option<Draw>) -> Self {
        let (tensors, visible) = (tensors.map(contiguous), contiguous(visible));
        let [_, queries, hidden] = tensors[0].shape().dims();
        let shape = Shape { heads, queries, keys: tensors[1].shape()[1], width: hidden / heads };
        Self { tensors, visible, shape, draw }
    }

    /// The output and the softmax's moments of each query, `[batch, heads, queries]`.
    fn forward(&self) -> (FlexTensor, Vec<[f32; 2]>) {
        let Shape { heads, queries, width, .. } = self.shape;
        let len = values(&self.tensors[0]).len();
        let (mut out, mut moments) = (zeros(len), vec![[0.0; 2]; len / width]);
        let pool = Pool::new(self.shape);
        let batch = out.par_chunks_mut(queries * heads * width).zip(moments.par_chunks_mut(heads * queries));
        batch.enumerate().for_each(|(row, (out, moments))| {
            let parts = split(out, self.shape).into_par_iter().zip(moments.par_chunks_mut(queries));
            parts.enumerate().for_each(|(head, (out, moments))| {
                pool.with(|scratch| scratch.forward(self.head(row, head), out, moments));
            });
        });
        (tensor(out, self.tensors[0].shape()), moments)
    }

    /// The gradients of query, key and value.
    fn backward(&self, gradient: &FlexTensor, moments: &[[f32; 2]]) -> [Vec<f32>; 3] {
        let Shape { heads, queries, keys, width } = self.shape;
        let pool = Pool::new(self.shape);
        let mut made = [0, 1, 2].map(|index| zeros(values(&self.tensors[index]).len()));
        let [query, key, value] = &mut made;
        let (per_query, per_key) = (queries * heads * width, keys * heads * width);
        let key_and_value = key.par_chunks_mut(per_key).zip(value.par_chunks_mut(per_key));
        let batch = query.par_chunks_mut(per_query).zip(key_and_value).zip(moments.par_chunks(heads * queries));
        batch.enumerate().for_each(|(row, ((query, (key, value)), moments))| {
            let [query, key, value] = [query, key, value].map(|part| split(part, self.shape).into_par_iter());
            let parts = query.zip(key).zip(value).zip(moments.par_chunks(queries));
            parts.enumerate().for_each(|(head, (((query, key), value), moments))| {
                let gradient = self.part(gradient, row, head, queries);
                let made = [query, key, value];
                pool.with(|scratch| scratch.backward(self.head(row, head), gradient, moments, made));
            });
        });
        made
    }

    fn head(&self, row: usize, head: usize) -> Head<'_> {
        let Shape { heads, queries, keys, .. } = self.shape;
        let [query, key, value] = &self.tensors;
        Head {
            query: self.part(query, row, head, queries),
            key: self.part(key, row, head, keys),
            value: self.part(value, row, head, keys),
            visible: &self.visible.storage::<u8>()[row * keys..(row + 1) * keys],
            dropout: self.draw.map(|draw| (Mask::new(draw), (row * heads + head) * queries * keys)),
        }
    }

    fn part<'a>(&self, tensor: &'a FlexTensor, row: usize, head: usize, len: usize) -> Part<'a> {
        let stride = self.shape.heads * self.shape.width;
        let whole = &values(tensor)[row * len * stride..(row + 1) * len * stride];
        Part { values: &whole[head * self.shape.width..], stride }
    }
}

/// `[seq, heads * width]` by heads.
fn split(rows: &mut [f32], shape: Shape) -> Vec<Out<'_>> {
    let mut heads: Vec<Out<'_>> = (0..shape.heads).map(|_| Vec::new()).collect();
    for row in rows.chunks_exact_mut(shape.heads * shape.width) {
        for (head, part) in heads.iter_mut().zip(row.chunks_exact_mut(shape.width)) {
            head.push(part);
        }
    }
    heads
}
